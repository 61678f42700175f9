"""How a worker's process comes to be: a fork of the master, or a start by multiprocessing.

Responsible for making a process with a channel, whatever the start method. Never imports
multiprocessing unless the program has given an ``mp_context`` that does not fork.
"""

import os
import signal
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, NoReturn, Protocol

from cotyledon._posix import channel
from cotyledon._posix.fork import FORKS, Birth
from cotyledon._posix.guard import Table
from cotyledon._posix.limits import Descriptors
from cotyledon._posix.processes import Process
from cotyledon._posix.signals import OURS


class Order:
    """A worker to start, and what has come of it.

    Args:
        assignment: what the worker is to do, handed to its main function.
        place: its place in the guard's table.
        grace: its graceful timeout in nanoseconds, for the table.

    Raises:
        OSError: no descriptor is left for its channel.
    """

    __slots__ = ("assignment", "channel", "error", "grace", "place", "process", "theirs")

    def __init__(self, assignment: Any, place: int, grace: int) -> None:
        self.assignment = assignment
        self.place = place
        self.grace = grace
        self.channel, self.theirs = channel.pair()
        FORKS.own(self.channel, self.theirs)
        self.process: Process | None = None
        self.error: BaseException | None = None

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
        main: called in the worker with the assignment and the worker's end of the channel.
        table: the guard's.
        limits: restored in the worker.
    """

    def __init__(
        self, main: Callable[[Any, int], NoReturn], table: Table, limits: Descriptors
    ) -> None:
        self._main = main
        self._table = table
        self._limits = limits
        self._master = os.getpid()

    def launch(self, orders: Sequence[Order]) -> None:
        """See :meth:`Launcher.launch`."""
        births = [Birth(partial(self._be, order), order.theirs) for order in orders]
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
        self._limits.restore()
        self._main(order.assignment, order.theirs)


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
        main: a function that pickles; called in the worker with the assignment and a socket
            that is its end of the channel.
        table: the guard's.
    """

    def __init__(self, context: Any, main: Callable[..., Any], table: Table) -> None:
        from multiprocessing import resource_tracker

        self._context = context
        self._main = main
        self._table = table
        # It inherits what is ignored: a SIGHUP to the process group must not end it. And it
        # unblocks our signals when it starts, so that has to be before the first launch.
        handler = signal.signal(signal.SIGHUP, signal.SIG_IGN)
        try:
            resource_tracker.ensure_running()
        finally:
            signal.signal(signal.SIGHUP, handler)

    def launch(self, orders: Sequence[Order]) -> None:
        """See :meth:`Launcher.launch`."""
        for order in orders:
            try:
                order.process = self._start(order)
            except Exception as error:
                order.error = error
            order.drop_theirs()

    def _start(self, order: Order) -> Process:
        import socket

        end = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, 0, fileno=os.dup(order.theirs))
        # A signal that arrives while the worker still imports waits until it has handlers.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, OURS)
        source = None
        try:
            source = self._context.Process(target=self._main, args=(order.assignment, end))
            source.start()
            self._table.enter(order.place, source.pid, order.grace)
            return SpawnedProcess(source)
        except BaseException:
            if source is not None and source.pid is not None:
                source.kill()
                source.join()
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            end.close()


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
