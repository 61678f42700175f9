"""Single promises of the policies, told in virtual time."""

import pytest

from cotyledon import Policy, Rollout
from cotyledon._core import events as ev
from cotyledon._core.machine import Core
from cotyledon.policy import Intensity, Recycle, Start
from cotyledon.testing import (
    Behaviour,
    DumpStacks,
    GaveUp,
    Kill,
    MeasureMemory,
    ReadBeat,
    Reload,
    RolloutFailed,
    RolloutFinished,
    Simulation,
    Spawn,
    StopManager,
    Terminate,
    WorkerDied,
    WorkerReady,
    WorkerRecovered,
    WorkerSilent,
)

SECOND = 1_000_000_000
pytestmark = pytest.mark.sim


def times(simulation: Simulation, *kinds: type) -> list[float]:
    """Return when the core has said something of these kinds."""
    return [when for when, _ in simulation.notices(*kinds)]


# Which ends are followed by another worker


@pytest.mark.parametrize(
    ("restart", "status", "starts"),
    [
        *(("always", 0, 2), ("always", 1, 2), ("always", 78, 1)),
        *(("on-failure", 0, 1), ("on-failure", 1, 2), ("on-failure", -9, 2)),
        *(("never", 0, 1), ("never", 1, 1)),
    ],
)
def test_the_policy_says_which_ends_are_followed_by_a_new_worker(
    restart: str, status: int, starts: int
) -> None:
    """Always, after failures, or never; and in no case after a hopeless status."""
    simulation = Simulation()
    service = simulation.add(1, policy=Policy(restart=restart))
    simulation.run(1)
    simulation.end(service, 0, status)
    simulation.run(60)
    assert len(times(simulation, Spawn)) == starts
    assert len(times(simulation, GaveUp)) == (status == 78)


def test_a_slot_that_was_given_up_is_tried_again_by_a_reload() -> None:
    """After a hopeless end nothing is started, until somebody asks."""
    simulation = Simulation()
    service = simulation.add(2)
    simulation.run(1)
    simulation.end(service, 0, 78)
    simulation.run(3600)
    assert simulation.alive == 1
    simulation.reload(service)
    simulation.run(1)
    simulation.referee.check_settled()
    assert simulation.alive == 2


def test_what_is_done_is_started_again_by_a_restart_alone() -> None:
    """A slot that has ended in success is left alone by a reload, and filled by a restart."""
    simulation = Simulation()
    service = simulation.add(2, policy=Policy(restart="on-failure"))
    simulation.run(1)
    simulation.end(service, 0)
    simulation.end(service, 1)
    simulation.run(1)
    simulation.reload()
    simulation.scale(service, 2)
    simulation.run(1)
    assert simulation.alive == 0
    simulation.restart(service, 1)
    simulation.run(1)
    assert simulation.alive == 1
    simulation.restart(service)
    simulation.run(1)
    assert simulation.alive == 2


def test_ends_that_were_asked_for_are_followed_by_a_new_worker() -> None:
    """A worker that a reload has ended is replaced even if its own ends were not followed."""
    simulation = Simulation()
    simulation.add(3, policy=Policy(restart="never"))
    simulation.run(1)
    simulation.reload()
    simulation.run(1)
    simulation.referee.check_settled()
    assert simulation.alive == 3


def test_a_slot_that_is_wanted_again_starts_afresh() -> None:
    """What has ended in a slot that was scaled away does not count when it comes back."""
    simulation = Simulation()
    service = simulation.add(2, policy=Policy(restart="on-failure"))
    simulation.run(1)
    simulation.end(service, 1)
    simulation.run(1)
    simulation.scale(service, 1)
    simulation.scale(service, 2)
    simulation.run(1)
    assert simulation.alive == 2


def test_too_many_failures_give_a_service_up() -> None:
    """More failures than the intensity bears end the starting; what runs goes on."""
    simulation = Simulation()
    service = simulation.add(3, policy=Policy(intensity=Intensity(2, 60)))
    other = simulation.add(1)
    simulation.run(1)
    for _ in range(3):
        simulation.kill(service, 0)
        simulation.run(2)
    simulation.kill(other, 0)
    simulation.run(60)
    assert len(times(simulation, GaveUp)) == 1
    assert simulation.alive == 2 + 1
    simulation.reload()
    simulation.run(1)
    simulation.referee.check_settled()


