"""Random scenarios: from a number to a run with faults, requests, peace, and a stop.

Responsible for asking for everything that the core must survive, in combinations that nobody would
write down. Never judges: the referee does.
"""

import random
from collections.abc import Callable
from typing import NamedTuple

from cotyledon._core import events as ev
from cotyledon._core.machine import Core
from cotyledon.policy import Backoff, Intensity, Policy, Recycle, Rollout, Start
from cotyledon.testing._books import Violation
from cotyledon.testing._processes import SECOND, Behaviour
from cotyledon.testing._simulation import Simulation


class Result(NamedTuple):
    """What a run has shown."""

    events: int
    effects: int
    exit_status: int | None


class _Mood(NamedTuple):
    """What a scenario is like."""

    faults: bool
    long: bool  # minutes, not seconds
    policies: bool  # more of them than a back-off and a rollout


def _behaviour(rng: random.Random, mood: _Mood) -> Behaviour:
    slow = rng.random() < 0.2
    behaviour = Behaviour(
        start=(0.001, rng.choice((0.01, 0.2, 3.0)) if slow else 0.02),
        stop=(0.0, rng.choice((0.01, 0.5, 8.0)) if slow else 0.02),
        reload=(0.0, rng.choice((0.01, 1.0))) if rng.random() < 0.4 else None,
        grace=rng.choice((None, None, None, 0.0, 0.5, 5.0, 100.0)),
        known=rng.random() < 0.6,
    )
    if mood.faults:
        behaviour = behaviour._replace(
            life=rng.choice((None, 20.0, 60.0) if mood.long else (None, 0.05, 2.0, 60.0)),
            start_fails=rng.choice((0.0, 0.0, 0.2) if mood.long else (0.0, 0.0, 0.2, 1.0)),
            start_hangs=rng.choice((0.0, 0.0, 0.1)),
            deaf=rng.choice((0.0, 0.0, 0.2, 1.0)),
            unkillable=rng.choice((None, None, None, (0.0, 0.5), (0.0, 30.0))),
        )
    if not mood.policies:
        return behaviour
    behaviour = behaviour._replace(
        beat=rng.choice((0.01, 0.2)),
        grows=rng.choice((0, 1_000_000, 20_000_000, 100_000_000)),
    )
    if not mood.faults:
        return behaviour
    return behaviour._replace(
        statuses=rng.choice(((-11, -9, 0, 1, 2), (0,), (0, 2), (1, 78), (0, 0, 0, 78))),
        start_statuses=rng.choice(((1,), (0, 1, 1), (1, 1, 1, 78))),
        extends=rng.choice((None, 0.3, 2.0)),
        beat=rng.choice((None, 0.01, 0.2, 0.2)),
        silent=rng.choice((None, None, 1.0, 20.0)),
        back=rng.choice((None, 1.0, 3.0)),
    )


def _rollout(rng: random.Random, mood: _Mood) -> Rollout:
    unavailable = rng.choice((1, 2, 100, "1%", "25%", "50%", "100%"))
    if not mood.policies:
        return Rollout(unavailable)
    surge = rng.choice((0, 0, 1, 2, "10%", "50%", "100%"))
    min_ready = rng.choice((0.0, 0.0, 0.05, 0.5, 2.0))
    return Rollout(
        rng.choice((0, unavailable)) if surge else unavailable,
        surge,
        min_ready,
        rng.choice((5.0, 60.0) if min_ready > 1 else (2.5, 5.0, 60.0)),
    )


def _recycle(rng: random.Random, rollout: Rollout) -> Recycle:
    # Workers that are replaced more slowly than they grow old would never be at rest.
    lifetimes = (None,) if rollout.min_ready > 1 else (None, 10.0, 30.0)
    return Recycle(
        rng.choice((None, 20_000_000, 20_000_000, 50_000_000)),
        rng.choice(lifetimes),
        rng.choice((0.0, 0.1, 0.5)),
        rng.choice((0.5, 3.0)),
        rng.choice((0.2, 1.0, 5.0)),
    )


