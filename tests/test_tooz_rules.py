"""The rules by which keys change hands, in virtual time."""

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any
from unittest import mock

import pytest

from cotyledon.contrib.tooz import _members, _membership, _ring
from cotyledon.contrib.tooz._members import Holdings
from cotyledon.contrib.tooz._membership import SECOND, Membership, Settings
from tests.tooz_world import TIMEOUT, FakeServer, Manager, World

pytestmark = [pytest.mark.sim, pytest.mark.once]


@pytest.fixture(autouse=True)
def _fewer_points() -> Iterator[None]:
    """Rings are made often, and need not be balanced."""
    with mock.patch.object(_ring, "POINTS", 6):
        yield


class Doubled(AssertionError):
    """Two managers own one key."""


def at_most_one(world: World) -> None:
    for place, owners in world.owners().items():
        if len(owners) > 1:
            raise Doubled(f"at {world.now / SECOND:.3f} s {place} is owned by {owners}")


def exactly_one(world: World) -> None:
    for place, owners in world.owners().items():
        assert len(owners) == 1, (place, owners, [m.said for m in world.managers])


def disturb(world: World) -> None:
    """Do something to one manager, or to all."""
    chance = world.chance
    alive = [manager for manager in world.managers if manager.alive and not leaving(manager)]
    what = chance.choice(
        ["join", "join", "leave", "kill", "again", "scale", "scale", "beat", "pause", "freeze"]
    )
    if what == "join" and len(alive) < 6:
        Manager(world, f"host{len(world.managers)}", chance.randint(1, 4))
    elif what == "freeze":
        world.frozen_until = world.now + round(chance.uniform(0, 3) * SECOND)
    elif alive:
        manager = chance.choice(alive)
        if what == "leave":
            manager.leave()
        elif what == "kill":
            manager.kill()
        elif what == "again":
            manager.kill()
            Manager(world, manager.host, manager.workers)
        elif what == "scale":
            manager.workers = chance.randint(0, 5)
        elif what == "beat":
            manager.kill_beat(chance.uniform(0.05, 3))
        elif what == "pause":
            manager.pause(chance.uniform(0.1, 6))


def leaving(manager: Manager) -> bool:
    return manager.process is not None and manager.process.leaving


Trouble = tuple[float, float]
"""How often an answer is late, and how often there is none."""


def play(seed: int, trouble: Trouble | None = None) -> None:
    """Let many things happen, then nothing more; look all the time."""
    world = World(seed)
    chance = world.chance
    drawn: Trouble = chance.choice([(0, 0), (0.02, 0.02), (0.1, 0.1)])
    world.late, world.lost = trouble or drawn
    try:
        for number in range(chance.randint(1, 4)):
            Manager(world, f"host{number}", chance.randint(1, 4))
        for _ in range(40):
            world.run(chance.expovariate(1), at_most_one)
            disturb(world)
        world.late = world.lost = 0
        world.frozen_until = 0
        alive = [manager for manager in world.managers if manager.alive and not leaving(manager)]
        for manager in alive:
            manager.workers = manager.workers or 1
        if not alive:
            Manager(world, "last")
        world.run(30, at_most_one)
        exactly_one(world)
    finally:
        world.close()


def forget(seed: int) -> None:
    """Have a server forget its members, again and again; look all the time."""
    world = World(seed)
    world.late, world.lost = world.chance.choice([(0, 0), (0.02, 0.02)])
    try:
        for number in range(world.chance.randint(2, 5)):
            Manager(world, f"host{number}")
        world.run(20, at_most_one)
        for _ in range(5):
            world.entries.clear()
            world.frozen_until = world.now + world.chance.choice([0, 0, SECOND, 3 * SECOND])
            if world.chance.random() < 0.3:
                world.chance.choice(world.managers).kill_beat(world.chance.uniform(0.1, 2))
            world.run(world.chance.uniform(0.1, 8), at_most_one)
        world.late = world.lost = 0
        world.run(20, at_most_one)
        exactly_one(world)
    finally:
        world.close()


def forget_many(seeds: Iterable[int]) -> None:
    for seed in seeds:
        forget(seed)


def play_many(seeds: Iterable[int], trouble: Trouble | None = None) -> None:
    for seed in seeds:
        play(seed, trouble)


@pytest.mark.parametrize("start", range(0, 60, 20))
def test_no_key_has_two_owners_and_each_has_one_in_the_end(start: int) -> None:
    """Whatever happens to managers and requests, a key never has two owners, and ends with one."""
    play_many(range(start, start + 20))