def test_failures_that_are_long_ago_are_not_too_many() -> None:
    """The intensity counts what has failed within its period, and no more."""
    simulation = Simulation()
    service = simulation.add(1, policy=Policy(intensity=Intensity(2, 60)))
    for _ in range(20):
        simulation.run(31)
        simulation.kill(service, 0)
    assert not times(simulation, GaveUp)


def test_too_many_failures_can_stop_the_manager() -> None:
    """With ``then="stop"`` the manager stops gracefully, with status 1."""
    simulation = Simulation()
    simulation.add(1, Behaviour(start_fails=1.0), Policy(intensity=Intensity(3, 60, "stop")))
    simulation.add(2)
    simulation.run(60)
    assert len(times(simulation, StopManager)) == 1
    assert simulation.exit_status == 1


@pytest.mark.parametrize("status", [0, 1])
def test_the_end_of_a_significant_service_ends_the_manager(status: int) -> None:
    """The manager's status is 0 if every worker has ended in success."""
    simulation = Simulation()
    service = simulation.add(2, policy=Policy(restart="never", significant=True))
    simulation.add(1)
    simulation.run(1)
    simulation.end(service, 0, 0)
    simulation.run(10)
    assert simulation.exit_status is None
    simulation.end(service, 1, status)
    simulation.run(10)
    assert simulation.exit_status == status


# Workers that are silent


def test_a_worker_that_is_not_ready_in_time_is_killed() -> None:
    """It is asked for its stacks at its start timeout, and killed a second later."""
    simulation = Simulation()
    simulation.add(1, Behaviour(start_hangs=1.0), Policy(start=Start(timeout=5)))
    simulation.run(7)
    asked, killed = times(simulation, DumpStacks)[0], times(simulation, Kill)[0]
    assert asked - times(simulation, Spawn)[0] == pytest.approx(5)
    assert killed - asked == pytest.approx(1)


def test_a_worker_that_asks_for_more_time_gets_it() -> None:
    """A start that is longer than its timeout succeeds if the worker says that it goes on."""
    simulation = Simulation(seed=4)
    slow = Behaviour(start=(60, 60), extends=3)
    simulation.add(1, slow, Policy(start=Start(timeout=5)))
    simulation.run(70)
    assert len(times(simulation, WorkerReady)) == 1
    assert not times(simulation, Kill)


def test_a_worker_that_is_ready_late_is_called_recovered() -> None:
    """Within the second after its start timeout a worker can still be ready."""
    simulation = Simulation()
    simulation.add(1, Behaviour(start=(5.5, 5.5)), Policy(start=Start(timeout=5)))
    simulation.run(10)
    assert len(times(simulation, WorkerSilent)) == len(times(simulation, WorkerRecovered)) == 1
    assert not times(simulation, Kill)


def test_a_silent_worker_is_killed_and_replaced() -> None:
    """One that beats no more is asked for its stacks, and killed a second later."""
    simulation = Simulation()
    simulation.add(1, Behaviour(beat=1, silent=0.001), Policy(watchdog=10))
    simulation.run(13)
    asked, killed = times(simulation, DumpStacks)[0], times(simulation, Kill)[0]
    assert asked - times(simulation, WorkerReady)[0] == pytest.approx(10, abs=0.1)
    assert killed - asked == pytest.approx(1, abs=0.1)
    assert len(times(simulation, Spawn)) == 2


def test_a_beating_worker_costs_one_look_per_timeout() -> None:
    """However often it beats, its heartbeat is looked up about once per timeout."""
    simulation = Simulation()
    simulation.add(1, Behaviour(beat=0.01), Policy(watchdog=10))
    simulation.run(1000)
    assert len(times(simulation, ReadBeat)) <= 101
    assert not times(simulation, DumpStacks)


def test_a_lost_answer_does_not_kill() -> None:
    """A heartbeat that could not be looked up is looked up again."""
    simulation = Simulation()
    simulation.answers_lost = 0.9
    simulation.add(3, Behaviour(beat=1), Policy(watchdog=10))
    simulation.run(600)
    assert not times(simulation, WorkerSilent)