def _policy(rng: random.Random, mood: _Mood) -> Policy | None:
    if rng.random() < (0.1 if mood.policies else 0.4):
        return None
    initial = rng.choice((0.1, 0.5, 2.0) if mood.long else (0.0, 0.1, 0.5, 2.0))
    backoff = Backoff(
        initial,
        rng.choice((1.0, 1.5, 2.0)),
        max(initial, rng.choice((1.0, 5.0, 30.0))),
        rng.choice((0.0, 0.2, 1.0)),
        rng.choice((1.0, 10.0, 30.0)),
    )
    rollout = _rollout(rng, mood)
    if not mood.policies:
        return Policy(backoff=backoff, rollout=rollout)
    intensity = None
    if rng.random() < 0.25:
        then = rng.choice(("give up", "give up", "give up", "stop"))
        intensity = Intensity(rng.choice((0, 1, 3, 8)), rng.choice((0.5, 5.0, 60.0)), then)
    return Policy(
        restart=rng.choice(("always", "always", "always", "on-failure", "on-failure", "never")),
        success=rng.choice((0, 0, (0, 2))),
        no_retry=rng.choice((78, 78, (1, 78), ())),
        significant=rng.random() < 0.2,
        backoff=backoff,
        intensity=intensity,
        start=Start(timeout=rng.choice((None, None, 0.5, 2.0, 10.0))),
        watchdog=rng.choice((None, None, 1.0, 3.0, 10.0)),
        rollout=rollout,
        recycle=_recycle(rng, rollout) if rng.random() < 0.4 else None,
    )


def play(seed: int, core: Callable[..., Core] = Core) -> Result:
    """Run the scenario of a seed to its end.

    Args:
        seed: the scenario.
        core: makes the core.

    Raises:
        Violation: the core broke a promise.
    """
    rng = random.Random(f"scenario {seed}")
    mood = _Mood(rng.random() < 0.7, rng.random() < 0.25, rng.random() < 0.6)
    sim = Simulation(
        seed,
        grace=rng.choice((60.0, 60.0, 10.0, 1.0)),
        spawn_interval=rng.choice((0.0, 0.0, 0.0, 0.01, 0.03, 0.03)),
        core=core,
    )
    sim.lateness = rng.choice((0.0, 0.0, 0.001, 0.05))
    sim.stop_takes = (0.0, rng.choice((0.0, 0.1, 3.0)))
    for _ in range(rng.randint(0 if rng.random() < 0.05 else 1, 3)):
        _add(rng, sim, mood, (1, 2, 3, 4, 8, 12))
    if mood.faults:
        sim.fork_fails = rng.choice((0.0, 0.0, 0.1, 0.9))
        sim.doubles = rng.choice((0.0, 0.2))
        sim.steals = rng.choice((0.0, 0.0, 0.3))
        sim.answer_takes = rng.choice((0.0, 0.0, 0.2))
        sim.answers_lost = rng.choice((0.0, 0.0, 0.05))
    for _ in range(rng.randint(0, 12)):
        pause = rng.choice((0.0, 5.0, 200.0) if mood.long else (0.0, 0.0005, 0.003, 0.1, 1.0, 5.0))
        sim.run(pause * rng.random())
        _request(rng, sim, mood)
    if rng.random() < 0.75:
        _come_to_rest(sim)
    _end(rng, sim)
    return Result(sim.events, len(sim.effects), sim.exit_status)


def _add(rng: random.Random, sim: Simulation, mood: _Mood, sizes: tuple[int, ...]) -> None:
    after: list[int] = []
    if rng.random() < (0.6 if mood.policies else 0.1):
        after = [key for key in sim.kept if rng.random() < (0.7 if key else 0.5)]
    behaviour, policy = _behaviour(rng, mood), _policy(rng, mood)
    sim.add(rng.choice(sizes), behaviour, policy, tuple(after))


