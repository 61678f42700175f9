"""Periodic tasks: when they run, what follows when one fails, and how they end."""

import math
import os
import signal
import subprocess
import sys
import threading
from functools import partial
from itertools import groupby, pairwise

import pytest

pytest.importorskip("futurist", reason="needs the extra futurist")

from futurist import periodics

from cotyledon import _values, control
from cotyledon.contrib.futurist import PeriodicService, _figures, on_one_worker
from cotyledon.contrib.futurist._schedule import Call, Scheduler, phase
from cotyledon.contrib.futurist._task import Task, line_of
from tests.harness import alive, until, wait_gone
from tests.servers import Redis

SCRIPT = "periodic.py"
PERIOD = 10.0


def worker_of(program):
    with control.Client(program.directory / "control.sock") as client:
        return client.status()["services"][0]["workers"][0]


# --- instants -----------------------------------------------------------------------------


def test_workers_are_spread_over_a_period():
    """However many workers there are, no two are close, and no gap between them is wide."""
    assert [phase(n, 0) for n in range(6)] == [0, 1 / 2, 1 / 4, 3 / 4, 1 / 8, 5 / 8]
    for workers in range(1, 200):
        places = sorted(phase(n, 5) for n in range(workers))
        places = sorted((place - phase(0, 5)) % 1 for place in places)
        gaps = [b - a for a, b in pairwise([*places, 1.0])]
        assert min(gaps) > 0.5 / workers
        assert max(gaps) < 2 / workers


def test_the_tasks_of_workers_are_spread_as_well():
    """No two tasks of the same period run at the same instant, in whatever workers."""
    assert [phase(0, n) for n in range(4)] == pytest.approx([0, 1 / 3, 2 / 3, 1 / 9])
    places = sorted(phase(worker, task) for worker in range(16) for task in range(27))
    assert min(b - a for a, b in pairwise(places)) > 0.99 / 16 / 27
    assert 0 <= places[0] < places[-1] < 1


def call(worker_id=0, *, spread=True, immediately=False, perform=lambda task: None):
    task = Task("it", lambda: None, spacing=PERIOD, immediately=immediately)
    return Call(task, perform, phase(worker_id, 0) if spread else None)


@pytest.mark.parametrize("worker_id", [0, 1, 2, 5])
@pytest.mark.parametrize("now", [0.0, 3.3, 5.0, 12345.678, 1e7 / 3])
def test_a_worker_keeps_its_place_in_the_period(worker_id, now):
    """From whenever it was started, a worker runs at the same instants of each period."""
    it = call(worker_id)
    first = it.first(now)
    assert now < first <= now + PERIOD
    at = first
    for late in (0.0, 0.01, 3.0):
        next_at = it.after(at + late)
        assert next_at == pytest.approx(at + PERIOD)
        at = next_at
    assert math.fmod(at, PERIOD) == pytest.approx(phase(worker_id, 0) * PERIOD)


@pytest.mark.parametrize("late", [4.9, 5.1, 9.9, 10.1, 17.0, 1234.5])
def test_what_was_missed_is_not_made_up_for(late):
    """However late a run begins, there is one run in a period, and half a period between two."""
    it = call(3)
    began = it.first(0.0) + late
    after = it.after(began)
    assert 0.499 * PERIOD < after - began < 1.501 * PERIOD
    assert it.after(after) == pytest.approx(after + PERIOD)


def test_without_spread_a_period_begins_with_the_run_before():
    """Then a run is a whole period after the start of the one before, and of the worker."""
    it = call(3, spread=False)
    assert (it.first(3.0), it.after(14.5)) == (13.0, 24.5)


@pytest.mark.parametrize("spread", [True, False])
def test_at_once(spread):
    """A task that is to run at once does, and keeps its place afterwards."""
    it = call(1, spread=spread, immediately=True)
    assert it.first(11.0) == 11.0
    assert it.after(11.0) == (25.0 if spread else 21.0)


def test_futurist_keeps_these_instants():
    """The strategy that was added to its worker is the one that it goes by."""
    it = call(1)
    scheduler = Scheduler([it], 1)
    scheduler._schedule.pop()  # computed with the clock that is now
    strategies = Scheduler.BUILT_IN_STRATEGIES["call"]
    assert (scheduler._schedule_strategy, scheduler._initial_schedule_strategy) == strategies
    assert strategies[1](it, 1.0) == 5.0
    assert strategies[0](it, 5.0, 7.0, {}) == 15.0


