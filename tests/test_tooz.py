"""What groups are made of, without servers: rings, ids, shared memory, arguments."""

import os
import sys
import threading
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cotyledon
from cotyledon import notices
from cotyledon.contrib import tooz
from cotyledon.contrib.tooz import _memory, _partition
from cotyledon.contrib.tooz._crew import ABSENT, MISSED, STEADY, Crew
from cotyledon.contrib.tooz._group import _Roll
from cotyledon.contrib.tooz._members import Holding, Member, decode
from cotyledon.contrib.tooz._membership import SECOND, Settings
from cotyledon.contrib.tooz._memory import Memory
from cotyledon.contrib.tooz._partition import Partition, Share, clock
from cotyledon.contrib.tooz._ring import (
    POINTS,
    SPACE,
    Arc,
    Ring,
    hash_of,
    joined_up,
    overlap,
    rest,
    worker_of,
)
from tests.harness import until

WHOLE = [Arc(0, SPACE)]
WEIGHTS = st.dictionaries(
    st.text("abcdef", min_size=1, max_size=3), st.integers(1, 4), min_size=1, max_size=6
)


# The ring


def ring(weights: dict[str, int]) -> Ring:
    made = Ring()
    made.set(weights)
    return made


@settings(deadline=None)
@given(WEIGHTS)
def test_arcs_are_all_of_the_space_once(weights: dict[str, int]) -> None:
    """The arcs of all managers leave nothing out, and do not overlap."""
    arcs = [arc for host in weights for arc in ring(weights).arcs(host)]
    assert sum(high - low for low, high in arcs) == SPACE
    assert joined_up(arcs) == WHOLE


@settings(deadline=None)
@given(WEIGHTS, st.lists(WEIGHTS, max_size=4))
def test_a_ring_that_was_changed_is_as_if_made_anew(
    last: dict[str, int], before: list[dict[str, int]]
) -> None:
    """Joins, leaves and changes of weight, in any order, lead to the same ring."""
    changed = Ring()
    for weights in (*before, last):
        changed.set(weights)
    assert not changed.set(last)
    for host in last:
        assert changed.arcs(host) == ring(last).arcs(host)


@settings(deadline=None)
@given(WEIGHTS)
def test_only_the_work_of_who_leaves_moves(weights: dict[str, int]) -> None:
    """Those who stay keep all that they had."""
    before, leaver = ring(weights), min(weights)
    left = {host: workers for host, workers in weights.items() if host != leaver}
    after = ring(left)
    for host in left:
        assert overlap(before.arcs(host), after.arcs(host)) == before.arcs(host)


def test_a_small_change_of_a_large_ring_is_spliced() -> None:
    """One of many that joins or leaves is put in or taken out, with the same result."""
    weights = {f"host{number}": 2 for number in range(40)}
    made = ring(weights)
    assert len(made) == 80 * POINTS
    made.set({**weights, "more": 2})
    assert made.arcs("more") == ring({**weights, "more": 2}).arcs("more")
    made.set(weights)
    assert all(made.arcs(host) == ring(weights).arcs(host) for host in weights)


def test_shares_follow_the_weights() -> None:
    """A manager with three times the workers has about three times the work."""
    made = ring({**{f"host{n}": 10 for n in range(20)}, "large": 30})
    share = sum(arc.high - arc.low for arc in made.arcs("large")) / SPACE
    assert share == pytest.approx(30 / 230, rel=0.2)


ARCS = st.lists(st.integers(0, 40), max_size=8, unique=True).map(
    lambda edges: joined_up(Arc(*pair) for pair in zip(*[iter(sorted(edges))] * 2, strict=False))
)


@settings(deadline=None)
@given(ARCS, ARCS)
def test_arithmetic_on_arcs(one: list[Arc], other: list[Arc]) -> None:
    """What is in both, and what is in one alone, are what sets of numbers say."""

    def numbers(arcs: list[Arc]) -> set[int]:
        return {number for low, high in arcs for number in range(low, high)}

    assert numbers(overlap(one, other)) == numbers(one) & numbers(other)
    assert numbers(rest(one, other)) == numbers(one) - numbers(other)


# Within a manager


def test_the_keys_of_a_manager_are_spread_over_its_workers() -> None:
    """Each of its workers has about the same number of keys."""
    counts = Counter(worker_of(hash_of(f"key {n}"), [1] * 7) for n in range(7000))
    assert set(counts) == set(range(7))
    assert max(counts.values()) < 1150


