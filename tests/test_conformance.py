"""The scenarios of the simulation against real processes: the same referee judges the record."""

import pickle
import random
import signal
from pathlib import Path
from typing import Any

import pytest

from cotyledon import Backoff, Intensity, Policy, Recycle, Rollout, Start
from cotyledon._core import events as ev
from cotyledon.testing import Exit, Referee
from tests.faults_support import Master, Rounds, kill

pytestmark = [pytest.mark.real, pytest.mark.deadline(240)]

SECOND = 1_000_000_000
PUNCTUAL = 10 * SECOND
"""How late a busy machine may run the loop."""
STOPS = (ev.StopRequested, ev.HurryRequested, ev.AbortRequested)


def behaviour(rng: random.Random, *, faults: bool) -> dict[str, Any]:
    slow = rng.random() < 0.3
    wrong = {
        "life": rng.choice((None, 0.05, 0.5)),
        "start_fails": rng.choice((0.0, 0.0, 0.2, 1.0)),
        "start_hangs": rng.choice((0.0, 0.0, 0.1)),
        "deaf": rng.choice((0.0, 0.0, 0.3, 1.0)),
        "mute": rng.choice((None, None, 0.3)),
    }
    return {
        "start": rng.choice((0.05, 0.5)) if slow else 0.005,
        "stop": rng.choice((0.05, 0.4)) if slow else 0.005,
        "reload": rng.choice((0.005, 0.3)) if rng.random() < 0.4 else None,
        "grace": rng.choice((None, None, 0.0, 0.3, 5.0)),
        "known": rng.random() < 0.6,
        "faults": wrong if faults else {},
    }


def policy(rng: random.Random, *, rests: bool) -> str | None:
    """Return an expression; what is replaced in peace is never at rest, so not if it ``rests``."""
    if rng.random() < 0.3:
        return None
    initial = rng.choice((0.0, 0.05, 0.2))
    surge = rng.choice((0, 0, 1, "50%"))
    least = (0, 1) if surge else (1, 2)
    made = Policy(
        backoff=Backoff(
            initial, rng.choice((1.0, 2.0)), max(initial, rng.choice((0.1, 0.5))), 0.2, 10.0
        ),
        rollout=Rollout(
            rng.choice((*least, 100, "1%", "25%", "50%", "100%")),
            surge,
            # What rests is ready at once, and has all the time that it needs.
            0.0 if rests else rng.choice((0.0, 0.0, 0.05)),
            600.0 if rests else rng.choice((1.0, 600.0)),
        ),
        start=Start(rng.choice(("built", "told")), rng.choice((None, None, 0.3))),
        watchdog=rng.choice((None, None, 1.0)),
    )
    if not rests and rng.random() < 0.3:
        made = made.replace(recycle=Recycle(lifetime=0.6, min_life=0.3))
    if not rests and rng.random() < 0.2:
        made = made.replace(intensity=Intensity(rng.choice((0, 5)), 5.0))
    if not rests and rng.random() < 0.2:
        made = made.replace(restart=rng.choice(("on-failure", "never")))
    return repr(made)


def service(rng: random.Random, *, faults: bool, rests: bool) -> list[Any]:
    how = policy(rng, rests=rests)
    return [behaviour(rng, faults=faults), rng.choice((1, 2, 3, 5, 9)), how]


def disturb(
    rng: random.Random, master: Master, services: int, *, faults: bool, rests: bool
) -> int:
    """Do one thing to the master; return how many services it has then."""
    requests = ("HUP", "HUP", "scale", "scale", "reload", "restart", "restart", "add", "grace")
    what = rng.choice((*requests, "kill", "stop", "forks"))
    match what:
        case "HUP":
            master.signal(signal.SIGHUP)
        case "scale":
            master.command("scale", rng.randrange(services), rng.choice((0, 1, 2, 3, 6)))
        case "add" if services < 4:
            master.command("add", *service(rng, faults=faults, rests=rests))
            return services + 1
        case "reload":
            master.command("reload", rng.randrange(services))
        case "restart":
            master.command("restart", rng.randrange(services), rng.choice((None, 0)))
        case "kill" | "stop":
            alive = master.status()["alive"]
            for pid in rng.sample(alive, rng.randint(0, len(alive))):
                kill(pid, signal.SIGKILL if what == "kill" else signal.SIGSTOP)
        case "grace":
            master.command("grace", rng.choice((0.5, 1.0, 3.0)))
        case "forks" if faults:
            master.guard()  # before run(), it would be the limit that the program has given
            master.command(rng.choice(("forks fail", "forks work")))
    return services


def settle(master: Master) -> None:
    """End every fault, and wait until the manager has got over it."""
    master.command("calm")
    master.signal(signal.SIGHUP)  # it forgives, so that nobody waits out a long back-off
    old = master.status()["alive"]
    for pid in old:
        kill(pid)
    master.wait_ready(60, without=old)


def stop(rng: random.Random, master: Master) -> None:
    first, *then = rng.choice(
        (("TERM",), ("TERM",), ("TERM",), ("TERM", "TERM"), ("INT",), ("TERM", "INT"), ("ALRM",))
    )
    if "INT" in (first, *then):
        master.guard()  # before run(), it is the KeyboardInterrupt of any program
    master.signal(getattr(signal, f"SIG{first}"))
    for name in then:
        master.idle(rng.random() * 0.3)
        if master.popen.poll() is None:
            master.signal(getattr(signal, f"SIG{name}"))


def play(rng: random.Random, record: Path) -> None:
    faults = rng.random() < 0.7
    grace, interval = rng.choice((1.0, 3.0)), rng.choice((0.0, 0.0, 0.01))
    rests = rng.random() < 0.6
    services = [service(rng, faults=faults, rests=rests) for _ in range(rng.randint(1, 3))]
    more = {"services": services, "interval": interval, "record": str(record)}
    with Master(grace=grace, more=more) as master:
        master.status()
        number = len(services)
        for _ in range(rng.randint(3, 12)):
            master.idle(rng.choice((0.0, 0.003, 0.05, 0.4)) * rng.random())
            number = disturb(rng, master, number, faults=faults, rests=rests)
        if rests:
            settle(master)
        stop(rng, master)
        status = master.ends(30)
        master.clears()
        assert status in {0, 1}, master.describe()
        steps = pickle.loads(record.read_bytes())
        try:
            judge(steps, round(grace * SECOND), round(interval * SECOND), settled=rests)
            assert steps[-1][2][-1] == Exit(status)
        except AssertionError as error:
            tail = "\n".join(map(repr, steps[-20:]))
            error.add_note(f"{len(steps)} steps, the last of them:\n{tail}\n{master.describe()}")
            raise


def judge(steps: list[Any], grace: int, interval: int, *, settled: bool) -> None:
    referee = Referee(grace=grace, spawn_interval=interval, punctual=PUNCTUAL)
    for now, events, effects in steps:
        if settled and any(isinstance(event, STOPS) for event in events):
            referee.check_settled()
            settled = False
        referee.observe(now, events, effects)
    assert referee.exit is not None


def test_real_processes_keep_the_promises_of_the_simulation(tmp_path: Path) -> None:
    def torment(rng: random.Random) -> None:
        play(rng, tmp_path / f"{rng.randrange(2**64)}.pickle")

    Rounds().run(torment, share=0.4)
