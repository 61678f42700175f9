"""How a worker's process comes to be: a fork of the master, or a start by multiprocessing.

Responsible for making a process with a channel, whatever the start method. Never imports
multiprocessing unless the program has given an ``mp_context`` that does not fork.
"""

import os
import signal
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple, NoReturn, Protocol

from cotyledon._posix import channel, stacks
from cotyledon._posix.cgroups import Cgroup
from cotyledon._posix.fork import FORKS, Birth
from cotyledon._posix.limits import Descriptors
from cotyledon._posix.processes import Process
from cotyledon._posix.signals import OURS
from cotyledon._posix.table import Pulse, Table


class Ties(NamedTuple):
    """What a worker has that leads to its master."""

    channel: int
    """Its end of the channel."""
    stacks: int
    """Where the stacks of its threads go when they are asked for (-1: nowhere)."""
    beats: memoryview
    """The instants of last heartbeats, one cell for each worker."""
    place: int
    """Which cell is its own."""
    news: int = -1
    """Where it says what it is doing (-1: nowhere)."""


class SentTies:
    """The same on the way to a process that multiprocessing starts.

    Args:
        channel: the worker's end, which is not closed here.
        stacks_fd: see :class:`Ties`.
        pulse: where the heartbeats go.
        nofile: the limit of descriptors that the program started with, to be set again.
        news: see :class:`Ties`.
    """

    def __init__(
        self,
        channel: int,
        stacks_fd: int,
        pulse: Pulse,
        nofile: tuple[int, int] | None,
        news: int = -1,
    ) -> None:
        self._fds: tuple[int, ...] = channel, stacks_fd, news
        self._pulse = pulse
        self._nofile = nofile

    def __getstate__(self) -> tuple[Any, ...]:
        from multiprocessing.reduction import DupFd

        sent = tuple(None if fd < 0 else DupFd(fd) for fd in self._fds)
        return sent, self._pulse, self._nofile

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        sent, self._pulse, self._nofile = state
        # At once: under forkserver the other side closes them when they were taken.
        self._fds = tuple(-1 if one is None else one.detach() for one in sent)

    def arrive(self) -> Ties:
        """Return the ties, in the process that they were sent to."""
        if self._nofile is not None:
            Descriptors.set(self._nofile)
        channel_fd, stacks_fd, news = self._fds
        for fd in self._fds:
            if fd >= 0:
                os.set_inheritable(fd, False)
        return Ties(channel_fd, stacks_fd, self._pulse.cell, 0, news)


class Order:
    """A worker to start, and what has come of it.

    Args:
        assignment: what the worker is to do, handed to its main function.
        place: its place in the guard's table.
        grace: its graceful timeout in nanoseconds, for the table.
        cgroup: a control group of its own, if there is one.
        news: where it says what it is doing (-1: nowhere).

    If ``assignment.stacks``, a file in memory is made for the stacks of the worker's threads,
    as ``stacks_fd`` (else -1); the caller closes it, as it does ``channel``.

    Raises:
        OSError: no descriptor is left for them.
    """

    __slots__ = (
        "assignment",
        "cgroup",
        "channel",
        "error",
        "grace",
        "news",
        "place",
        "process",
        "stacks_fd",
        "theirs",
    )

    def __init__(
        self,
        assignment: Any,
        place: int,
        grace: int,
        cgroup: Cgroup | None = None,
        news: int = -1,
    ) -> None:
        self.news = news
        self.assignment = assignment
        self.cgroup = cgroup
        self.place = place
        self.grace = grace
        self.channel, self.theirs = channel.pair()
        FORKS.own(self.channel, self.theirs)
        self.stacks_fd = -1
        if assignment.stacks:
            try:
                self.stacks_fd = stacks.make()
            except OSError:
                self.drop_theirs()
                FORKS.disown(self.channel)
                os.close(self.channel)
                raise
            FORKS.own(self.stacks_fd)
        self.process: Process | None = None
        self.error: BaseException | None = None

    @property
    def fds(self) -> tuple[int, ...]:
        """What the worker has of them."""
        return tuple(fd for fd in (self.theirs, self.stacks_fd, self.news) if fd >= 0)

    def drop_theirs(self) -> None:
        """Close the worker's end of the channel, which is its own now."""
        FORKS.disown(self.theirs)
        os.close(self.theirs)


class Launcher(Protocol):
    """Starts workers."""

    def launch(self, orders: Sequence[Order]) -> None:
        """Start workers in a row; each order gets a process, or an error."""
        ...


