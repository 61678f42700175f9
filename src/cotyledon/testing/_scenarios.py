"""Random scenarios: from a number to a run with faults, requests, peace, and a stop.

Responsible for asking for everything that the core must survive, in combinations that nobody would
write down. Never judges: the referee does.
"""

import random
from collections.abc import Callable
from typing import NamedTuple

from cotyledon._core import events as ev
from cotyledon._core.machine import Core
from cotyledon.policy import Backoff, Policy, Rollout
from cotyledon.testing._books import Violation
from cotyledon.testing._simulation import SECOND, Behaviour, Simulation


class Result(NamedTuple):
    """What a run has shown."""

    events: int
    effects: int
    exit_status: int | None


class _Mood(NamedTuple):
    """What a scenario is like: with faults or without, of seconds or of minutes."""

    faults: bool
    long: bool


def _behaviour(rng: random.Random, mood: _Mood) -> Behaviour:
    slow = rng.random() < 0.2
    behaviour = Behaviour(
        start=(0.001, rng.choice((0.01, 0.2, 3.0)) if slow else 0.02),
        stop=(0.0, rng.choice((0.01, 0.5, 8.0)) if slow else 0.02),
        reload=(0.0, rng.choice((0.01, 1.0))) if rng.random() < 0.4 else None,
        grace=rng.choice((None, None, None, 0.0, 0.5, 5.0, 100.0)),
        known=rng.random() < 0.6,
    )
    if not mood.faults:
        return behaviour
    return behaviour._replace(
        life=rng.choice((None, 20.0, 60.0) if mood.long else (None, 0.05, 2.0, 60.0)),
        start_fails=rng.choice((0.0, 0.0, 0.2) if mood.long else (0.0, 0.0, 0.2, 1.0)),
        start_hangs=rng.choice((0.0, 0.0, 0.1)),
        deaf=rng.choice((0.0, 0.0, 0.2, 1.0)),
        unkillable=rng.choice((None, None, None, (0.0, 0.5), (0.0, 30.0))),
    )


def _policy(rng: random.Random, mood: _Mood) -> Policy | None:
    if rng.random() < 0.4:
        return None
    initial = rng.choice((0.1, 0.5, 2.0) if mood.long else (0.0, 0.1, 0.5, 2.0))
    return Policy(
        backoff=Backoff(
            initial,
            rng.choice((1.0, 1.5, 2.0)),
            max(initial, rng.choice((1.0, 5.0, 30.0))),
            rng.choice((0.0, 0.2, 1.0)),
            rng.choice((1.0, 10.0, 30.0)),
        ),
        rollout=Rollout(rng.choice((1, 2, 100, "1%", "25%", "50%", "100%"))),
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
    mood = _Mood(faults=rng.random() < 0.7, long=rng.random() < 0.25)
    sim = Simulation(
        seed,
        grace=rng.choice((60.0, 60.0, 10.0, 1.0)),
        spawn_interval=rng.choice((0.0, 0.0, 0.0, 0.01)),
        core=core,
    )
    sim.lateness = rng.choice((0.0, 0.0, 0.001, 0.05))
    for _ in range(rng.randint(0 if rng.random() < 0.05 else 1, 3)):
        workers = rng.choice((1, 2, 3, 4, 8, 12))
        sim.add(workers, _behaviour(rng, mood), _policy(rng, mood))
    if mood.faults:
        sim.fork_fails = rng.choice((0.0, 0.0, 0.1, 0.9))
        sim.doubles = rng.choice((0.0, 0.2))
        sim.steals = rng.choice((0.0, 0.0, 0.3))
    for _ in range(rng.randint(0, 12)):
        pause = rng.choice((0.0, 5.0, 200.0) if mood.long else (0.0, 0.0005, 0.003, 0.1, 1.0, 5.0))
        sim.run(pause * rng.random())
        _request(rng, sim, mood)
    if rng.random() < 0.75:
        _come_to_rest(sim)
    _end(rng, sim)
    return Result(sim.events, len(sim.effects), sim.exit_status)


def _request(rng: random.Random, sim: Simulation, mood: _Mood) -> None:
    services = sorted(sim.referee.services)
    action = rng.choice(("reload", "reload", "scale", "scale", "add", "kill", "grace", "storm"))
    if action == "add" and len(services) < 4:
        sim.add(rng.choice((1, 2, 5)), _behaviour(rng, mood), _policy(rng, mood))
    elif action == "grace":
        sim.send(ev.GraceChanged(round(rng.choice((60.0, 2.0)) * SECOND)))
    elif action == "reload":
        sim.reload()
    elif services and action == "scale":
        sim.scale(rng.choice(services), rng.choice((0, 1, 2, 3, 6, 10)))
    elif services and action == "kill":
        sim.kill(rng.choice(services), rng.randrange(4))
    elif services and action == "storm":
        for _ in range(rng.randint(2, 10)):
            sim.reload()
            for worker_id in range(rng.randint(0, 12)):
                sim.kill(rng.choice(services), worker_id)


def _come_to_rest(sim: Simulation) -> None:
    sim.run(0.0)
    sim.calm()
    # The longest way back: a hanging worker is told, killed, waits, starts, one after another.
    sim.run(400.0)
    sim.referee.check_settled()
    # What is at rest has no deadline, not even one that was kept for a worker that is gone.
    sim.reload()
    sim.run(0.9)
    if sim.referee.settled and sim.core.next_deadline() is not None:
        raise Violation("everything is at rest, and yet there is a deadline")


def _end(rng: random.Random, sim: Simulation) -> None:
    way = rng.choice(("stop", "stop", "stop", "hurry", "abort", "within", "stop then abort"))
    match way:
        case "hurry":
            sim.stop()
            sim.send(ev.HurryRequested(), rng.random())
        case "abort":
            sim.send(ev.AbortRequested())
        case "within":
            sim.send(ev.StopRequested(round((0.001 + rng.random()) * SECOND)))
        case "stop then abort":
            sim.stop()
            sim.send(ev.AbortRequested(), rng.random())
        case _:
            sim.stop()
    if rng.random() < 0.3:
        sim.reload()  # too late, and harmless
        sim.scale(0, 5) if sim.referee.services else None
    sim.run(200.0)
    if sim.exit_status is None:
        raise Violation("the manager never ended")