def _request(rng: random.Random, sim: Simulation, mood: _Mood) -> None:
    number = sim.services
    service = rng.randrange(number) if number else 0
    actions = ("reload", "reload", "scale", "scale", "add", "kill", "grace", "storm")
    action = rng.choice(
        actions
        + ("restart", "one", "reload one", "kill", "interrupt", "interrupt") * mood.policies
        + ("change", "change", "remove") * mood.policies
    )
    if action == "add" and number < 4:
        _add(rng, sim, mood, (1, 2, 5))
    elif action == "grace":
        sim.send(ev.GraceChanged(round(rng.choice((60.0, 2.0)) * SECOND)))
    elif action == "reload":
        sim.reload()
    elif not number:
        return
    elif action == "scale":
        sim.scale(service, rng.choice((0, 0, 1, 2, 3, 6, 10)))
    elif action == "kill":
        for worker_id in range(rng.choice((1, 1, 4))):
            sim.end(service, worker_id, rng.choice((-9, -9, 0, 78)))
        if mood.policies and rng.random() < 0.3:  # as soon as their ends are known
            sim.send(ev.ScaleRequested(service, rng.randrange(3)), 0.0003 * rng.random())
    elif action == "restart":
        sim.restart(service)
    elif action == "one":
        sim.restart(service, rng.randrange(5))
    elif action == "change":
        sim.change(service, _behaviour(rng, mood), _policy(rng, mood) or Policy())
        if rng.random() < 0.7:
            sim.restart(service)
    elif action == "remove":
        for key in reversed(sim.kept) if rng.random() < 0.4 else [service]:
            sim.remove(key)
    elif action == "reload one":
        sim.reload(service)
    elif action == "interrupt":  # a rollout that has hardly begun
        sim.reload(service)
        sim.run(rng.choice((0.03, 0.1)) * rng.random())
        if rng.random() < 0.5:
            sim.scale(service, rng.choice((2, 3, 4)))
        else:
            sim.end(service, rng.randrange(2), 78)
    elif action == "storm":
        for _ in range(rng.randint(2, 10)):
            sim.reload()
            for worker_id in range(rng.randint(0, 12)):
                sim.kill(rng.randrange(number), worker_id)


def _come_to_rest(sim: Simulation) -> None:
    sim.run(0.0)
    sim.calm()
    # The longest way back: a hanging worker is told, killed, waits, starts, one after another.
    _settle(sim, 400.0, forgiven=False)
    # What has failed before may stay so, until somebody asks.
    sim.reload()
    _settle(sim, 200.0, forgiven=True)
    # What is at rest has no deadline, not even one that was kept for a worker that is gone.
    sim.reload()
    sim.run(0.9)
    looked_after = any(
        worker.policy.watchdog is not None or worker.policy.recycle is not None
        for worker in sim.referee.books.workers.values()
    )
    if not looked_after and sim.referee.settled and sim.core.next_deadline() is not None:
        raise Violation("everything is at rest, and yet there is a deadline")


def _settle(sim: Simulation, seconds: float, *, forgiven: bool) -> None:
    """Run until everything is settled, for so many seconds at most."""
    while sim.exit_status is None:
        sim.run(2.0)
        seconds -= 2.0
        try:
            sim.referee.check_settled(forgiven=forgiven)
        except Violation:
            if seconds < 0 and sim.exit_status is None:
                raise
        else:
            return


def _end(rng: random.Random, sim: Simulation) -> None:
    way = rng.choice(("stop", "stop", "stop", "hurry", "abort", "within", "stop then abort"))
    match way:
        case "hurry":
            sim.stop()
            sim.send(ev.HurryRequested(), rng.choice((0.01, 1.0)) * rng.random())
        case "abort":
            sim.send(ev.AbortRequested())
        case "within":
            within = 0.001 + rng.choice((0.04, 1.0)) * rng.random()
            sim.send(ev.StopRequested(round(within * SECOND)))
        case "stop then abort":
            sim.stop()
            sim.send(ev.AbortRequested(), rng.random())
        case _:
            sim.stop()
    if rng.random() < 0.3:
        sim.reload()  # too late, and harmless
        sim.scale(0, 5) if sim.services else None
    sim.run(200.0)
    if sim.exit_status is None:
        raise Violation("the manager never ended")