# Rollouts


def test_a_surge_starts_the_successor_first() -> None:
    """With ``max_surge`` a worker is told to go when its successor has proved itself."""
    simulation = Simulation()
    policy = Policy(rollout=Rollout(max_unavailable=0, max_surge=1, min_ready=2))
    service = simulation.add(4, policy=policy)
    simulation.run(10)
    simulation.reload()
    while not times(simulation, RolloutFinished):
        simulation.run(0.05)
        assert simulation.core.services[service].available == 4
        assert simulation.alive <= 4 + 1
    told, ready = times(simulation, Terminate), times(simulation, WorkerReady)[4:]
    assert [round(after - before, 2) for after, before in zip(told, ready, strict=True)] == [2] * 4


def test_a_rollout_without_progress_fails_once() -> None:
    """It is said when the deadline has passed; what runs old is kept."""
    simulation = Simulation()
    policy = Policy(rollout=Rollout(max_unavailable=0, max_surge=2, progress_deadline=30))
    service = simulation.add(4, policy=policy)
    simulation.run(10)
    simulation.behave(service, Behaviour(start_hangs=1.0))
    simulation.reload()
    simulation.run(3600)
    assert len(times(simulation, RolloutFailed)) == 1
    assert simulation.core.services[service].ready == simulation.alive == 4
    simulation.behave(service, Behaviour())
    simulation.reload()
    simulation.run(10)
    simulation.referee.check_settled()


def test_a_successor_that_fails_costs_no_capacity() -> None:
    """While a slot waits after its successor has failed, its worker is kept."""
    simulation = Simulation()
    service = simulation.add(2, policy=Policy(rollout=Rollout(max_unavailable=1, max_surge=2)))
    simulation.run(10)
    simulation.behave(service, Behaviour(start_fails=1.0))
    simulation.reload()
    simulation.run(300)
    assert simulation.core.services[service].ready == 2


def test_fewer_successors_are_started_after_a_scale() -> None:
    """Successors that wait for their turn are counted anew when fewer are allowed."""
    simulation = Simulation(spawn_interval=1)
    policy = Policy(rollout=Rollout(max_unavailable=0, max_surge="50%"))
    service = simulation.add(8, Behaviour(start=(10.0, 10.0)), policy)
    simulation.run(30)
    simulation.reload()
    simulation.run(1.5)  # of four successors, two have been started
    simulation.scale(service, 4)
    simulation.run(8)
    assert simulation.alive == 4 + 2
    simulation.run(60)
    simulation.referee.check_settled()


def test_a_restart_replaces_workers_that_could_reload() -> None:
    """A restart of a service is a rollout of new workers."""
    simulation = Simulation()
    service = simulation.add(4, Behaviour(reload=(0.1, 0.1)))
    simulation.run(1)
    simulation.restart(service)
    simulation.run(10)
    assert len(times(simulation, Terminate)) == 4
    assert not times(simulation, Reload)
    assert len(times(simulation, RolloutFinished)) == 1


def test_a_restart_of_one_worker_leaves_the_others_alone() -> None:
    """One worker is told at once, and another one takes its slot."""
    simulation = Simulation()
    service = simulation.add(4)
    simulation.run(1)
    simulation.restart(service, 2)
    simulation.run(1)
    assert len(times(simulation, Terminate)) == 1
    assert simulation.alive == 4


def test_a_reload_of_one_service_leaves_the_others_alone() -> None:
    """A reload can be meant for one service."""
    simulation = Simulation()
    service = simulation.add(2)
    simulation.add(2)
    simulation.run(1)
    simulation.reload(service)
    simulation.run(1)
    assert [e.service for _, e in simulation.notices(RolloutFinished)] == [service]  # type: ignore[union-attr]


# Recycling


