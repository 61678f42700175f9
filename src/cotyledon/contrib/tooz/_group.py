"""A group as a program sees it: which services share their work with those of other managers.

Responsible for checking what it is given, for adding services to the manager, and for noting in
shared memory which of their workers are ready. Never speaks to a server.
"""

import logging
import math
import os
import re
import socket
import threading
import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import cotyledon
from cotyledon import notices
from cotyledon.contrib.tooz._beat import Beat
from cotyledon.contrib.tooz._membership import SECOND, Settings
from cotyledon.contrib.tooz._memory import SERVICES, WORKERS, Memory
from cotyledon.contrib.tooz._partition import Share
from cotyledon.types import ServiceId, WorkerId

LOG = logging.getLogger("cotyledon.tooz")
SHORTEST = 1.5
"""Seconds: no shorter membership can be renewed with any safety."""


class Group:
    """Managers whose workers share work, on one machine or several; made before ``run()``.

    It adds a service to the manager: one worker that holds the manager's membership and its only
    connection to the server. It is up as soon as it is built, whether the server answers or not.
    It learns who is ready and who has died by an ``on_event`` hook: one of the program's that is
    registered before the group is made, and fails, keeps that from it, and keys have no owner.

    Args:
        manager: whose workers take part.
        url: of the server, as tooz takes it, such as ``redis://10.0.0.1:6379``,
            ``etcd3+http://10.0.0.1:2379`` or ``zookeeper://10.0.0.1:2181``.
        name: of the group; managers with the same name at the same server are in one group.
        host: what this manager is called in the group, unlike any other one; it decides which keys
            are whose, and should be the same after a restart (default: the machine's host name).
        membership_timeout: seconds after which a manager that is silent is no member any more, at
            least 1.5; the same in all managers (default 10). Whole seconds for etcd and ZooKeeper,
            and within what the server allows.
        poll: seconds between two looks at who is a member (default 0.25). Where there are many
            managers each looks more rarely.
        on_lost: what the workers own while the manager cannot be sure to be a member: ``"stop"``:
            nothing, so that each key has one owner at most; ``"keep"``: what they owned before, so
            that each has one at least (default ``"stop"``).
        options: more options of the tooz driver.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: an argument cannot be right; its message says why.
    """

    def __init__(
        self,
        manager: cotyledon.ServiceManager,
        url: str,
        name: str,
        *,
        host: str | None = None,
        membership_timeout: float = 10,
        poll: float = 0.25,
        on_lost: str = "stop",
        options: Mapping[str, Any] | None = None,
    ) -> None:
        if not isinstance(manager, cotyledon.ServiceManager):
            raise TypeError(f"Group: 'manager' must be a ServiceManager, not: {manager!r}")
        shown = _shown(url)
        timeout = _seconds("membership_timeout", membership_timeout, SHORTEST)
        settings = Settings(
            shown,
            _name("name", name),
            _name("host", socket.gethostname() if host is None else host),
            uuid.uuid4().hex[:12],
            round(timeout * SECOND),
            _seconds("poll", poll, 0.01),
        )
        if on_lost not in {"stop", "keep"}:
            raise ValueError(f"Group: 'on_lost' must be 'stop' or 'keep', not: {on_lost!r}")
        self._manager = manager
        self._settings = settings
        self._keep = on_lost == "keep"
        self._memory = Memory()
        self._services: dict[str, int] = {}
        self._roll = _Roll(self._memory)
        manager.register_hooks(on_event=self._roll)
        # One that hangs is no better than one that has died; but looking up a name may last.
        policy = cotyledon.Policy(
            watchdog=max(30.0, 2 * timeout), backoff=cotyledon.Backoff(cap=2.0)
        )
        self._beat = manager.add(
            Beat, args=(self._memory, settings, url, dict(options or {})), policy=policy
        )

    def add(
        self,
        service: Callable[..., cotyledon.Service | cotyledon.AsyncService],
        workers: int = 1,
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        *,
        policy: cotyledon.Policy | None = None,
        after: Iterable[ServiceId] = (),
    ) -> ServiceId:
        """Add a service whose workers share their work with those of the other managers.

        As :meth:`cotyledon.ServiceManager.add`, and each worker is given one more argument,
        ``share``, whose method ``partition(worker_id)`` returns its :class:`Partition`. Services
        of the same name share the same work. They stop before the manager leaves the group.

        Args:
            service: a class or a factory.
            workers: how many, from 1 to 4,096.
            args: further positional arguments.
            kwargs: further keyword arguments.
            policy: how the service is kept alive.
            after: other services that must be ready first.

        Returns:
            The id of the service.

        Raises:
            TypeError: as :meth:`cotyledon.ServiceManager.add` does.
            ValueError: the same; or there is an argument ``share``, a service of this name is in
                the group already, or there are sixteen.
        """
        given = dict(kwargs or {})
        if "share" in given:
            raise ValueError("Group.add(): the argument 'share' is given by the group")
        wanted: Any = workers  # whatever it is, add() says what is wrong with it
        if isinstance(wanted, int) and wanted > WORKERS:
            raise ValueError(f"Group.add(): 'workers' must be at most {WORKERS}, not: {workers}")
        name = _name_of(service)
        number = self._services.get(name, len(self._services))
        if self._roll.follows(number):
            raise ValueError(
                f"Group.add(): there is a service {name!r} in {self._settings.group!r} already; "
                "give the class another 'name'"
            )
        if number == SERVICES:
            raise ValueError(f"Group.add(): a group has at most {SERVICES} services")
        settings = self._settings
        share = Share(self._memory, number, settings.group, settings.host, self._keep)
        before = (self._beat, *after)
        with self._roll.lock:  # its first worker may be ready before this has returned
            added = self._manager.add(
                service, workers, args, {**given, "share": share}, policy=policy, after=before
            )
            self._services[name] = number
            self._memory.name(number, name)
            self._roll.follow(added, number)
        return added