def test_one_task_never_runs_twice_at_a_time():
    """A call that comes while the task runs, as after a lack of threads, does nothing."""
    performed = []

    def perform(task):
        performed.append(task)
        other = threading.Thread(target=it)
        other.start()
        other.join()

    it = call(perform=perform)
    it()
    assert len(performed) == 1


def test_calls_that_have_piled_up_are_one_run():
    """Calls that come at once, as after a lack of threads, perform the task once in a period."""
    performed: list[Task] = []
    times = iter((100.0, 100.1, 103.9, 105.0, 105.1))
    task = Task("it", lambda: None, spacing=PERIOD)
    it = Call(task, performed.append, 0.0, now=lambda: next(times))
    counts = []
    for _ in range(5):
        it()
        counts.append(len(performed))
    assert counts == [1, 1, 1, 2, 2]


# --- which tasks --------------------------------------------------------------------------


class Some(PeriodicService):
    @periodics.periodic(1)
    def beta(self):
        pass

    @periodics.periodic(2, run_immediately=True)
    def _alpha(self):
        pass

    @periodics.periodic(0, enabled=False)
    def disabled(self):
        pass

    @staticmethod
    @periodics.periodic(3)
    def static():
        pass

    @property
    def broken(self):
        raise AssertionError("a property is not looked at")


@periodics.periodic(4)
def function():
    pass


@periodics.periodic(4)
async def coroutine():
    pass


@periodics.periodic(math.nan)
def nan():
    pass


@on_one_worker
@periodics.periodic(4)
def above():
    pass


@periodics.periodic(4)
@on_one_worker
def below():
    pass


class Everything:
    mine = True

    def partition(self, worker_id):
        return self

    def owns(self, key):
        return self.mine

    def on_change(self, callback):
        pass


def tasks(service):
    return {task.name: task for task in service._periodics._tasks}


def test_methods_and_callables_are_tasks():
    """Each decorated method is a task, and each callable, with names that are told apart."""
    other = Some(1)
    found = tasks(Some(0, tasks=[function, function, other.beta]))
    assert set(found) == {"beta", "_alpha", "static", "function", "function-2", "beta-2"}
    assert (found["_alpha"].spacing, found["_alpha"].immediately) == (2, True)
    assert (found["beta-2"].spacing, found["beta-2"].immediately) == (1, False)


def test_each_subclass_has_a_name_of_its_own():
    """A service is called as its class, and not as the class that this package has."""
    assert (Some.name, PeriodicService.name) == ("Some", None)


@pytest.mark.parametrize(
    ("arguments", "kind", "says"),
    [
        ({}, ValueError, "PeriodicService has no periodic task: decorate a method with"),
        ({"tasks": function}, TypeError, "'tasks' must be a list of functions, not: <function"),
        ({"tasks": None}, TypeError, "'tasks' must be a list of functions, not: None"),
        ({"tasks": [function], "spread": 0.5}, TypeError, "'spread' must be True or False"),
        ({"tasks": [print]}, TypeError, "each of 'tasks' must be decorated .*: <built-in"),
        ({"tasks": [coroutine]}, TypeError, "coroutine is a coroutine function"),
        ({"tasks": [nan]}, ValueError, "the period of nan must be finite, not: nan"),
        ({"tasks": [function], "threads": 0}, ValueError, "'threads' must be at least 1, not: 0"),
        ({"tasks": [function], "fail_after": True}, TypeError, "'fail_after' must be a whole"),
        ({"tasks": [above]}, ValueError, "above is to run on one worker, which takes a part"),
        ({"tasks": [below]}, ValueError, "below is to run on one worker, which takes a part"),
    ],
)
def test_what_cannot_be(arguments, kind, says):
    """What is wrong with the arguments or the tasks is said when the service is built."""
    with pytest.raises(kind, match=says):
        PeriodicService(0, **arguments)


def test_a_service_with_disabled_tasks_only_is_allowed():
    """Tasks that the program has switched off are no mistake."""

    class Off(PeriodicService):
        @periodics.periodic(0, enabled=False)
        def off(self):
            pass

    assert tasks(Off(0)) == {}


def test_the_partition():
    """A service has the partition that its share makes, or an error that says how to get one."""
    share = Everything()
    assert PeriodicService(0, tasks=[above, below], share=share).partition is share
    with pytest.raises(AttributeError, match="Some has no partition: add it with cotyledon"):
        _ = Some(0).partition


# --- figures ------------------------------------------------------------------------------


