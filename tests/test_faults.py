"""Real faults at random instants: whatever is signalled, killed or stopped, the promises hold."""

import random
import signal
import time

import pytest

from tests.faults_support import Master, Rounds, kill, wait_gone

pytestmark = [pytest.mark.real, pytest.mark.deadline(240)]

AWKWARD = (
    ("DeafParent", 1),
    ("Parent", 1),
    ("Stopped", 1),
    ("Stuck", 1),
    ("Hanging", 1),
    ("Slow", 1),
    ("DeafLooping", 1),
    ("Blocked", 1),
    ("Humble", 1),
)
GRACE = 0.6
BOUND = GRACE + 1 + 10
"""Seconds after the master's death until nothing may be left; 10 are for a busy machine."""


@pytest.fixture
def rounds() -> Rounds:
    return Rounds()


# --- during the start ---------------------------------------------------------------------


def test_term_during_the_start_is_a_graceful_stop(rounds: Rounds) -> None:
    def torment(rng: random.Random) -> None:
        with Master([("Parent", 2), ("Plain", 2), ("Looping", 2), ("Humble", 2)]) as master:
            master.wait_for("constructed")
            master.idle(rng.random() * rng.choice((0.01, 0.1)))
            master.signal(signal.SIGTERM)
            master.check(0)

    rounds.run(torment)


def test_int_during_the_start_ends_everything(rounds: Rounds) -> None:
    def torment(rng: random.Random) -> None:
        with Master(
            [("DeafParent", 2), ("Plain", 2), ("DeafLooping", 2), ("Humble", 2)]
        ) as master:
            master.wait_for("constructed")
            while not master.children():  # before, it is the KeyboardInterrupt of any program
                pass
            master.idle(rng.random() * rng.choice((0.001, 0.05)))
            master.signal(signal.SIGINT)
            master.check(1)

    rounds.run(torment)


def test_hup_during_the_start_costs_no_worker(rounds: Rounds) -> None:
    def torment(rng: random.Random) -> None:
        with Master([("Reloading", 3), ("Plain", 3)]) as master:
            master.wait_for("constructed")
            for _ in range(rng.randint(1, 3)):
                master.idle(rng.random() * rng.choice((0.005, 0.05)))
                master.signal(signal.SIGHUP)
            assert master.popen.poll() is None, master.describe()
            master.wait_for("built", 6)
            master.wait_ready()
            master.signal(signal.SIGTERM)
            master.check(0)

    rounds.run(torment)


# --- young workers ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "signums"),
    [
        ("Plain", (signal.SIGTERM,)),
        ("Plain", (signal.SIGKILL,)),
        *((kind, (signal.SIGTERM, signal.SIGKILL)) for kind in ("Plain", "Looping", "Humble")),
    ],
)
def test_a_signal_to_a_worker_that_was_just_forked(
    rounds: Rounds, kind: str, signums: tuple[int, ...]
) -> None:
    rng = random.Random(rounds.seed)
    print(f"COTYLEDON_FAULT_SEED={rounds.seed}")
    with Master([(kind, 3)]) as master:
        master.wait_for("constructed")
        known = {master.guard()}
        victims: list[int] = []
        end = time.monotonic() + 60
        while len(victims) < rounds.rounds:
            for pid in set(master.children()) - known:
                known.add(pid)
                assert kill(pid, rng.choice(signums))
                victims.append(pid)
            master.idle(rng.choice((0, 0, 0, 0.002)))  # sometimes they get a head start
            assert master.popen.poll() is None, master.describe()
            assert time.monotonic() < end, master.describe()
        for pid in victims:
            assert wait_gone(pid, 20), f"the signal to {pid} was lost\n{master.describe()}"
        assert master.wait_ready(without=victims)["wanted"] == 3
        master.signal(signal.SIGTERM)
        master.check(0)


# --- the death of the master --------------------------------------------------------------


def test_nothing_outlives_a_killed_master(rounds: Rounds) -> None:
    def torment(rng: random.Random) -> None:
        with Master(AWKWARD, grace=GRACE) as master:
            master.wait_for("constructed")
            phase = rng.choice(("start", "running", "reload", "stop"))
            if phase == "start":
                master.idle(rng.random() * rng.choice((0.01, 0.1)))
            else:
                master.wait_for("built", len(AWKWARD))
                master.idle(rng.random() * 0.1)
            if phase in ("reload", "stop"):
                master.signal(signal.SIGHUP if phase == "reload" else signal.SIGTERM)
                master.idle(rng.random() * rng.choice((0.01, GRACE)))
            master.signal(signal.SIGKILL)
            assert master.ends() == -signal.SIGKILL, master.describe()
            master.clears(BOUND)

    rounds.run(torment, at_once=5)


def test_a_killed_guard_comes_back(rounds: Rounds) -> None:
    def torment(rng: random.Random) -> None:
        with Master([("Stuck", 1), ("DeafParent", 1), ("Stopped", 1)], grace=GRACE) as master:
            guard = master.guard()
            master.idle(rng.random() * 0.2)
            assert kill(guard)
            assert wait_gone(guard, 20)
            assert master.guard() != guard
            master.signal(signal.SIGKILL)
            assert master.ends() == -signal.SIGKILL, master.describe()
            master.clears(BOUND)

    rounds.run(torment, at_once=8)


# --- storms -------------------------------------------------------------------------------


def test_storms_lose_no_worker(rounds: Rounds) -> None:
    def torment(rng: random.Random) -> None:
        services = [("Plain", 2), ("Reloading", 2), ("Looping", 2), ("Humble", 1)]
        with Master(services, seed=rng.randrange(2**32)) as master:
            master.wait_ready()
            guard = master.guard()
            end = time.monotonic() + 1
            while time.monotonic() < end:
                what = rng.choice(("HUP", "CHLD", "USR1", "USR2", "kill", "kill", "term"))
                if what in ("kill", "term"):
                    workers = [pid for pid in master.children() if pid != guard]
                    if workers:
                        # A pid that is gone meanwhile stays a zombie's only for an instant, but
                        # no pid comes round again within a storm.
                        signum = signal.SIGKILL if what == "kill" else signal.SIGTERM
                        kill(rng.choice(workers), signum)
                else:
                    master.signal(getattr(signal, f"SIG{what}"))
                master.idle(rng.random() * 0.02)
                assert master.popen.poll() is None, master.describe()
            master.wait_ready()
            master.signal(signal.SIGTERM)
            master.check(0)

    rounds.run(torment, at_once=5)


# --- other start methods ------------------------------------------------------------------


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGKILL])
def test_a_signal_during_the_start_under(rounds: Rounds, method: str, signum: int) -> None:
    def torment(rng: random.Random) -> None:
        services = [("DeafParent", 1), ("Plain", 1), ("Looping", 1), ("Humble", 1)]
        # A worker that is told to stop while its interpreter starts needs the time for that.
        grace = 10 if signum == signal.SIGTERM else 3
        with Master(services, method=method, grace=grace) as master:
            master.wait_for("constructed")
            master.idle(rng.random() * rng.choice((0.1, 0.8)))
            master.signal(signum)
            if signum == signal.SIGTERM:
                master.check(0)
            else:
                assert master.ends() == -signal.SIGKILL
                master.clears(3 + 1 + 10)

    rounds.run(torment, share=0.12, at_once=3)
