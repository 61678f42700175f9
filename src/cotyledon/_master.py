"""A running master: the parts, put together.

Responsible for the order in which the parts of the master are made and taken away, and for what
happens when supervision itself fails. Never decides, never waits.
"""

import atexit
import gc
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping, MutableMapping
from logging import CRITICAL, WARNING
from typing import Any, Protocol

from cotyledon._checks import Spec
from cotyledon._core.effects import Spawn
from cotyledon._core.machine import Core
from cotyledon._loop import Hooks, Inbox, Loop
from cotyledon._posix.cgroups import Cgroups
from cotyledon._posix.children import Child
from cotyledon._posix.guard import Guard
from cotyledon._posix.launch import ContextLauncher, ForkLauncher
from cotyledon._posix.limits import Descriptors, open_standard_descriptors
from cotyledon._posix.reactor import Reactor
from cotyledon._posix.signals import Catcher, EarlyCatcher, Wakeup, ignore_for_good
from cotyledon._posix.strangers import Strangers
from cotyledon._say import say
from cotyledon._titles import program, set_title
from cotyledon._worker import runtime
from cotyledon.systemd import Notifier
from cotyledon.types import WorkerId


class Place(Protocol):
    """Where a manager is in the file system: a lock on its name, and a socket."""

    name: str | None
    listener: int
    """The descriptor of the socket (-1: there is none)."""

    def __enter__(self) -> object: ...

    def __exit__(self, *_: object) -> None: ...


class _Nowhere:
    """The place of a manager that has neither."""

    name: str | None = None
    listener = -1

    def __enter__(self) -> object:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def place_of(name: Any, control: Any) -> Place:
    """Return the place of a manager; it is taken when it is entered.

    Raises:
        TypeError: one of them has the wrong type.
        ValueError: the name or the path cannot be one, or there is no folder for them.
    """
    if name is None and (control is None or control is False):
        return _Nowhere()
    from cotyledon._control import place  # here: who has neither does not pay for it

    return place.Place(name, control)