class ForkLauncher:
    """Forks the master.

    Args:
        main: called in the worker with the assignment and its ties.
        table: the guard's.
        limits: restored in the worker.
    """

    def __init__(
        self, main: Callable[[Any, Ties], NoReturn], table: Table, limits: Descriptors
    ) -> None:
        self._main = main
        self._table = table
        self._limits = limits
        self._master = os.getpid()

    def launch(self, orders: Sequence[Order]) -> None:
        """See :meth:`Launcher.launch`."""
        births = [Birth(partial(self._be, order), order.fds) for order in orders]
        for order, pid in zip(orders, FORKS.fork(births), strict=True):
            order.drop_theirs()
            if isinstance(pid, OSError):
                order.error = pid
                continue
            try:
                order.process = Process(pid)
            except OSError as error:
                order.error = error
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)

    def _be(self, order: Order) -> NoReturn:
        # Written by the child itself: if the master is killed right now, either the guard
        # finds the entry, or the child finds that its parent has changed.
        self._table.enter(order.place, os.getpid(), order.grace)
        if os.getppid() != self._master:
            os._exit(1)
        if order.cgroup is not None:
            order.cgroup.enter()
        self._limits.restore()
        table = self._table.beats  # as a whole: a view of one cell would be one more object
        ties = Ties(order.theirs, order.stacks_fd, table, order.place, order.news)
        self._main(order.assignment, ties)


class SpawnedProcess(Process):
    """A process that multiprocessing has started: its status comes from there."""

    __slots__ = ("_source",)

    def __init__(self, source: Any) -> None:
        super().__init__(source.pid)
        self._source = source

    def reap(self) -> bool:
        """See :meth:`Process.reap`; under forkserver, the server has to tell us first."""
        self.returncode = self._source.exitcode
        if self.returncode is None:
            return False
        self._source.close()
        return True


class ContextLauncher:
    """Starts workers through a multiprocessing context that spawns or uses a fork server.

    Args:
        context: a ``multiprocessing`` context.
        main: a function that pickles; called in the worker with the assignment and
            :class:`SentTies`.
        table: the guard's.
        limits: those of descriptors that workers get are the ones from before they were raised.

    Raises:
        OSError: no descriptor is left.
    """

    def __init__(
        self,
        context: Any,
        main: Callable[[Any, SentTies], Any],
        table: Table,
        limits: Descriptors | None = None,
    ) -> None:
        from multiprocessing import resource_tracker

        self._context = context
        self._main = main
        self._table = table
        self._limits = limits
        table.share()
        # It inherits what is blocked: a SIGHUP to the process group must not end it. And it
        # unblocks the others when it starts, so that has to be before the first launch.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGHUP,))
        try:
            resource_tracker.ensure_running()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def launch(self, orders: Sequence[Order]) -> None:
        """See :meth:`Launcher.launch`."""
        for order in orders:
            try:
                order.process = self._start(order)
            except Exception as error:
                order.error = error
            order.drop_theirs()

    def _start(self, order: Order) -> Process:
        nofile = None if self._limits is None else self._limits.before
        pulse = self._table.pulse(order.place)
        ties = SentTies(order.theirs, order.stacks_fd, pulse, nofile, order.news)
        # A signal that arrives while the worker still imports waits until it has handlers.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, (*OURS, *stacks.SIGNALS))
        source = None
        try:
            source = self._context.Process(target=self._main, args=(order.assignment, ties))
            source.start()
            self._table.enter(order.place, source.pid, order.grace)
            if order.cgroup is not None:
                order.cgroup.enter(source.pid)  # it is still far from running user code
            return SpawnedProcess(source)
        except BaseException:
            if source is not None and source.pid is not None:
                source.kill()
                source.join()
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)


class Unpicklable(TypeError):
    """Something that a worker needs cannot be sent to it under this start method."""


def check_pickles(context: Any, parts: Iterable[tuple[str, Any]]) -> None:
    """Make sure that everything a worker needs can be sent to it.

    Args:
        context: the multiprocessing context.
        parts: a description of each object, and the object.

    Raises:
        Unpicklable: names the first one that cannot.
    """
    import multiprocessing.context as contexts
    import pickle
    from multiprocessing.reduction import ForkingPickler

    class _Dry:
        """Stands for the process that locks, queues and descriptors are sent to."""

        def duplicate_for_child(self, fd: int) -> int:
            return fd

        def DupFd(self, fd: int) -> int:  # noqa: N802 - multiprocessing's name
            return fd

    method = context.get_start_method()
    for what, part in parts:
        before = contexts.get_spawning_popen()
        contexts.set_spawning_popen(_Dry())  # type: ignore[arg-type]
        try:
            ForkingPickler.dumps(part)
        except (pickle.PicklingError, TypeError, AttributeError, RuntimeError) as error:
            raise Unpicklable(
                f"{what} cannot be sent to a worker under the start method {method!r}: "
                f"{part!r}: {error}. Use something that pickles (a function or class at the "
                "top level of a module), or the start method 'fork'"
            ) from error
        finally:
            contexts.set_spawning_popen(before)
