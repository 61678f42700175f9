"""Single promises of the core, told in virtual time."""

import ast
import random
from pathlib import Path

import pytest

import cotyledon._core
from cotyledon import Backoff, Policy, Rollout
from cotyledon._core import backoff
from cotyledon._core import events as ev
from cotyledon._core.grace import bounded
from cotyledon.testing import (
    AllReady,
    Behaviour,
    Kill,
    ReadBeat,
    Reload,
    RolloutFinished,
    Simulation,
    Spawn,
    Terminate,
    Unkillable,
    WorkerDied,
)

SECOND = 1_000_000_000
pytestmark = pytest.mark.sim


def times(simulation: Simulation, *kinds: type) -> list[float]:
    """Return when the core has said something of these kinds."""
    return [when for when, _ in simulation.notices(*kinds)]


def test_the_core_imports_nothing_of_the_outside_world() -> None:
    """The core depends on pure modules alone, so that nothing but its input decides."""
    allowed = {"collections", "collections.abc", "enum", "heapq", "typing"}
    for path in Path(cotyledon._core.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            for name in names:
                pure = name in allowed or name.startswith(("cotyledon._core", "cotyledon.policy"))
                assert pure, f"{path.name} imports {name}"


def test_workers_start_in_order_of_add_with_ascending_ids() -> None:
    """Services start in the order in which they were added, workers by ascending id."""
    simulation = Simulation()
    simulation.add(3)
    simulation.add(2)
    simulation.run(1)
    spawns = [effect for _, effect in simulation.notices(Spawn)]
    assert [(s.service, s.worker_id) for s in spawns if isinstance(s, Spawn)] == [
        *((0, 0), (0, 1), (0, 2)),
        *((1, 0), (1, 1)),
    ]


def test_no_more_than_a_burst_is_started_at_one_instant() -> None:
    """A long row of forks is cut into pieces, so that a signal in between is heard."""
    simulation = Simulation()
    simulation.add(100)
    simulation.run(1)
    instants = times(simulation, Spawn)
    assert len(instants) == 100
    assert max(instants.count(instant) for instant in instants) == 16


def test_a_first_death_is_answered_at_once() -> None:
    """A worker that dies for the first time is replaced without a wait."""
    simulation = Simulation()
    service = simulation.add(1)
    simulation.run(10)
    simulation.kill(service, 0)
    simulation.run(1)
    died, spawned = times(simulation, WorkerDied)[0], times(simulation, Spawn)[1]
    assert spawned == died


def test_a_crash_loop_waits_longer_and_longer_up_to_the_cap() -> None:
    """The waits of a slot that keeps failing double from ``initial`` up to ``cap``."""
    simulation = Simulation()
    policy = Policy(backoff=Backoff(initial=1, factor=2, cap=6, jitter=0))
    simulation.add(1, Behaviour(start=(0.0, 0.0), start_fails=1.0), policy)
    simulation.run(40)
    deaths, spawns = times(simulation, WorkerDied), times(simulation, Spawn)
    waits = [round(after - before, 2) for before, after in zip(deaths, spawns[1:], strict=False)]
    assert waits[:7] == [0, 1, 2, 4, 6, 6, 6]


def test_a_crash_loop_costs_its_neighbour_nothing() -> None:
    """The back-off of one slot delays no other."""
    simulation = Simulation()
    simulation.add(1, Behaviour(start_fails=1.0))
    healthy = simulation.add(1)
    simulation.run(60)
    simulation.kill(healthy, 0)
    before = simulation.now / SECOND
    simulation.run(1)
    again = [
        when
        for when, effect in simulation.notices(Spawn)
        if isinstance(effect, Spawn) and effect.service == healthy
    ]
    assert again[-1] - before < 0.01


def test_a_long_life_forgives_earlier_deaths() -> None:
    """After a life longer than ``forgive`` a death counts as the first again."""
    policy = Backoff(forgive=30)
    assert backoff.count(5, 0, policy) == 6
    assert backoff.count(5, 65 * SECOND, policy) == 4
    assert backoff.count(1, 3600 * SECOND, policy) == 1


def test_jitter_only_shortens_a_wait() -> None:
    """Chance takes up to ``jitter`` of a wait away and never adds to it."""
    policy = Backoff(initial=10, jitter=0.2)
    assert backoff.delay(2, policy, 0.0) == 10 * SECOND
    assert backoff.delay(2, policy, 1.0) == 8 * SECOND


def test_the_back_off_is_finite_for_any_number_of_failures() -> None:
    """A slot that has failed for years still has a wait, the cap."""
    assert backoff.delay(10**6, Backoff(cap=30, jitter=0), 0.0) == 30 * SECOND


def test_a_reload_clears_the_back_off() -> None:
    """SIGHUP starts a slot that is backing off at once."""
    simulation = Simulation()
    service = simulation.add(1, Behaviour(start_fails=1.0))
    simulation.run(100)
    simulation.behave(service, Behaviour())
    simulation.reload()
    simulation.run(0.2)
    simulation.referee.check_settled()


def test_a_rollout_keeps_its_capacity() -> None:
    """Workers restart a quarter at a time, each batch once the one before is ready."""
    simulation = Simulation()
    simulation.add(8, Behaviour(start=(1.0, 1.0)))
    simulation.run(10)
    simulation.reload()
    simulation.run(10)
    instants = [round(when, 1) for when in times(simulation, Terminate)]
    assert len(instants) == 8
    assert max(instants.count(instant) for instant in instants) == 2
    assert len(times(simulation, RolloutFinished)) == 1


def test_a_rollout_stops_where_the_new_workers_fail() -> None:
    """When the new generation does not get ready, most of the old workers are kept."""
    simulation = Simulation()
    service = simulation.add(8)
    simulation.run(10)
    simulation.behave(service, Behaviour(start_fails=1.0))
    simulation.reload()
    simulation.run(300)
    assert simulation.core.services[service].ready == 6
    assert not times(simulation, RolloutFinished)
    simulation.behave(service, Behaviour())
    simulation.reload()
    simulation.run(10)
    simulation.referee.check_settled()


def test_a_worker_that_hangs_while_it_is_built_is_replaced_by_a_reload() -> None:
    """A reload replaces a worker that is not ready at once: it costs no capacity."""
    simulation = Simulation(grace=5)
    service = simulation.add(1, Behaviour(start_hangs=1.0))
    simulation.run(10)
    simulation.behave(service, Behaviour())
    simulation.reload()
    simulation.run(10)
    simulation.referee.check_settled()


def test_a_service_with_its_own_reload_is_not_restarted() -> None:
    """Workers with a reload() of their own are told of the new generation, all at once."""
    simulation = Simulation()
    simulation.add(8, Behaviour(reload=(0.1, 0.1)))
    simulation.run(10)
    simulation.reload()
    simulation.run(10)
    assert len(times(simulation, Reload)) == 8
    assert not times(simulation, Terminate)
    assert len(times(simulation, RolloutFinished)) == 1


def test_scaling_to_zero_pauses_a_service() -> None:
    """A service of which no worker is wanted has none, and comes back when some are."""
    simulation = Simulation()
    service = simulation.add(3)
    simulation.run(1)
    simulation.scale(service, 0)
    simulation.run(1)
    assert simulation.alive == 0
    simulation.scale(service, 2)
    simulation.run(1)
    assert simulation.alive == 2


def test_a_deaf_worker_is_killed_at_its_deadline() -> None:
    """A worker that does not stop is killed half a second after its own timeout."""
    simulation = Simulation(grace=60)
    service = simulation.add(1, Behaviour(deaf=1.0, grace=3))
    simulation.run(1)
    simulation.scale(service, 0)
    simulation.run(10)
    told, killed = times(simulation, Terminate)[0], times(simulation, Kill)[0]
    assert killed - told == pytest.approx(3.5, abs=0.01)


def test_a_stop_kills_at_the_managers_deadline_and_says_so() -> None:
    """What the graceful timeout leaves over is killed, and the exit status is 1."""
    simulation = Simulation(grace=5)
    simulation.add(2, Behaviour(deaf=1.0))
    simulation.run(1)
    simulation.stop()
    simulation.run(10)
    assert times(simulation, Kill)[0] - times(simulation, Terminate)[0] == pytest.approx(5)
    assert simulation.exit_status == 1


def test_a_graceful_stop_ends_with_0() -> None:
    """A stop in which every worker ends by itself has the exit status 0."""
    simulation = Simulation()
    simulation.add(5)
    simulation.run(1)
    simulation.stop()
    simulation.run(1)
    assert simulation.exit_status == 0


def test_a_second_request_to_stop_leaves_one_second() -> None:
    """Whoever asks again does not want to wait for the rest of the timeout."""
    simulation = Simulation()
    simulation.add(1, Behaviour(deaf=1.0))
    simulation.run(1)
    simulation.stop()
    simulation.run(2)
    simulation.send(ev.HurryRequested())
    simulation.run(2)
    assert simulation.exit_status == 1
    assert times(simulation, Kill)[0] - times(simulation, Terminate)[0] == pytest.approx(3)


def test_without_a_timeout_a_stop_waits_for_ever() -> None:
    """A manager and a service without a timeout never kill."""
    simulation = Simulation(grace=0)
    simulation.add(1, Behaviour(deaf=1.0))
    simulation.run(1)
    simulation.stop()
    simulation.run(100_000)
    assert simulation.exit_status is None
    assert not times(simulation, Kill)


def test_a_process_that_cannot_be_killed_holds_up_nothing_for_ever() -> None:
    """A worker that hangs in the kernel is reported and left behind by a stop."""
    simulation = Simulation(grace=5)
    simulation.add(2, Behaviour(deaf=1.0, unkillable=(1e6, 1e6)))
    simulation.run(1)
    simulation.stop()
    simulation.run(20)
    assert simulation.exit_status == 1
    assert len(times(simulation, Unkillable)) == 2


def test_a_manager_without_services_is_ready_and_stops() -> None:
    """Nothing to do is nothing wrong."""
    simulation = Simulation()
    simulation.run(1)
    assert len(times(simulation, AllReady)) == 1
    simulation.stop()
    simulation.run(1)
    assert simulation.exit_status == 0


def test_readiness_is_told_once_when_the_last_worker_is_ready() -> None:
    """AllReady is news once, not again after a death."""
    simulation = Simulation()
    service = simulation.add(4, Behaviour(start=(0.5, 2.0)))
    simulation.run(5)
    simulation.kill(service, 2)
    simulation.run(5)
    assert len(times(simulation, AllReady)) == 1


@pytest.mark.parametrize(
    ("own", "managers", "holds"),
    [
        *((None, 60, 60), (5, 60, 5), (100, 60, 60), (0, 60, 60)),
        *((5, 0, 5), (0, 0, 0), (None, 0, 0)),
    ],
)
def test_the_managers_timeout_bounds_a_services_own(
    own: int | None, managers: int, holds: int
) -> None:
    """The smaller one holds; 0 stands for no limit of its own."""
    assert bounded(own, managers) == holds


@pytest.mark.parametrize(
    ("wanted", "limit", "allowed"),
    [(1, "25%", 1), (4, "25%", 1), (8, "25%", 2), (11, "25%", 2), (3, "100%", 3), (9, 2, 2)],
)
def test_max_unavailable_is_rounded_down_and_at_least_one(
    wanted: int, limit: int | str, allowed: int
) -> None:
    """A percentage allows the whole workers in it, and one at least."""
    assert Rollout(limit).allowed(wanted) == allowed


@pytest.mark.parametrize("workers", [10, 1000])
def test_the_cost_of_a_death_does_not_grow_with_the_workers(workers: int) -> None:
    """A step that answers one death touches one slot, however many there are."""
    simulation = Simulation()
    service = simulation.add(workers)
    simulation.run(60)
    touched: list[object] = []
    settle = simulation.core._settle
    simulation.core._settle = lambda slot, now: (touched.append(slot), settle(slot, now))  # type: ignore[method-assign,assignment,func-returns-value]
    simulation.kill(service, random.Random(1).randrange(workers))
    simulation.run(1)
    assert len(touched) == 2  # its death, and the news that its successor is ready


@pytest.mark.parametrize("workers", [10, 1000])
def test_the_cost_of_a_heartbeat_does_not_grow_with_the_workers(workers: int) -> None:
    """A look at a heartbeat, and its answer, touch no slot, however many there are."""
    simulation = Simulation()
    simulation.add(workers, Behaviour(beat=1), Policy(watchdog=30))
    simulation.run(20)
    touched: list[object] = []
    simulation.core._settle = lambda slot, now: touched.append(slot)  # type: ignore[method-assign]
    before = len(simulation.core.hints)
    simulation.run(20)
    assert len(times(simulation, ReadBeat)) == workers
    assert not touched
    assert len(simulation.core.hints) <= before + workers