def test_the_limits_of_figures():
    """There are never more figures than a service may tell, nor longer names."""
    assert (_figures.MOST, _figures.LONGEST) == (_values.MOST_FIGURES, _values.LONGEST_NAME)
    assert set(_figures.figures_of(list(tasks(Some(0)).values()), {"mine": 1, "runs": 5})) == {
        *("runs", "failures", "failing", "mine"),
        *(f"{name}.{part}" for name in ("_alpha", "beta", "static") for part in _figures.PARTS),
    }
    sums = {"runs", "failures", "failing"}
    for names, others, all_of_them in (
        (["x" * 50], 0, True),
        (["x" * 50 + "1", "x" * 50 + "2"], 0, False),
        (["mönd\n"], 0, True),
        ([f"t{n}" for n in range(8)], 5, True),
        ([f"t{n}" for n in range(8)], 6, False),
        ([f"t{n}" for n in range(9)], 0, False),
    ):
        more = {f"o{n}": float(n) for n in range(others)}
        many = [Task(name, lambda: None, spacing=1) for name in names]
        found = _values.figures("", "", _figures.figures_of(many, more))
        assert (set(found) - set(more) == sums) == (not all_of_them)


@pytest.mark.parametrize(
    ("figures", "kind"),
    [
        ([1], TypeError),
        ({"a": "b"}, TypeError),
        ({"": 1}, ValueError),
        ({f"f{n}": n for n in range(32)}, ValueError),
    ],
)
def test_what_a_service_says_is_checked(figures, kind):
    """A service may say of itself what any service may, and a mistake is not kept."""
    service = Some(0)
    with pytest.raises(kind):
        service.status("fine", figures)
    assert service._periodics is not None
    service._periodics._publish()


def test_who_loses_a_task_does_not_know_how_it_fares():
    """A task that failed is not shown as failing by a worker that does not own it any more."""

    class Sweeper(PeriodicService):
        @periodics.periodic(1)
        @on_one_worker
        def sweep(self):
            raise ValueError("dust")

    share = Everything()
    service = Sweeper(0, share=share)
    assert service._periodics is not None
    [task] = tasks(service).values()
    service._periodics._perform(task)
    assert service._periodics._state() == "sweep failed: ValueError: dust"
    share.mine = False
    service._periodics._perform(task)
    assert service._periodics._state() == ""
    assert (task.runs, task.failures, service.running()) == (1, 1, {})


# --- running ------------------------------------------------------------------------------


@pytest.mark.real
def test_a_slow_task_delays_no_other(start):
    """While one task runs, the others do, and itself not a second time."""
    program = start(SCRIPT, "slow")
    slow = program.wait_for("slow")
    for _ in range(5):
        program.wait_for("quick")
    program.signal(signal.SIGUSR2, slow.pid)
    now = program.wait_for("inside")["now"]
    assert now["slow"] > 0
    assert len(program.all("slow")) == 1
    program.open_gate("slow")
    program.collect(5, "slow")
    assert {one["inside"] for one in program.all("slow")} == {1}
    assert program.stop() == 0


@pytest.mark.real
def test_a_stop_waits_for_what_runs_and_begins_nothing(start):
    """terminate() returns when the running tasks have, and what waits for a thread never runs."""
    program = start(SCRIPT, "one-thread")
    slow = program.wait_for("slow")
    program.signal(signal.SIGTERM)
    program.wait_for("terminate")
    said = until(lambda: worker_of(program)["status"], "the worker says what it waits for")
    assert said.startswith("stopping, waits for slow (")
    assert alive(slow.pid)
    program.open_gate("slow")
    assert program.wait_for("slow ended")["stopping"]
    program.wait_for("terminated")
    assert program.wait() == 0
    assert program.wait_for("died", reason="stopped")["code"] == 0
    assert not program.all("quick")
    assert len(program.all("slow")) == 1


@pytest.mark.real
@pytest.mark.parametrize("how", ["python", "c"])
def test_a_task_that_hangs_is_bounded_by_the_graceful_timeout(start, how):
    """A worker whose task does not return ends anyhow, also when the task holds the GIL."""
    program = start(SCRIPT, "patient", how)
    hangs = program.wait_for("hangs")
    program.signal(signal.SIGTERM)
    assert program.wait() == 0
    wait_gone(hangs.pid)
    assert program.wait_for("died")["code"] == (1 if how == "python" else -9)


@pytest.mark.real
def test_a_reload_replaces_the_worker_after_its_tasks(start):
    """Without a reload() of its own the worker is replaced, once what runs has returned."""
    program = start(SCRIPT, "slow")
    first = program.wait_for("slow")
    program.signal(signal.SIGHUP)
    program.wait_for("terminate")
    assert alive(first.pid)
    program.open_gate("slow")
    assert program.wait_for("died")["code"] == 0
    until(lambda: program.wait_for("slow").pid != first.pid, "a new worker runs it")
    assert program.stop() == 0