@pytest.mark.parametrize("planted", ["wait", "departures", "fence", "leave"])
def test_a_rule_that_is_left_out_is_noticed(planted: str) -> None:
    """Without any one of the rules, some run shows a key with two owners."""
    plants: dict[str, Any] = {
        "wait": mock.patch.object(_members, "WAIT", 0.5),
        "departures": mock.patch.object(_members, "_only_left", return_value=True),
        "fence": mock.patch.object(Settings, "margin", -2 * TIMEOUT),
        "leave": mock.patch.object(Membership, "leave", leave_without_a_word),
    }
    # A membership runs out before its time only where renewals are answered late.
    trouble = (0.25, 0.0) if planted == "fence" else None
    with plants[planted], pytest.raises(Doubled):
        play_many(range(300), trouble)


def test_a_server_that_forgets_everybody() -> None:
    """When a server comes back empty no key has two owners, and soon each has one again."""
    forget_many(range(20))


def leave_without_a_word(membership: Any) -> None:
    """Leave, and own what was owned."""
    if membership._server is not None:
        _membership._quietly(membership._server.leave)


def lose_without_doubt(holdings: Holdings) -> None:
    """Own nothing, and trust the next look."""
    holdings.until, holdings.arcs, holdings.members, holdings._known = 0, {}, {}, False


def test_doubt_that_is_left_out_is_noticed() -> None:
    """Who trusts to be alone at a server that has forgotten everybody owns what others own."""
    with (
        mock.patch.object(Holdings, "lose", lose_without_doubt),
        pytest.raises(Doubled),
    ):
        forget_many(range(100))


def settled(*hosts: str) -> World:
    world = World(7)
    for host in hosts:
        Manager(world, host)
    world.run(20, at_most_one)
    exactly_one(world)
    return world


def unowned(world: World, longest: float) -> float:
    """Return for how long some key has no owner within the next seconds."""
    gap, since = 0, world.now
    steps = round(longest / 0.02)
    for _ in range(steps):
        world.run(0.02, at_most_one)
        if all(world.owners().values()):
            since = world.now
        gap = max(gap, world.now - since)
    return gap / SECOND


def test_who_leaves_is_followed_at_once() -> None:
    """Half a second after a manager has left, each key has an owner."""
    world = settled("a", "b", "c")
    try:
        world.managers[1].leave()
        assert unowned(world, 5) < 0.5
    finally:
        world.close()


def test_who_dies_is_followed_after_the_timeout() -> None:
    """A host that dies keeps its keys until its membership runs out, and no longer."""
    world = settled("a", "b", "c")
    try:
        world.managers[1].kill()
        gap = unowned(world, 8)
        assert 2 < gap < TIMEOUT / SECOND + 0.5
    finally:
        world.close()


def test_a_first_manager_waits_for_nothing() -> None:
    """A manager that is alone owns all keys as soon as it has joined."""
    world = World(1)
    try:
        Manager(world, "a")
        world.run(0.2, at_most_one)
        exactly_one(world)
    finally:
        world.close()


def test_a_renewal_does_not_wait_for_a_look() -> None:
    """However the looks fall, each renewal is sent when it is due."""
    sent: list[int] = []

    def renew(server: FakeServer) -> None:
        sent.append(server._world.now)

    world = settled("a")
    world.latency = 0
    try:
        with mock.patch.object(FakeServer, "renew", renew):
            world.run(2, at_most_one)
    finally:
        world.close()
    gaps = [later - sooner for sooner, later in itertools.pairwise(sent)]
    assert len(gaps) >= 2
    assert max(gaps) <= TIMEOUT // 6 + SECOND // 1000


def test_a_membership_that_is_held_by_a_successor_loses_nothing() -> None:
    """When the process that holds the membership is replaced soon, no key is without an owner."""
    world = settled("a", "b")
    try:
        world.managers[0].kill_beat(0.3)
        assert unowned(world, 6) == 0
    finally:
        world.close()


def test_simultaneous_starts_end_with_identical_rings() -> None:
    """Twenty managers that start at one instant agree on who has what."""
    world = World(3)
    try:
        for number in range(20):
            Manager(world, f"host{number}")
        world.run(20, at_most_one)
        exactly_one(world)
        owners = Counter(owners[0] for owners in world.owners().values())
        assert len(owners) > 5
    finally:
        world.close()


def test_a_second_manager_of_one_name_takes_over_and_both_say_so() -> None:
    """Of two managers with one name the later one owns; when it goes, the first one does again."""
    world = settled("a", "b")
    try:
        twin = Manager(world, "a")
        world.run(12, at_most_one)
        exactly_one(world)
        assert "owns nothing: give each a host= of its own" in world.managers[0].said
        assert "another manager is in g as 'a'" in twin.said
        twin.leave()
        world.run(6, at_most_one)
        exactly_one(world)
        assert world.managers[0].said == "member of g: 2 managers, 6 workers"
    finally:
        world.close()