@settings(deadline=None)
@given(st.integers(0, SPACE - 1), st.lists(st.booleans(), min_size=1, max_size=12), st.data())
def test_a_worker_that_ends_moves_its_own_keys_alone(
    place: int, there: list[bool], data: st.DataObject
) -> None:
    """Keys of others stay where they are, and a replacement gets back what was its own."""
    slots = [int(one) for one in there]
    before = worker_of(place, slots)
    assert (before is None) == (not any(slots))
    if before is None:
        return
    assert slots[before]
    ends = data.draw(st.sampled_from([n for n, one in enumerate(slots) if one]))
    after = worker_of(place, [0 if n == ends else one for n, one in enumerate(slots)])
    assert after == before if ends != before else after != before


# Ids


@settings(deadline=None)
@given(
    st.text(min_size=1, max_size=20),
    st.integers(0, 1 << 60),
    st.dictionaries(st.text(min_size=1, max_size=10), st.integers(0, 9), max_size=4),
)
def test_an_id_tells_what_was_put_into_it(host: str, entry: int, workers: dict[str, int]) -> None:
    """Any name goes into an id of harmless characters, and comes out of it."""
    try:
        (host + "".join(workers)).encode()
    except UnicodeEncodeError:
        return  # half of a surrogate pair is no name
    member = Member(host, "0123456789ab", entry, tuple(sorted(workers.items())))
    assert decode(member.encode()) == member
    assert not set(member.encode()) & set(b"/ \n")


@pytest.mark.parametrize("other", [b"", b"x", b"c2|a|t|1|", b"c1|a|t|one|", b"c1|a|t", b"\xff"])
def test_ids_of_others_are_left_alone(other: bytes) -> None:
    """What is no manager's id is nobody."""
    assert decode(other) is None


# How many workers there are


def test_a_replacement_is_nobodys_business() -> None:
    """A worker that is away for a moment is counted; one that stays away is not."""
    crew, now = Crew(), SECOND
    crew.count(now, {"s": [1, 2]})
    now += STEADY
    assert crew.count(now, {"s": [1, 2]}) == {"s": 2}
    now += MISSED // 2
    assert crew.count(now, {"s": [1, 0]}) == {"s": 2}
    for _ in range(3):
        now += MISSED // 2 + 1
        told = crew.count(now, {"s": [1, 0]})
    assert told == {"s": 1}


def test_a_service_without_workers_has_none() -> None:
    """A manager whose workers are all away says so sooner."""
    crew, now = Crew(), SECOND
    crew.count(now, {"s": [1, 2]})
    crew.count(now + STEADY, {"s": [1, 2]})
    now += STEADY + ABSENT + 1
    crew.count(now, {"s": [0, 0]})
    assert crew.count(now + STEADY, {"s": [0, 0]}) == {}


def test_who_is_scaled_to_nothing_says_so_at_once() -> None:
    """A service that is to have no workers is not waited for."""
    crew, now = Crew(), SECOND
    crew.count(now, {"s": [1, 2]})
    now += STEADY
    assert crew.count(now, {"s": [1, 2]}) == {"s": 2}
    crew.count(now + 1, {"s": []})
    assert crew.count(now + 1 + STEADY, {"s": []}) == {}


def test_who_goes_on_for_another_tells_the_first_count() -> None:
    """The first count is told at once, and all others when they are steady."""
    crew, now = Crew(at_once=True), SECOND
    assert crew.count(now, {"s": [1, 2]}) == {"s": 2}
    assert crew.count(now + 1, {"s": [1, 2, 3]}) == {"s": 2}
    assert crew.count(now + 1 + STEADY, {"s": [1, 2, 3]}) == {"s": 3}


# Shared memory


def test_what_is_read_was_written_in_one_piece() -> None:
    """A reader never sees half of one writing and half of another."""
    memory = Memory()
    over = threading.Event()

    def write() -> None:
        number = 0
        while not over.is_set():
            number += 1
            arcs = [Holding(number, number, number)] * (number % 50)
            memory.publish({"s": arcs, str(number): []}, number)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        seen = 0
        while seen < 300:
            version, services = memory.arcs()
            if version:
                assert services["s"] == [Holding(version, version, version)] * (version % 50)
                assert str(version) in services
                seen += 1
    finally:
        over.set()
        writer.join()


def test_a_writer_that_was_killed_leaves_the_last_words_whole() -> None:
    """What was half written is not read, and the next writing is."""
    memory = Memory()
    memory.publish({"s": [Holding(1, 2, 3)]}, 10)
    spoilt = memory._view[:]
    start = _memory._PLACES  # where the next version goes
    spoilt[start : start + 100] = b"x" * 100
    assert memory.arcs().services == {"s": [Holding(1, 2, 3)]}
    memory.publish({"s": [Holding(4, 5, 6)]}, 10)
    assert memory.arcs().services == {"s": [Holding(4, 5, 6)]}