class _Roll:
    """The hook that notes which workers are ready, and which process each of them is."""

    def __init__(self, memory: Memory) -> None:
        self.lock = threading.RLock()
        """Held while a service is added: a moment, even for the master."""
        self._memory = memory
        self._numbers: dict[ServiceId, int] = {}
        self._ready: dict[tuple[int, int], list[int]] = {}
        self._slots: dict[int, set[int]] = {}

    def follow(self, service: ServiceId, number: int) -> None:
        """Note the workers of one more service."""
        self._numbers[service] = number

    def follows(self, number: int) -> bool:
        """Tell whether there is such a service."""
        return number in self._numbers.values()

    def __call__(self, notice: notices.Notice) -> None:
        """Take in one notice."""
        with self.lock:
            self._take(notice)

    def _take(self, notice: notices.Notice) -> None:
        match notice:
            case notices.WorkerStarted():
                self._memory.master = os.getpid()
            case notices.WorkerReady(service_id=service, worker_id=worker_id, pid=int(pid)):
                self._became_ready(service, worker_id, pid)
            case notices.WorkerDied(service_id=service, worker_id=worker_id, death=death):
                self._died(service, worker_id, death)
            case notices.ServiceGone(service_id=service):
                self._forget(service)
            case notices.Stopping():
                self._memory.stop()
            case _:
                pass

    def _became_ready(self, service: ServiceId, worker_id: WorkerId, pid: int) -> None:
        number = self._numbers.get(service)
        if number is None:
            return
        if worker_id >= WORKERS:
            LOG.warning("worker %d owns nothing: a group has at most %d", worker_id, WORKERS)
            return
        self._slots.setdefault(number, set()).add(worker_id)
        there = self._ready.setdefault((number, worker_id), [])
        # Some may have gone without a word: another hook that fails keeps notices from this one.
        self._enter(number, worker_id, [*filter(_exists, there), pid])

    def _died(self, service: ServiceId, worker_id: WorkerId, death: cotyledon.Death) -> None:
        number = self._numbers.get(service)
        if number is None or worker_id >= WORKERS:
            return
        there = self._ready.setdefault((number, worker_id), [])
        left = [pid for pid in there if pid != death.pid]
        if death.reason == "scaled down" and not left:
            self._slots.setdefault(number, set()).discard(worker_id)
        self._enter(number, worker_id, left)

    def _forget(self, service: ServiceId) -> None:
        """Let another service have the place of one that is gone."""
        number = self._numbers.pop(service, None)
        if number is not None:
            slots = self._slots.pop(number, set())
            for worker_id in sorted(slots):
                self._enter(number, worker_id, [])

    def _enter(self, number: int, worker_id: int, there: list[int]) -> None:
        """Note who is in a slot: a successor waits for the end of its predecessor."""
        self._ready[number, worker_id] = there
        count = max(self._slots.get(number, ()), default=-1) + 1
        self._memory.enter(number, worker_id, there[0] if there else 0, count)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _name_of(service: Any) -> str:
    inner = getattr(service, "func", service)  # functools.partial
    return str(getattr(inner, "name", None) or getattr(inner, "__name__", type(inner).__name__))


def _name(argument: str, value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"Group: {argument!r} must be a string, not: {value!r}")
    if not 1 <= len(value) <= 200 or not value.isprintable():
        raise ValueError(
            f"Group: {argument!r} must have 1 to 200 printable characters, not: {value!r}"
        )
    return value


def _seconds(argument: str, value: Any, least: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"Group: {argument!r} must be a number of seconds, not: {value!r}")
    if not math.isfinite(value) or value < least:
        raise ValueError(f"Group: {argument!r} must be at least {least:g} s, not: {value!r}")
    return float(value)


def _shown(url: Any) -> str:
    """Return a URL as it may be shown: without user, password and options."""
    if not isinstance(url, str):
        raise TypeError(f"Group: 'url' must be a string, not: {type(url).__name__}")
    scheme, found, rest = url.partition("://")
    place = re.split(r"[?#]", rest.rpartition("@")[2])[0]
    if not found or not scheme:
        raise ValueError(
            "Group: 'url' must be one that tooz knows, such as 'redis://localhost:6379'"
        )
    return f"{scheme}://{place}"