class Master:
    """The parts of a manager that exist while it runs.

    Args:
        core: decides.
        lock: held while the core changes.
        inbox: requests to the loop.
        hooks: the program's.
        early: what has caught signals so far.
        specs: what was added, by the number of the service.
        context: the ``multiprocessing`` context (``None``: fork).
        freeze_heap: keep the heap shared with the workers.
        subreaper: adopt the orphans of workers, and reap them.
        place: of its name and its control socket, taken.
    """

    def __init__(
        self,
        core: Core,
        lock: Any,
        inbox: Inbox,
        hooks: Hooks,
        early: EarlyCatcher,
        specs: MutableMapping[int, Spec],
        *,
        context: Any,
        freeze_heap: bool,
        subreaper: bool,
        place: "Place",
    ) -> None:
        self._core = core
        self._lock = lock
        self._hooks = hooks
        self._specs = specs
        self._pid = os.getpid()
        self._frozen = freeze_heap
        _warn_of_threads()
        open_standard_descriptors()
        set_title(f"{program()}: master process [{' '.join(sys.argv)}]")
        if freeze_heap:
            gc.collect()
            gc.freeze()
        atexit.register(ignore_for_good)
        if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
            # The kernel would throw the exit statuses away.
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._limits = Descriptors()
        self._limits.raise_limit()
        self._wakeup = Wakeup()
        self._guard = Guard(
            self._wakeup.fd, lambda: set_title(f"{program()}: guard"), Cgroups.find()
        )
        self._guard.table.grace = core.grace
        self._loop = Loop(
            core,
            lock,
            inbox,
            hooks,
            lambda service: specs[service].name,
            lambda service: specs[service].id,
            self._forget,
            Notifier(),
        )
        self._catcher = Catcher(self._wakeup, self._loop.react, early.finish())
        self._catcher.caught.extend(early.caught)
        self._loop.catcher = self._catcher
        self._loop.guard = self._guard
        self._catcher.install()
        self._strangers = Strangers(self._ours, self._wakeup.wake)
        self._strangers.start(subreaper)  # before the guard, which must carry a worker's mark
        self._reactor = Reactor(
            self._wakeup,
            self._catcher,
            self._guard,
            self._assignment,
            self._loop.note,
            self._strangers,
        )
        self._loop.reactor = self._reactor
        if context is None or context.get_start_method() == "fork":
            self._reactor.launcher = ForkLauncher(
                runtime.main_forked, self._guard.table, self._limits
            )
        else:
            self._reactor.launcher = ContextLauncher(
                context, runtime.main_spawned, self._guard.table, self._limits
            )

        if place.listener >= 0:
            self._serve(place, inbox)

    def _serve(self, place: "Place", inbox: Inbox) -> None:
        # Here: who has no control socket does not pay for it.
        from cotyledon._control.desk import Desk
        from cotyledon._control.server import Server

        loop, reactor = self._loop, self._reactor
        desk = Desk(
            self._core,
            inbox,
            reactor,
            self._specs,
            lambda: loop.state,
            loop.in_transit,
            self._guard.table.beat,
            place.name,
            self._pid,
        )
        loop.control = Server(place.listener, desk, reactor, place.name, loop.note)

    @property
    def children(self) -> Mapping[int, Child]:
        """The processes, by the number of the worker."""
        return self._reactor.children

    @property
    def names(self) -> Mapping[int, str]:
        """The names of services, as their workers have told them."""
        return self._reactor.names

    def beat(self, place: int) -> int:
        """Return the instant of the last heartbeat of the worker with a place in the table."""
        return self._guard.table.beat(place)

    def wake(self) -> None:
        """Have the loop look at its inbox."""
        self._wakeup.wake()

    def run(self) -> int:
        """Supervise until the end; return the exit status."""
        try:
            status = self._loop.run()
        except BaseException:
            # In another process, a hook has forked and its child is on its way out.
            if os.getpid() == self._pid:
                say(CRITICAL, "supervision has failed, everything is stopped", exc_info=True)
                if self._loop.control is not None:
                    self._loop.control.finish(1)  # nobody listens to clients any more
                self._loop.reporter.fail()
                if self._core.grace:
                    self._guard.promise(time.monotonic_ns() + self._core.grace)
                self._reactor.abandon(self._core.grace)
                self._close()
            raise
        self._close()
        return status

    def _assignment(self, spawn: Spawn) -> runtime.Assignment:
        spec = self._specs[spawn.service]
        return runtime.Assignment(
            spec.service,
            spec.args,
            spec.kwargs,
            spec.id,
            WorkerId(spawn.worker_id),
            spec.name,
            program(),
            spawn.grace,
            tuple(self._hooks.on_new_worker),
            told=spec.policy.start.ready == "told",
            stacks=bool(
                spec.policy.watchdog or spec.policy.start.timeout or self._loop.control is not None
            ),
            watchdog=spec.policy.watchdog,
            run_as=spec.policy.run_as,
        )

    def _forget(self, service: int) -> None:
        del self._specs[service]
        self._reactor.names.pop(service, None)

    def _ours(self) -> set[int]:
        pids = {child.process.pid for child in self._reactor.children.values()}
        if self._guard.process is not None:
            pids.add(self._guard.process.pid)
        return pids

    def _close(self) -> None:
        if self._loop.control is not None:
            self._loop.control.finish(1)  # if it has not heard of the end yet
        with self._lock:
            self._reactor.close()
        self._strangers.reap()
        self._strangers.stop()
        self._catcher.retire()
        self._wakeup.close()
        self._limits.restore()
        if self._frozen:
            gc.unfreeze()


def _warn_of_threads() -> None:
    others = [t.name for t in threading.enumerate() if t is not threading.current_thread()]
    if others:
        say(
            WARNING,
            "the program has started threads before run() (%s): a lock that one of them "
            "holds during a fork stays locked in the worker",
            ", ".join(others),
        )