# A partition


@pytest.fixture
def memory() -> Memory:
    memory = Memory()
    memory.name(0, "Poller")
    memory.publish({"Poller": [Holding(0, SPACE, 0)]}, clock() + 60 * SECOND)
    return memory


def partition(memory: Memory, worker_id: int = 0, keep: bool = False) -> Partition:
    return Share(memory, 0, "pollers", "here", keep).partition(worker_id)


def test_a_worker_owns_when_it_is_ready(memory: Memory) -> None:
    """Nothing is owned before the manager knows the worker, nor when another has its place."""
    mine = partition(memory)
    assert mine.member == "here/Poller/0"
    assert not mine.owns("key")
    memory.enter(0, 0, os.getpid(), 1)
    assert mine.owns("key")
    assert mine.owns(b"key")
    memory.enter(0, 0, os.getpid() + 1, 1)
    assert not mine.owns("key")
    memory.enter(0, 0, os.getpid(), 1)
    memory.enter(0, 1, os.getpid() + 1, 2)
    keys = [str(number) for number in range(200)]
    assert 50 < sum(mine.owns(key) for key in keys) < 150


def test_nobody_owns_by_a_crew_that_is_being_changed(memory: Memory) -> None:
    """While the master writes who is there, nobody goes by half of it."""
    memory.enter(0, 0, os.getpid(), 1)
    mine = partition(memory)
    assert mine.owns("key")
    cells = memory._cells
    cells[_memory._CREW] += 1
    assert not mine.owns("key")
    cells[_memory._CREW] += 1
    assert mine.owns("key")


def test_what_is_not_believed_any_more_is_not_owned(memory: Memory) -> None:
    """When the time has run out nothing is owned, unless it is to be kept."""
    memory.enter(0, 0, os.getpid(), 1)
    mine, kept = partition(memory), partition(memory, keep=True)
    assert mine.owns("key")
    memory.extend(clock() - 1)
    assert not mine.owns("key")
    assert kept.owns("key")
    memory.publish({}, 0)
    assert not kept.owns("key")