def test_a_worker_that_has_grown_is_recycled() -> None:
    """Its successor is there first where the rollout says so; small ones are left alone."""
    simulation = Simulation()
    policy = Policy(
        rollout=Rollout(max_unavailable=0, max_surge=1), recycle=Recycle(memory="100M", every=5)
    )
    grows = simulation.add(3, Behaviour(grows=1_000_000), policy)
    simulation.add(3, Behaviour(), policy)
    simulation.run(95)
    assert len(times(simulation, MeasureMemory)) > 6
    assert not times(simulation, Terminate)
    simulation.run(15)
    recycled = [effect for _, effect in simulation.notices(WorkerDied)]
    assert [effect.service for effect in recycled] == [grows] * 3  # type: ignore[union-attr]


def test_a_limit_that_is_too_low_is_no_storm() -> None:
    """Each worker is left alone for ``min_life``, whatever its memory."""
    simulation = Simulation()
    simulation.add(4, policy=Policy(recycle=Recycle(memory=1, min_life=60)))
    simulation.run(600)
    assert len(times(simulation, Spawn)) <= 4 * 10


def test_workers_do_not_grow_old_together() -> None:
    """A lifetime is shortened by chance, and its end keeps to the bounds of a rollout."""
    simulation = Simulation()
    simulation.add(8, policy=Policy(recycle=Recycle(lifetime=1000, jitter=0.5)))
    simulation.run(501)
    assert not times(simulation, Terminate)
    simulation.run(500)
    instants = times(simulation, Terminate)
    assert len(instants) >= 8
    assert max(instants) - min(instants) > 100


# What chance finds too seldom


def a_core(policy: Policy, workers: int = 1, interval: int = 0) -> Core:
    """Return a core whose workers are ready, at the instant of a second."""
    core = Core(grace=60 * SECOND, spawn_interval=interval, chance=lambda: 0.5)
    core.step(SECOND, [ev.ServiceAdded(0, workers, None, False, policy)])
    for number in range(2, 2 + 2 * workers):
        core.step(number * SECOND, [ev.Ready(key, False, None) for key in list(core.workers)])
    return core


def test_a_beat_just_before_the_question_for_stacks_saves_a_worker() -> None:
    """A beat that came after the look, and before the question, is heard in the last second."""
    core = a_core(Policy(watchdog=3))
    ready = core.workers[1].ready_at
    assert ready is not None
    due = ready + 3 * SECOND
    assert core.step(due) == [ReadBeat(1)]
    asked = core.step(due + 10, [ev.Heartbeat(1, ready)])
    assert DumpStacks(1) in asked
    assert core.step(due + 10 + SECOND) == [ReadBeat(1)]
    heard = core.step(due + 20 + SECOND, [ev.Heartbeat(1, due + 5)])
    assert [type(effect) for effect in heard] == [WorkerRecovered]


def test_a_successor_that_can_no_longer_be_started_is_forgotten() -> None:
    """A slot that waits for its turn when the service gives up is rolled again by a reload."""
    policy = Policy(rollout=Rollout(0, 1), intensity=Intensity(0, 60))
    core = a_core(policy, workers=2, interval=SECOND)
    now = 100 * SECOND
    core._spawn_at = now + SECOND  # another service has just started something
    core.step(now, [ev.ReloadRequested()])
    assert any(slot.surging for slot in core.services[0].slots)
    effects = core.step(now + 1, [ev.Exited(2, 1)])
    assert any(isinstance(effect, GaveUp) for effect in effects)
    core.step(now + 2 * SECOND)
    assert not any(slot.surging for slot in core.services[0].slots)


def test_every_worker_that_is_flagged_is_recycled() -> None:
    """Replacing one worker does not make the service forget the others."""
    core = a_core(Policy(recycle=Recycle(memory="1M", min_life=0, every=1)), workers=3)
    now = 100 * SECOND
    grown = [ev.Measured(key, 1 << 30) for key in core.workers]
    told = [e.worker for e in core.step(now, grown) if isinstance(e, Terminate)]
    while told:
        now += SECOND
        core.step(now, [ev.Exited(told.pop(0), 0)])
        new = [ev.Ready(w.key, False, None) for w in core.workers.values() if w.ready_at is None]
        now += SECOND
        told += [e.worker for e in core.step(now, new) if isinstance(e, Terminate)]
    assert len(core.workers) == 3
    assert not {1, 2, 3} & set(core.workers)
