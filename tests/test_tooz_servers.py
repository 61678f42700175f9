"""Managers that share work, with real servers: joining, leaving, dying, and servers that fail."""

import gc
import os
import threading
from collections.abc import Callable, Iterator

import pytest

from cotyledon.contrib.tooz._driver import Connection
from tests.harness import Program, TookTooLong, descriptors, until
from tests.servers import Server
from tests.tooz_support import Cluster, started

pytestmark = [pytest.mark.real, pytest.mark.servers]

BRIEF = 0.5
"""Seconds between a change and what is said of it, on a busy machine: waits are longer by far."""
TRIES = 3
"""How often a bound may be missed because the machine was busy with something else."""


# The rules are the same on every Python, and one server shows that it is put together there.
@pytest.fixture(
    params=[
        "redis",
        pytest.param("etcd", marks=pytest.mark.once),
        pytest.param("zookeeper", marks=pytest.mark.once),
    ]
)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """Each kind of server, with nothing in it."""
    yield from started(request.param)


def test_a_closed_connection_leaves_nothing(server: Server) -> None:
    """However often a connection is made anew, no descriptors and no threads are left of it."""

    def use() -> None:
        # A membership that no pause of a busy machine ends before it is looked at.
        connection = Connection(server.url, "leaving", b"somebody", 60 * 10**9, 20.0, {})
        connection.join()
        assert list(connection.members()) == [b"somebody"]
        connection.leave()
        connection.close()

    def held() -> tuple[list[str], list[str]]:
        return list(descriptors(os.getpid()).values()), [t.name for t in threading.enumerate()]

    def no_more() -> bool:
        return all(len(now) <= len(then) for now, then in zip(held(), before, strict=True))

    use()
    gc.collect()
    gc.disable()
    try:
        before = held()
        for _ in range(3):
            use()
        try:
            until(no_more, "everything of them has gone")
        except TookTooLong as error:
            error.add_note(f"held before: {before}\nheld now: {held()}")
            raise
    finally:
        gc.enable()


def within(bound: float, attempt: Callable[[], float]) -> None:
    """Have something take at most so long, at least once."""
    found = []
    for _ in range(TRIES):
        found.append(attempt())
        if found[-1] <= bound:
            return
    raise AssertionError(f"never within {bound} s, but {found}")


def test_keys_follow_the_workers(start: Callable[..., Program], server: Server) -> None:
    """No key is without an owner for longer than half a second after a worker's kill -9 or a
    manager's TERM, nor longer than four after a host's kill -9, with a timeout of three seconds.
    """
    cluster = Cluster(start, server.url)
    for host in ("a", "b"):
        cluster.add(host)
    cluster.settle("a", "b")

    def worker_dies() -> float:
        victim = cluster.workers("a")[0]
        when = cluster.kill_worker("a", victim)
        cluster.settle("a", "b")
        return cluster.gap(when)

    def manager_stops() -> float:
        when = cluster.stop("b")
        cluster.settle("a")
        gap = cluster.gap(when)
        cluster.add("b")
        cluster.settle("a", "b")
        return gap

    def host_dies() -> float:
        when = cluster.kill_host("b")
        cluster.settle("a")
        gap = cluster.gap(when)
        cluster.add("b")
        cluster.settle("a", "b")
        return gap

    cluster.add("c")  # takes keys from the others, who know before it has them
    cluster.settle("a", "b", "c")
    cluster.stop("c")
    cluster.settle("a", "b")
    within(0.5, worker_dies)
    within(0.5, manager_stops)
    within(4.0, host_dies)
    assert cluster.overlap() < BRIEF