def test_what_is_waited_for_is_not_owned_yet(memory: Memory) -> None:
    """An arc is owned from its instant on."""
    memory.enter(0, 0, os.getpid(), 1)
    mine = partition(memory)
    memory.publish({"Poller": [Holding(0, SPACE, clock() + SECOND // 5)]}, clock() + 60 * SECOND)
    changes = threading.Semaphore(0)
    mine.on_change(changes.release)
    assert not mine.owns("key")
    assert changes.acquire(timeout=20)
    assert mine.owns("key")


def test_changes_are_told(memory: Memory, caplog: pytest.LogCaptureFixture) -> None:
    """Each callback is called after a change, also when one fails, and never for nothing."""
    mine = partition(memory)
    changes = threading.Semaphore(0)

    def fail() -> None:
        raise ValueError("not today")

    def leave() -> None:
        sys.exit("not ever")

    mine.on_change(fail)
    mine.on_change(leave)
    mine.on_change(changes.release)
    memory.enter(0, 0, os.getpid(), 1)
    until(lambda: changes.acquire(timeout=0.01), "it was told")
    assert mine.owns("key")
    memory.extend(clock() + SECOND // 10)
    memory.ring()
    until(lambda: changes.acquire(timeout=0.01), "it was told that the time has run out")
    assert not mine.owns("key")
    assert "not today" in caplog.text
    assert "not ever" in caplog.text
    with pytest.raises(TypeError, match="on_change"):
        mine.on_change(1)  # type: ignore[arg-type]


def test_the_cache_is_bounded(memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many keys are asked for, few are remembered."""
    monkeypatch.setattr(_partition, "_CACHED", 10)
    memory.enter(0, 0, os.getpid(), 1)
    mine = partition(memory)
    assert all(mine.owns(str(number)) for number in range(100))
    assert len(mine._known.cache) <= 10


# The roll


def test_a_successor_owns_when_its_predecessor_has_gone() -> None:
    """While two processes have one worker id the first of them owns."""
    memory = Memory()
    service: Any = "a service"
    roll, here = _Roll(memory), os.getpid()
    roll.follow(service, 0)
    death = cotyledon.Death("exit", 0, 1.0, 0.0, pid=here)
    ready = notices.WorkerReady(service, "s", cotyledon.types.WorkerId(1), here, 0.1)
    roll(ready)
    roll(ready._replace(pid=1))
    assert memory.crew(0) == [0, here]
    roll(notices.WorkerDied(service, "s", ready.worker_id, death, False))
    assert memory.crew(0) == [0, 1]
    roll(notices.WorkerDied(service, "s", ready.worker_id, death._replace(pid=1), False))
    assert memory.crew(0) == [0, 0]
    roll(ready._replace(pid=1 << 30))  # of whose death nothing is heard
    roll(ready)
    assert memory.crew(0) == [0, here]
    gone = death._replace(reason="scaled down")
    roll(notices.WorkerDied(service, "s", ready.worker_id, gone, False))
    assert memory.crew(0) == []
    roll(ready)
    assert roll.follows(0)
    roll(notices.ServiceGone(service, "s"))
    assert not roll.follows(0)
    assert not any(memory.crew(0))
    roll(notices.Stopping("SIGTERM"))
    assert memory.stopping


# Arguments


@pytest.fixture
def manager(fresh: None) -> cotyledon.ServiceManager:
    return cotyledon.ServiceManager()


@pytest.mark.parametrize(
    ("wrong", "kind", "text"),
    [
        ({"url": 1}, TypeError, "'url' must be a string"),
        ({"url": "localhost"}, ValueError, "such as 'redis://localhost:6379'"),
        ({"name": ""}, ValueError, "'name' must have 1 to 200 printable characters"),
        ({"name": 7}, TypeError, "'name' must be a string"),
        ({"host": "a\n"}, ValueError, "'host' must have"),
        ({"membership_timeout": 1}, ValueError, "'membership_timeout' must be at least 1.5 s"),
        ({"membership_timeout": "10"}, TypeError, "must be a number of seconds"),
        ({"poll": float("nan")}, ValueError, "'poll' must be at least"),
        ({"on_lost": "panic"}, ValueError, "'on_lost' must be 'stop' or 'keep'"),
    ],
)
def test_arguments_that_cannot_be_right(
    wrong: dict[str, Any], kind: type[Exception], text: str, manager: cotyledon.ServiceManager
) -> None:
    """What is wrong is said at once, and what to do."""
    arguments = {"url": "redis://localhost", "name": "pollers", **wrong}
    with pytest.raises(kind, match=text):
        tooz.Group(manager, **arguments)
    assert not manager.status().services


def test_a_manager_is_a_manager() -> None:
    """Another thing in its place is an error."""
    with pytest.raises(TypeError, match="must be a ServiceManager"):
        tooz.Group("redis://localhost", "x", "y")  # type: ignore[arg-type]


class Poller(cotyledon.Service):
    """Takes a share."""

    def __init__(self, worker_id: int, share: Any) -> None:
        super().__init__(cotyledon.types.WorkerId(worker_id))


def test_services_that_cannot_be_added(manager: cotyledon.ServiceManager) -> None:
    """A second service of one name, too many workers and an argument of one's own are errors."""
    group = tooz.Group(manager, "redis://localhost", "pollers")
    with pytest.raises(ValueError, match="is given by the group"):
        group.add(Poller, kwargs={"share": 1})
    with pytest.raises(ValueError, match="at most 4096"):
        group.add(Poller, workers=5000)
    with pytest.raises(ValueError, match="'workers' must be an int"):
        group.add(Poller, workers=0)
    with pytest.raises(ValueError, match="'workers' must be an int"):
        group.add(Poller, workers="3")  # type: ignore[arg-type]
    added = group.add(Poller, workers=3)
    with pytest.raises(ValueError, match="give the class another 'name'"):
        group.add(Poller)
    beat, poller = manager.status().services
    assert (poller.id, poller.after) == (added, (beat.id,))


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://:secret@10.0.0.1:6379/2?password=x", "redis://10.0.0.1:6379/2"),
        ("redis://me:se/cr@et@10.0.0.1", "redis://10.0.0.1"),
        ("zookeeper://a:2181?hosts=b:2181", "zookeeper://a:2181"),
    ],
)
def test_a_url_is_shown_without_its_secrets(
    url: str, shown: str, manager: cotyledon.ServiceManager
) -> None:
    """Neither login nor options are in what is shown."""
    assert tooz.Group(manager, url, "pollers")._settings.url == shown


@pytest.mark.parametrize("timeout", [1.5, 2, 3, 4, 5, 10, 30, 300])
def test_the_times_fit_together(timeout: float) -> None:
    """Whoever looks at the slowest pace is not stale, and whoever is stale is still a member."""
    times = Settings("x://", "g", "h", "t", round(timeout * SECOND), 0.25)
    assert times.stale + times.renewal + times.margin < times.timeout
    assert times.stale >= times.timeout // 5