@pytest.mark.real
def test_tasks_go_on_during_a_reload(start):
    """With a reload() of its own the worker goes on, and so do its tasks."""
    program = start(SCRIPT, "reloads")
    slow = program.wait_for("slow")
    program.signal(signal.SIGHUP)
    program.wait_for("reload")
    for _ in range(len(program.all("quick")) + 3):
        assert program.wait_for("quick").pid == slow.pid
    program.open_gate("slow")
    assert program.stop() == 0


@pytest.mark.real
def test_workers_run_at_different_instants(start):
    """Four workers with a period of one second run it a quarter of a second after each other."""
    program = start(SCRIPT, "spread")
    punctual = set()
    for _ in range(60):
        tick = program.wait_for("tick")
        if (tick.at - phase(tick["worker"], 0)) % 1 < 0.2:
            punctual.add(tick["worker"])
        if len(punctual) == 4:
            break
    assert punctual == {0, 1, 2, 3}
    assert program.stop() == 0


def runs_after(program, owner):
    """Make another worker the owner; return who runs the task once both have noticed."""
    (program.directory / "owner").write_text(str(owner))
    before = [len(program.all("asked", worker=worker)) for worker in (0, 1)]

    def noticed():  # twice: a run that had looked before has ended then
        asked = [len(program.all("asked", worker=worker)) for worker in (0, 1)]
        return all(now > then + 1 for now, then in zip(asked, before, strict=True))

    until(noticed, "both have looked")
    known = len(program.all("sweep"))
    until(lambda: len(program.all("sweep")) > known + 2, "it runs")
    return {one["worker"] for one in program.all("sweep")[known:]}


@pytest.mark.real
def test_a_task_runs_on_the_worker_that_owns_it(start):
    """It is looked up at each run, by the names of the service and of the task."""
    program = start(SCRIPT, "shared")
    program.wait_for("sweep", worker=0)
    for owner in (1, 0, 1):
        assert runs_after(program, owner) == {owner}
    assert {one["key"] for one in program.all("asked")} == {"Shared/sweep"}
    assert program.stop() == 0


def owners(*programs):
    """Return who has run the task of the cluster, in order of time, each only when it changes."""
    events = sorted((one for it in programs for one in it.all("sweep")), key=lambda one: one.at)
    return [pid for pid, _ in groupby(one.pid for one in events)]


def moved(one, two, killed):
    """Tell whether the task runs somewhere else, and has for some time."""
    runs = sorted(one.all("sweep") + two.all("sweep"), key=lambda run: run.at)
    return all(run.pid != killed for run in runs[-20:])


@pytest.mark.real
@pytest.mark.servers
@pytest.mark.skipif(bool(Redis.missing()), reason=Redis.missing())
def test_a_task_runs_on_one_worker_of_two_managers(start):
    """It moves to another worker when its own is killed, and never runs on two at a time."""
    pytest.importorskip("tooz", reason="needs the extra tooz")
    server = Redis()
    try:
        server.start()
        one, two = (start(SCRIPT, "cluster", server.url, host) for host in ("one", "two"))
        until(lambda: len(one.all("sweep")) + len(two.all("sweep")) > 20, "it runs")
        for _ in range(2):
            killed = owners(one, two)[-1]
            os.kill(killed, signal.SIGKILL)
            until(partial(moved, one, two, killed), "another one runs it")
        # To another worker and back to the replacement, perhaps, and once when the second manager
        # came. Two at a time would take turns all the while.
        assert len(owners(one, two)) < 10
        assert (one.stop(), two.stop()) == (0, 0)
    finally:
        server.close()


@pytest.mark.real
def test_callables_in_workers_that_are_not_forked(start):
    """A service without a subclass works under other start methods, in threads of a pool."""
    program = start(SCRIPT, "spawned")
    assert program.wait_for("function")["thread"].startswith("task")
    assert program.stop() == 0


# --- failures -----------------------------------------------------------------------------


