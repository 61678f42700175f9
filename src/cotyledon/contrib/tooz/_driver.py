"""One connection to a coordination server, by a driver of tooz.

Responsible for what differs between the drivers: their options, what they need to keep a
membership alive, their errors. Never decides anything. Imported in the process that holds the
membership alone: it loads tooz and a client library.
"""

import math
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

# A library of tooz imports it where it is installed, nothing here uses it, and it is half of the
# time that a process needs to take over a membership.
sys.modules.setdefault("eventlet", None)  # type: ignore[arg-type]

from tooz import coordination  # noqa: E402 - only now

SECOND = 1_000_000_000


class Connection:
    """A member's connection; see :class:`cotyledon.contrib.tooz._membership.Server`.

    Args:
        url: of the server, as tooz takes it.
        group: the group's name.
        member_id: who is to join.
        timeout: of the membership, in nanoseconds.
        patience: seconds that a request may take.
        options: for the driver; they take precedence.
    """

    def __init__(
        self,
        url: str,
        group: str,
        member_id: bytes,
        timeout: int,
        patience: float,
        options: Mapping[str, Any],
    ) -> None:
        self._group = group.encode()
        self._zookeeper = _scheme(url) in {"zookeeper", "kazoo"}
        # The other drivers have been given their own limits, for each of several requests.
        self._patience = patience if self._zookeeper else None
        self._coordinator = coordination.get_coordinator(
            url, member_id, **{**_options(url, timeout, patience), **options}
        )
        _no_retries(self._coordinator)

    def join(self) -> None:
        """Connect and join; make the group if it is not there."""
        self._coordinator.start()
        try:
            self._join()
        except coordination.GroupNotCreated:
            with suppress(coordination.GroupAlreadyExist):
                self._coordinator.create_group(self._group).get(self._patience)
            self._join()

    def _join(self) -> None:
        with suppress(coordination.MemberAlreadyExist):  # a try of ours that was not answered
            self._coordinator.join_group(self._group).get(self._patience)

    def renew(self) -> None:
        """Have the membership live from now on."""
        if self._zookeeper:
            self.members()  # any request does, and the driver's own knows no limit
        else:
            self._coordinator.heartbeat()

    def members(self) -> Iterable[bytes]:
        """Return the ids of the members; empty if there is no group."""
        try:
            return self._coordinator.get_members(self._group).get(self._patience)
        except coordination.GroupNotCreated:
            return ()

    def leave(self) -> None:
        """Leave the group."""
        with suppress(coordination.MemberNotJoined, coordination.GroupNotCreated):
            self._coordinator.leave_group(self._group).get(self._patience)

    def close(self) -> None:
        """Let go of the connection."""
        # Or it would leave these first, and wait for an answer for ever.
        getattr(self._coordinator, "_joined_groups", set()).clear()
        try:
            self._coordinator.stop()
        finally:
            # The drivers of etcd and ZooKeeper leave descriptors to the garbage collector.
            session = getattr(getattr(self._coordinator, "client", None), "session", None)
            if session is not None:
                session.close()
            client = getattr(self._coordinator, "_coord", None)
            if self._zookeeper and client is not None:
                client.close()


def _scheme(url: str) -> str:
    return urlsplit(url).scheme.partition("+")[0]


def _options(url: str, timeout: int, patience: float) -> dict[str, Any]:
    """Return options for the driver of a URL that bound what it waits for.

    Some drivers know whole seconds only. A membership may last longer than it is relied upon, and
    never shorter.
    """
    seconds = timeout / SECOND
    match _scheme(url):
        case "zookeeper" | "kazoo":
            return {"timeout": math.ceil(seconds)}
        case "etcd3":
            return {
                "membership_timeout": math.ceil(seconds),
                "timeout": max(1, int(patience)),
                "executor": "sync",
            }
        case _:
            return {
                "membership_timeout": seconds,
                "timeout": max(1, int(patience)),
                "socket_timeout": patience,
                "socket_connect_timeout": patience,
                "executor": "sync",  # a thread of its own would outlive its usefulness
            }


def _no_retries(coordinator: Any) -> None:
    """Have the redis client fail at once: who retries here waits with a back-off, and says so."""
    make = getattr(coordinator, "_make_client", None)
    if coordinator.__class__.__name__ != "RedisDriver" or make is None:
        return
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    def make_client(*args: Any) -> Any:
        client = make(*args)
        client.set_retry(Retry(NoBackoff(), 0))
        return client

    coordinator._make_client = make_client
