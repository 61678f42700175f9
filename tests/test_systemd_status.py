"""The words of the line of status, for each way that a service can be."""

import pytest

from cotyledon import Backoff, Intensity, Policy, Rollout
from cotyledon._core import events as ev
from cotyledon._reporting import NAME, SERVICES, describe
from cotyledon.systemd import LONGEST
from tests.test_what_happens_when import World

pytestmark = pytest.mark.sim


def line(world: World, why: str = "", *, name: str = "s{}", reloading: bool = False) -> str:
    return describe(world.core, world.now, name.format, why, reloading=reloading)


def test_ready_starting_and_paused():
    world = World()
    world.up(2)
    world.up(1)
    world.tell(ev.ScaleRequested(1, 0))
    world.add(3)
    assert line(world) == "s0 2/2 ready, s1 0/0 paused, s2 0/3 starting"
    assert line(World()) == "no services"


def test_the_longest_wait_is_told_as_it_was_when_it_began():
    world = World()
    world.up(2, Policy(backoff=Backoff(initial=12, jitter=0)))
    for _ in range(2):
        world.exit(world.worker(0, 1))
        world.ready()
    assert line(world) == "s0 1/2 backing off 12 s"
    world.run(5)
    assert line(world) == "s0 1/2 backing off 12 s"
    world.run(7)
    assert line(world) == "s0 1/2 starting"


def test_what_has_ended_or_was_given_up():
    world = World()
    world.up(2, Policy(restart="on-failure"))
    world.up(2)
    world.up(1, Policy(intensity=Intensity(0, 60)))
    world.exit(world.worker(0, 0), 0)
    world.exit(world.worker(1, 1), 78)
    world.exit(world.worker(2, 0), 1)
    assert line(world) == "s0 1/2 with 1 done, s1 1/2 with 1 failed, s2 0/1 given up"


def test_who_waits_for_others():
    world = World()
    world.add(1)
    world.add(1, after=(0,))
    assert line(world) == "s0 0/1 starting, s1 0/1 waiting for others"


def test_a_rollout_and_its_failure():
    world = World()
    world.up(4, Policy(rollout=Rollout(progress_deadline=10)))
    world.tell(ev.ReloadRequested())
    assert line(world, reloading=True) == "reloading: s0 3/4 rollout 1: 4 to go"
    world.obey()
    assert line(world) == "s0 3/4 rollout 1: 3 to go"
    world.run(10)
    assert line(world) == "s0 3/4 rollout 1 failed"


def test_a_stop_tells_what_is_left():
    world = World()
    world.up(2)
    world.up(1)
    world.tell(ev.StopRequested())
    assert line(world, "SIGTERM") == "stopping because of SIGTERM, s0 2, s1 1 left"
    world.obey()
    assert line(world, "SIGTERM") == "stopping because of SIGTERM, no worker left"


def test_the_longest_line_is_not_too_long():
    """Also with names of many bytes."""
    world = World()
    for _ in range(3 * SERVICES):
        world.up(1, Policy(backoff=Backoff(initial=12.3456, jitter=0)))
    for service in range(3 * SERVICES):
        world.exit(world.worker(service))
    world.ready()
    for service in range(3 * SERVICES):
        world.exit(world.worker(service))
    text = line(world, name="\N{WINKING FACE}" * (NAME + 10) + "{}")
    assert text.count("backing off 12.3 s") == SERVICES
    assert text.endswith(f", and {2 * SERVICES} more")
    assert len(text.encode()) < LONGEST - 200