@pytest.mark.real
def test_failures_are_counted_logged_and_shown(start):
    """A task that fails goes on, is in the log and in the status, until it succeeds again."""
    program = start(SCRIPT, "failing")
    program.collect(8, "moon")

    def shown():
        one = worker_of(program)
        return one if one["figures"].get("moon.failures", 0) >= 5 else None

    found = until(shown, "five failures are told")
    figures = found["figures"]
    assert found["status"].startswith("moon failed ")
    assert found["status"].endswith(" times in a row: KeyError: 'moon'; polls the moon")
    assert figures["craters"] == 7
    assert figures["failing"] == 1
    assert figures["never_again.runs"] == 1
    assert figures["failures"] == figures["moon.failures"] == figures["moon.runs"]
    assert figures["runs"] == figures["moon.runs"] + 1
    assert figures["moon.seconds"] >= 0
    program.signal(signal.SIGUSR2, program.wait_for("moon").pid)
    until(lambda: worker_of(program)["status"] == "polls the moon", "it has succeeded again")
    assert worker_of(program)["figures"]["failing"] == 0
    log = program.stderr()
    who = "Failing worker(0): the task moon failed"
    assert f"{who}\nTraceback" in log
    assert f"{who} 2 times in a row: CancelledError\nTraceback" in log
    assert f"{who} 4 times in a row: KeyError: 'moon'\nTraceback" in log
    assert f"{who} 5 times in a row: KeyError: 'moon'\n{who} 6" in log  # once is enough
    assert len(program.all("never again")) == 1
    assert program.stop() == 0


@pytest.mark.real
def test_too_many_failures_end_the_worker(start):
    """After so many in a row the worker ends with status 70, and is replaced."""
    program = start(SCRIPT, "fail-after")
    died = program.wait_for("died")
    assert (died["reason"], died["code"]) == ("exit", 70)
    first = program.all("moon")[0].pid
    assert len(program.all("moon", pid=first)) == 3
    until(lambda: program.wait_for("moon").pid != first, "a new worker runs it")
    assert "ends with status 70, because the task moon failed 3 times in a row" in program.stderr()


@pytest.mark.real
def test_a_task_can_end_its_worker(start):
    """SystemExit in a task gives the worker's exit status, once the other tasks have returned."""
    program = start(SCRIPT, "leaver")
    first = program.wait_for("slow")
    program.open_gate("leave")
    program.wait_for("leaves")
    program.wait_for("terminate")
    assert alive(first.pid)
    program.open_gate("slow")
    assert program.wait_for("slow ended")["stopping"]
    died = program.wait_for("died")
    assert (died["reason"], died["code"]) == ("exit", 3)
    assert len(program.all("leaves", pid=first.pid)) == 1


@pytest.mark.real
def test_a_task_that_beats_tells_of_one_that_hangs(start):
    """A task that beats as long as no other runs for too long has the worker killed in time."""
    program = start(SCRIPT, "hanging")
    program.wait_for("hangs")
    assert program.wait_for("died")["reason"] == "watchdog"


@pytest.mark.real
def test_a_forgotten_init_is_named(start):
    """A subclass that does not call the class's __init__ is told so, and does not idle."""
    program = start(SCRIPT, "forgetful")
    assert program.wait_for("died")["code"] == 2
    assert "Forgetful.__init__() has to call super().__init__(worker_id)" in program.stderr()


# --- imports ------------------------------------------------------------------------------


def python(code):
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30
    ).stdout.strip()


def test_a_worker_imports_nothing_that_it_could_share():
    """To build the service, and to run it, loads no module."""
    assert python(
        "import sys, threading, cotyledon\n"
        "from futurist import periodics\n"
        "from cotyledon.contrib.futurist import PeriodicService\n"
        "class Mine(PeriodicService):\n"
        "    @periodics.periodic(1, run_immediately=True)\n"
        "    def task(self): threading.Thread(target=self.terminate).start()\n"
        "Mine.policy = cotyledon.Policy()\n"  # as a manager gives it one
        "before = set(sys.modules)\n"
        "Mine(0).run()\n"
        "print(set(sys.modules) - before)"
    ) == ("set()")


@pytest.mark.parametrize("module", ["futurist", "tooz._driver", "oslo_messaging._server"])
def test_nobody_is_warned_of_a_library_that_is_not_used(module):
    """Where eventlet is installed, what it says when it is imported does not reach users."""
    code = f"import cotyledon.contrib.{module}"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert (done.stdout, done.stderr) == ("", "")


def test_what_is_not_installed_is_said_in_one_line():
    """Without the library the error says what to install."""
    said = python(
        "import importlib.util as util; find = util.find_spec\n"
        "util.find_spec = lambda name: None if name == 'futurist' else find(name)\n"
        "try: import cotyledon.contrib.futurist\n"
        "except ImportError as error: print(error)"
    )
    assert said == ("cotyledon.contrib.futurist needs futurist: pip install 'cotyledon[futurist]'")


def test_an_exception_that_cannot_be_said_is_named():
    """Whatever its text raises, a failure has a line, so that its run ends."""

    class Unspeakable(Exception):
        def __str__(self):
            raise SystemExit(3)

    assert line_of(Unspeakable()) == "Unspeakable: ?"
