"""The façade: ``ServiceManager``.

Responsible for the public API and for checking what it is given at the call. Never decides, never
touches the kernel: between ``run()`` and its end, the master does. Longer than other files,
because its docstrings are the reference of the API.
"""

import itertools
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from logging import WARNING
from typing import Any, ClassVar

from cotyledon import _snapshot
from cotyledon._checks import (
    Spec,
    chance,
    check_context,
    check_specs,
    check_workers,
    known_of,
    name_of,
    nanoseconds,
)
from cotyledon._core.events import (
    GraceChanged,
    ReloadRequested,
    RestartRequested,
    ScaleRequested,
    ServiceAdded,
    ServiceChanged,
    ServiceRemoved,
)
from cotyledon._core.machine import Core
from cotyledon._loop import Hooks, Inbox
from cotyledon._master import Master, place_of
from cotyledon._posix.fork import FORKS
from cotyledon._posix.signals import EarlyCatcher
from cotyledon._say import say
from cotyledon.async_service import AsyncService
from cotyledon.notices import Notice
from cotyledon.policy import Policy
from cotyledon.service import Service
from cotyledon.status import ManagerStatus
from cotyledon.types import ServiceId, WorkerId


class ServiceManager:
    """Keeps the wanted number of worker processes of each service alive. One per program.

    Args:
        wait_interval: seconds between two spawns (default: no pause).
        graceful_shutdown_timeout: seconds that a graceful stop may take before what is left is
            killed (default 60; 0: no limit). It bounds the services' own timeouts.
        mp_context: a ``multiprocessing`` context; the workers are started by its start method
            (default: fork, whatever multiprocessing's own default is).
        freeze_heap: before the first fork, collect garbage once and move everything that is
            alive out of the collector's sight (``gc.freeze()``), so that workers go on sharing
            the master's memory (default true).
        subreaper: have the orphans of workers become children of the master, which reaps them
            (``PR_SET_CHILD_SUBREAPER`` of ``prctl(2)``; default false). As the first process of a
            container the master reaps them anyway. Children of the program are left alone.
        name: of the manager; 1 to 64 letters, digits, ``.``, ``_`` and ``-``. While it runs, no
            second one of this name runs on the machine under this user: :meth:`run` takes a lock
            (default: no name, no lock).
        control: where :mod:`cotyledon.control` and the command ``cotyledon`` reach the manager
            while it runs: the path of a socket to be made, or ``True``: ``NAME.sock`` in
            ``$XDG_RUNTIME_DIR/cotyledon``, or in ``/run/cotyledon`` for root (default: nowhere).

    Raises:
        RuntimeError: there is one already in this process.
        TypeError: an argument has the wrong type.
        ValueError: a number of seconds is negative or not finite, the name or the path of the
            socket cannot be one, or ``control=True`` has no name or no folder.
    """

    _process_runner_already_created: ClassVar[bool] = False
    """The seatbelt; tests that build several managers in one process reset it."""

    def __init__(
        self,
        wait_interval: float | None = None,
        graceful_shutdown_timeout: float = 60,
        mp_context: Any = None,
        *,
        freeze_heap: bool = True,
        subreaper: bool = False,
        name: str | None = None,
        control: bool | str | os.PathLike[str] | None = None,
    ) -> None:
        if ServiceManager._process_runner_already_created:
            raise RuntimeError("Only one instance of ServiceManager per application is allowed")
        interval = 0 if wait_interval is None else nanoseconds("wait_interval", wait_interval)
        grace = nanoseconds("graceful_shutdown_timeout", graceful_shutdown_timeout)
        self._graceful_shutdown_timeout = graceful_shutdown_timeout
        self._freeze_heap = freeze_heap
        self._subreaper = subreaper
        self._mp_context = check_context(mp_context)
        self._place = place_of(name, control)
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._specs: dict[int, Spec] = {}
        self._numbers = itertools.count()  # next() is atomic, whoever calls add()
        self._hooks = Hooks()
        self._inbox = Inbox()
        self._core = Core(grace=grace, spawn_interval=interval, chance=chance)
        self._master: Master | None = None  # while it runs
        self._state = "idle"
        FORKS.watch()
        self._early = EarlyCatcher()
        ServiceManager._process_runner_already_created = True

    # What is wanted

    def add(
        self,
        service: Callable[..., Service | AsyncService],
        workers: int = 1,
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        *,
        policy: Policy | None = None,
        after: Iterable[ServiceId] = (),
    ) -> ServiceId:
        """Add a service; its workers start in order of ``add`` when the manager runs, or at once.

        Callable from any thread, from hooks and from signal handlers.

        Args:
            service: a subclass of :class:`Service` or :class:`AsyncService`, or a factory;
                called in each worker as ``service(worker_id, *args, **kwargs)``.
            workers: how many, at least 1.
            args: further positional arguments.
            kwargs: keyword arguments.
            policy: how the service is kept alive (default: the service's attribute ``policy``
                if that is a :class:`Policy`, or else the defaults).
            after: services that must be ready before this one is started for the first time,
                and that are stopped after it; as they have to be added before it, there are
                no cycles.

        Returns:
            The id of the service, for :meth:`reconfigure` and hooks.

        Raises:
            TypeError: ``service`` is not callable, or ``policy`` is not a policy; while the
                manager runs with a start method other than fork: something does not pickle.
            ValueError: ``workers`` is not an int of at least 1, or ``after`` names a service
                that was not added.
        """
        from uuid import uuid4

        if not callable(service):
            raise TypeError("'service' must be a callable")
        wanted = check_workers(workers, 1)
        if policy is None:
            policy = getattr(service, "policy", None)
            if not isinstance(policy, Policy):
                policy = Policy()
        elif not isinstance(policy, Policy):
            raise TypeError(f"'policy' must be a Policy, not: {policy!r}")
        before = tuple(dict.fromkeys(self._number(one) for one in after))
        spec = Spec(
            ServiceId(uuid4()),
            service,
            tuple(args or ()),
            dict(kwargs or {}),
            name_of(service),
            policy,
            before,
        )
        self._check_spec(spec)
        number = next(self._numbers)
        self._specs[number] = spec
        self._request(ServiceAdded(number, wanted, *known_of(service), policy, before))
        return spec.id

    def reconfigure(
        self,
        service_id: ServiceId,
        workers: int | None = None,
        *,
        service: Callable[..., Service | AsyncService] | None = None,
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        policy: Policy | None = None,
    ) -> None:
        """Change how many workers a service has, at once, or what its next workers are.

        Callable from any thread, from hooks and from signal handlers. It clears the back-off.

        Args:
            service_id: what :meth:`add` returned.
            workers: how many, at least 0 (0: paused; default ``None``: as before).
            service: another class or factory, for workers that are started from now on;
                :meth:`restart` replaces those that run (default ``None``: as before).
            args: other arguments, for the same workers.
            kwargs: other keyword arguments, for the same workers.
            policy: another policy, at once; what it says of a single worker (start, watchdog,
                recycling, ``min_ready``, ``run_as``) holds for those that are started from now on.

        Raises:
            TypeError: ``service`` is not callable or ``policy`` is not a policy; while the
                manager runs with a start method other than fork: something does not pickle.
            ValueError: there is no such service, ``workers`` is not an int of at least 0, or
                nothing is given.
        """
        number = self._number(service_id)
        changed: dict[str, Any] = {
            "service": service,
            "args": None if args is None else tuple(args),
            "kwargs": None if kwargs is None else dict(kwargs),
            "policy": policy,
        }
        changed = {key: value for key, value in changed.items() if value is not None}
        if workers is not None or not changed:
            check_workers(workers, 0)
        if changed:
            if service is not None and not callable(service):
                raise TypeError("'service' must be a callable")
            if policy is not None and not isinstance(policy, Policy):
                raise TypeError(f"'policy' must be a Policy, not: {policy!r}")
            spec = self._specs[number]._replace(**changed)
            if service is not None:
                spec = spec._replace(name=name_of(service))
            self._check_spec(spec)
            self._specs[number] = spec
            self._request(ServiceChanged(number, *known_of(spec.service), spec.policy))
        if workers is not None:
            self._request(ScaleRequested(number, workers))

    def remove(self, service_id: ServiceId) -> None:
        """Stop the workers of a service, and forget it; returns at once.

        ``on_event`` hooks are told when nothing of it is left. Callable from any thread, from
        hooks and from signal handlers.

        Args:
            service_id: what :meth:`add` returned.

        Raises:
            ValueError: there is no such service, or another one comes after it.
        """
        number = self._number(service_id)
        for spec in list(self._specs.values()):
            if number in spec.after and not spec.removed:
                raise ValueError(
                    f"{self._specs[number].name} cannot be removed: {spec.name} comes after it"
                )
        self._specs[number] = self._specs[number]._replace(removed=True)
        self._request(ServiceRemoved(number))

    def _check_spec(self, spec: Spec) -> None:
        if self._state == "running":
            check_specs(self._mp_context, [spec], self._hooks.on_new_worker)

    def reload(self, service_id: ServiceId | None = None) -> None:
        """Reload every service, as SIGHUP does, or one; returns at once.

        The ``on_reload`` hooks are called first. When it has reached every worker, or has
        failed, ``on_event`` hooks are told so, for each service. Callable from any thread, from
        hooks and from signal handlers.

        Args:
            service_id: what :meth:`add` returned (default ``None``: every service).

        Raises:
            ValueError: there is no such service.
        """
        number = None if service_id is None else self._number(service_id)
        self._request(ReloadRequested(number))

    def restart(self, service_id: ServiceId, worker_id: int | None = None) -> None:
        """Replace the workers of a service by new ones, in a rollout, or one of them at once.

        Unlike a reload it does so even if the service has a ``reload()`` of its own, and it
        starts again what has ended for good. Returns at once; ``on_event`` hooks are told when
        the rollout has finished or failed. Callable from any thread, from hooks and from signal
        handlers.

        Args:
            service_id: what :meth:`add` returned.
            worker_id: the worker (default ``None``: all of them).

        Raises:
            ValueError: there is no such service, or it never had such a worker.
        """
        number = self._number(service_id)
        if worker_id is not None:
            with self._lock:
                service = self._core.services.get(number)
                known = 0 if service is None else len(service.slots)
            if isinstance(worker_id, bool) or worker_id not in range(known):
                raise ValueError(f"{self._specs[number].name} has no worker {worker_id!r}")
        self._request(RestartRequested(number, worker_id))

    def _number(self, service_id: ServiceId) -> int:
        for key, spec in list(self._specs.items()):
            if spec.id == service_id and not spec.removed:
                return key
        raise ValueError(f"{service_id} service id doesn't exists")

    def register_hooks(
        self,
        on_terminate: Callable[[], Any] | None = None,
        on_reload: Callable[[], Any] | None = None,
        on_new_worker: Callable[[ServiceId, WorkerId, Any], Any] | None = None,
        on_dead_worker: Callable[[ServiceId, WorkerId, int], Any] | None = None,
        *,
        on_event: Callable[[Notice], Any] | None = None,
    ) -> None:
        """Register functions to call; repeatable, they are called in order.

        Args:
            on_terminate: in the master when a graceful stop begins, before workers are told.
            on_reload: in the master on SIGHUP, before workers reload; one that raises
                :class:`cotyledon.types.ReloadRefused` has everything stay as it is.
            on_new_worker: in each worker's main thread, after its service is built and before
                ``run()``, as ``(service_id, worker_id, service)``.
            on_dead_worker: in the master when a worker has died, unless a stop of the manager
                ended it, as ``(service_id, worker_id, exit_code)``; the exit code is minus the
                signal's number after a signal. The replacement may be there already.
            on_event: in the master for everything that happens to workers and services, the
                stop included, as ``(notice)``, one of the kinds in :mod:`cotyledon.notices`.

        Raises:
            TypeError: one of them is not callable.
        """
        given = {
            "on_terminate": on_terminate,
            "on_reload": on_reload,
            "on_new_worker": on_new_worker,
            "on_dead_worker": on_dead_worker,
            "on_event": on_event,
        }
        for name, hook in given.items():
            if hook is not None and not callable(hook):
                raise TypeError(f"{name!r} must be a callable")
        for name, hook in given.items():
            if hook is not None:
                getattr(self._hooks, name).append(hook)

    @property
    def mp_context(self) -> Any:
        """The ``multiprocessing`` context of the workers; assignable until :meth:`run`."""
        if self._mp_context is None:
            import multiprocessing

            return multiprocessing.get_context("fork")
        return self._mp_context

    @mp_context.setter
    def mp_context(self, context: Any) -> None:
        if self._state != "idle":
            raise RuntimeError("'mp_context' cannot be changed after run() has begun")
        self._mp_context = check_context(context)

    @property
    def graceful_shutdown_timeout(self) -> float:
        """Seconds that a graceful stop may take (0: no limit); assignable at any time."""
        return self._graceful_shutdown_timeout

    @graceful_shutdown_timeout.setter
    def graceful_shutdown_timeout(self, seconds: float) -> None:
        grace = nanoseconds("graceful_shutdown_timeout", seconds)
        self._graceful_shutdown_timeout = seconds
        self._request(GraceChanged(grace))

    # What is there

    def status(self) -> ManagerStatus:
        """Return a snapshot of the services and their workers at one instant.

        Callable from any thread, from hooks and from signal handlers. What was asked for a
        moment ago may not show before the loop has turned.
        """
        with self._lock:
            if self._state == "idle":
                self._record_requests()
            master = self._master
            state = "stopping" if self._state == "running" and self._core.stopping else self._state
            return _snapshot.take(
                self._core,
                time.monotonic_ns(),
                self._pid,
                state,
                {key: (spec.id, spec.name) for key, spec in list(self._specs.items())},
                {} if master is None else dict(master.children),
                {} if master is None else master.names,
                None if master is None else master.beat,
            )

    # The run

    def run(self) -> None:
        """Start the workers and supervise them until the manager is told to stop.

        Returns after a graceful stop.

        Raises:
            SystemExit: with status 1, when the stop was not graceful: after SIGINT or
                SIGALRM, or when something had to be killed at the deadline.
            RuntimeError: not called in the main thread, or not for the first time; another
                manager has the same name or control socket, or they cannot be made.
            TypeError: with a start method other than fork, something that a worker needs does
                not pickle; no worker was started.
        """
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("run() must be called in the main thread: it handles signals")
        if self._state != "idle" or os.getpid() != self._pid:
            raise RuntimeError("run() can be called once, in the process that made the manager")
        check_specs(self._mp_context, self._specs.values(), self._hooks.on_new_worker)
        self._state = "running"
        status = 1
        try:
            status = self._supervise()
        finally:
            self._state = "stopped"
        if status:
            sys.exit(status)

    def shutdown(self) -> None:
        """Stop the manager gracefully, as SIGTERM does; returns at once.

        Callable from any thread, from hooks and from signal handlers, several times, before and
        after :meth:`run`: called before, ``run()`` ends as soon as it has begun. In a worker,
        which has inherited the manager, it ends that worker alone, as ``sys.exit()`` does better.
        """
        if os.getpid() != self._pid:
            say(WARNING, "shutdown() in a worker ends that worker alone")
            os.kill(os.getpid(), signal.SIGTERM)
            return
        self._inbox.stop = True
        self._wake()

    def _request(self, event: Any) -> None:
        self._inbox.events.append(event)
        self._wake()

    def _wake(self) -> None:
        master = self._master
        if master is not None and os.getpid() == self._pid:
            master.wake()

    def _record_requests(self) -> None:
        """Take in what was asked for before run(), without acting on it."""
        for _ in range(len(self._inbox.events)):
            try:
                event = self._inbox.events.popleft()
            except IndexError:  # another thread, or a signal handler, was faster
                return
            self._core.record(time.monotonic_ns(), event)

    def _supervise(self) -> int:
        with self._place:
            return self._supervise_there()

    def _supervise_there(self) -> int:
        with self._lock:
            self._record_requests()
        master = Master(
            self._core,
            self._lock,
            self._inbox,
            self._hooks,
            self._early,
            self._specs,
            context=self._mp_context,
            freeze_heap=self._freeze_heap,
            subreaper=self._subreaper,
            place=self._place,
        )
        self._master = master
        try:
            return master.run()
        finally:
            self._master = None
