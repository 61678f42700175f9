"""What cotyledon 2.2.0 does badly: one number for each fault, shown to be gone in real processes.

The numbers are those of the table in ``docs/compatibility.md``.
"""

import itertools
import os
import signal
import subprocess
import sys

import pytest

from cotyledon._posix.guard import GLANCE, SECOND, _Late
from cotyledon._posix.table import Table
from tests.harness import (
    InitSystem,
    alive,
    descendants,
    descriptors,
    threads,
    title,
    until,
    wait_gone,
)

pytestmark = pytest.mark.real

SCRIPT = "regressions.py"
TERM, INT, HUP, ALRM, KILL = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGALRM,
    signal.SIGKILL,
)
USR1, USR2 = signal.SIGUSR1, signal.SIGUSR2


# 1 ----------------------------------------------------------------------------------------


def test_01_term_at_birth_reaches_the_worker_alone(start):
    """A TERM that a worker gets before its first line ends that worker, and is not lost."""
    program = start(SCRIPT, "young", "5")
    for _ in range(5):
        program.wait_for("terminate")
        assert program.wait_for("dead")["code"] == 0
    program.wait_for("run")
    assert len(program.all("terminate")) == 5
    assert program.popen.poll() is None
    assert program.stop() == 0


def test_01_term_during_a_fork_reaches_the_worker_alone(start):
    """A TERM at some instant of a worker's birth never stops the master."""
    program = start(SCRIPT, "announced")
    for _ in range(25):
        child = program.wait_for("forked")
        program.signal(TERM, child.pid)
        wait_gone(child.pid)
        assert program.wait_for("dead")["code"] == 0
    assert program.popen.poll() is None
    assert program.stop() == 0


# 2 ----------------------------------------------------------------------------------------


def test_02_scaling_up_acts_at_once(start):
    """reconfigure() starts the missing workers without waiting for anything else to happen."""
    program = start(SCRIPT, "scaled", "1", "3")
    program.wait_for("run", worker=0)
    program.signal(USR1)
    program.wait_for("run", worker=1)
    program.wait_for("run", worker=2)
    assert not program.all("dead")
    assert program.stop() == 0


def test_02_scaling_down_converges(start):
    """Scaling down ends the workers with the highest ids once each, and starts none again."""
    program = start(SCRIPT, "scaled", "4", "2", "3")
    first = {event["worker"]: event.pid for event in program.collect(4, "run")}
    program.signal(USR1)
    assert {event["worker"] for event in program.collect(2, "terminate")} == {2, 3}
    assert {event["worker"] for event in program.collect(2, "dead")} == {2, 3}
    program.signal(USR1)
    program.wait_for("run", worker=2)
    program.signal(USR2)
    status = program.wait_for("status")
    assert [(w, starts) for w, _, starts in status["workers"]] == [(0, 1), (1, 1), (2, 2)]
    assert len(program.all("terminate")) == 2
    assert len(program.all("run")) == 5
    assert alive(first[0])
    assert alive(first[1])
    assert program.stop() == 0


def test_02_zero_workers_is_a_pause(start):
    """reconfigure() to 0 ends every worker, and a later number starts them again."""
    program = start(SCRIPT, "scaled", "2", "0", "2")
    program.collect(2, "run")
    program.signal(USR1)
    program.collect(2, "dead")
    until(lambda: not program.workers(), "no worker is left")
    assert program.popen.poll() is None
    program.signal(USR1)
    program.collect(2, "run")
    assert program.stop() == 0


def test_02_scaling_twice_at_once_ends_at_the_last_number(start):
    """Of two reconfigure() calls in a row the last one holds."""
    program = start(SCRIPT, "scaled", "2", "5,1")
    program.collect(2, "run")
    program.signal(USR1)
    program.wait_for("did", left=0)

    def settled() -> bool:
        program.signal(USR2)
        status = program.wait_for("status")
        return [w[:2] for w in status["workers"]] == [[0, "ready"]] and status["wanted"] == 1

    until(settled, "one worker is left")
    assert program.stop() == 0


# 3 ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["stopped", "c", "terminate"])
def test_03_a_stuck_worker_is_killed_at_the_deadline(start, how):
    """A stop ends a worker that is stopped, stuck in C or slow, with its group; status 1."""
    program = start(SCRIPT, "stuck", how, "1")
    run = program.wait_for("run")
    if how == "stopped":
        program.pause(run.pid)
    assert program.stop() == 1
    assert not alive(run.pid)
    wait_gone(run["child"])


@pytest.mark.parametrize("how", ["stopped", "terminate"])
def test_03_a_second_term_hurries(start, how):
    """A second TERM leaves a graceful stop one more second."""
    program = start(SCRIPT, "stuck", how, "1000")
    run = program.wait_for("run")
    if how == "stopped":
        program.pause(run.pid)
        program.signal(TERM)
    else:
        program.signal(TERM)
        program.wait_for("terminate")
    # Two signals may have become one while the first was pending: ask until it is heard.
    until(lambda: hurried(program), "the end of a hurried stop")
    assert program.wait() == 1
    assert not alive(run.pid)
    wait_gone(run["child"])


def hurried(program) -> bool:
    """Ask once more; tell whether the program has ended."""
    if program.popen.poll() is None:
        program.signal(TERM)
        return False
    return True


@pytest.mark.parametrize("how", ["stopped", "c", "terminate"])
def test_03_an_int_ends_a_stop_at_once(start, how):
    """An INT during a graceful stop kills what is left; status 1."""
    program = start(SCRIPT, "stuck", how, "1000")
    run = program.wait_for("run")
    if how == "stopped":
        program.pause(run.pid)
    program.signal(TERM)
    if how == "terminate":
        program.wait_for("terminate")
    program.signal(INT)
    assert program.wait() == 1
    assert not alive(run.pid)
    wait_gone(run["child"])


# 4 ----------------------------------------------------------------------------------------


def test_04_a_crash_loop_blocks_nobody(start):
    """While one service crashes again and again, another one's worker is respawned at once."""
    program = start(SCRIPT, "crash_loop")
    run = program.wait_for("run")
    program.collect(3, "init", service="Crasher")
    os.kill(run.pid, KILL)
    killed = program.wait_for("dead", code=-KILL)
    assert program.wait_for("run").at - killed.at < 5
    assert program.stop() == 0


def test_04_a_crash_loop_backs_off(start):
    """The first respawn is immediate, and the waits before those after it grow."""
    program = start(SCRIPT, "crash_loop")
    births = [event.at for event in program.collect(5, "init", service="Crasher")]
    waits = [after - before for before, after in itertools.pairwise(births)]
    assert waits[1] >= 0.5 * 0.8
    assert waits[2] >= 1.0 * 0.8
    assert waits[3] >= 2.0 * 0.8


def test_04_a_crash_loop_does_not_delay_the_stop(start):
    """A stop during a back-off ends at once, gracefully, and starts nothing any more."""
    program = start(SCRIPT, "crash_loop")
    program.wait_for("run")
    program.collect(4, "init", service="Crasher")
    assert program.stop(timeout=10) == 0


# 5 ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", [TERM, INT, ALRM, KILL], ids=lambda s: s.name)
def test_05_no_grandchild_survives_the_master(start, end):
    """The processes that workers have started end with them, however the master ends."""
    program = start(SCRIPT, "family")
    runs = program.collect(2, "run")
    program.signal(end)
    assert program.wait() == {TERM: 0, INT: 1, ALRM: 1, KILL: -KILL}[end]
    for run in runs:
        wait_gone(run.pid)
        for pid in run["family"]:
            wait_gone(pid)


def test_05_no_grandchild_survives_its_worker(start):
    """The processes that a worker has started end when the worker is killed, or told to end."""
    program = start(SCRIPT, "family")
    runs = program.collect(2, "run")
    program.signal(KILL, runs[0].pid)
    program.signal(TERM, runs[1].pid)
    for run in runs:
        for pid in run["family"]:
            wait_gone(pid)
    program.collect(2, "run")
    assert program.stop() == 0


# 6 ----------------------------------------------------------------------------------------


def test_06_ready_means_ready(start, tmp_path):
    """READY=1 is sent when every worker is ready, and not before."""
    init = InitSystem(tmp_path)
    try:
        program = start(SCRIPT, "slow_to_build", env={"NOTIFY_SOCKET": init.address})
        program.wait_for("run", worker=0)
        assert program.wait_for("building", worker=1)["notify"] is None
        assert "READY=1" not in init.heard()
        program.open_gate("build")
        init.wait_for("READY=1")
        assert program.all("init", worker=1)
        assert program.stop() == 0
        assert "STOPPING=1" in init.heard()
    finally:
        init.close()


# 7 ----------------------------------------------------------------------------------------


def test_07_a_reload_is_rolling(start):
    """A HUP restarts every worker, but only a quarter of them at a time."""
    program = start(SCRIPT, "rolling", "8")
    old = {event.pid for event in program.collect(8, "run")}
    program.signal(HUP)
    waiting = program.collect(2, "building")
    assert len({event["worker"] for event in waiting}) == 2
    assert len(program.all("terminate")) == 2
    assert sum(alive(pid) for pid in old) == 6
    program.open_gate("build")
    new = program.collect(8, "run")
    assert {event["worker"] for event in new} == set(range(8))
    assert not {event.pid for event in new} & old
    serving = 0
    for event in program.events:
        serving += {"init": 1, "terminate": -1}.get(event.name, 0)
        if program.all("building").index(waiting[0]) == 0 and event.at > waiting[0].at:
            assert serving >= 6
    assert program.stop() == 0


def test_07_one_of_few_workers_at_a_time(start):
    """Of two workers the second restarts when the first one is ready again."""
    program = start(SCRIPT, "rolling", "2")
    old = {event["worker"]: event.pid for event in program.collect(2, "run")}
    program.signal(HUP)
    first = program.wait_for("building")["worker"]
    assert alive(old[1 - first])
    assert not program.all("terminate", worker=1 - first)
    program.open_gate("build")
    program.wait_for("terminate", worker=1 - first)
    program.collect(2, "run")
    assert program.stop() == 0


# 8 ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_08_a_death_is_noticed_under_every_start_method(start, method):
    """A worker that multiprocessing has started is replaced when it dies."""
    program = start(SCRIPT, "start_method", method)
    runs = program.collect(2, "run")
    program.signal(KILL, runs[0].pid)
    assert program.wait_for("run")["worker"] == runs[0]["worker"]
    assert program.stop() == 0


def test_08_an_early_hup_is_not_lost(start):
    """Under spawn, a HUP at the very beginning of run() reloads what is started."""
    program = start(SCRIPT, "early_hup")
    assert program.wait_for("all ready")["generation"] == 1
    assert program.stop() == 0


def test_08_a_hup_spares_the_resource_tracker(start):
    """Under spawn, a HUP reloads the workers and leaves multiprocessing's tracker alone."""
    program = start(SCRIPT, "start_method", "spawn")
    program.collect(2, "run")
    (tracker,) = (pid for pid in descendants(program.pid) if "resource_tracker" in title(pid))
    program.signal(HUP)
    program.collect(2, "terminate")
    program.collect(2, "run")
    assert alive(tracker)
    assert program.stop() == 0


# 9 ----------------------------------------------------------------------------------------


def test_09_a_terminate_hook_that_exits_stops_nothing(start):
    """SystemExit in an on_terminate hook leaves the stop as graceful as it was."""
    program = start(SCRIPT, "bad_terminate_hook", "exit", "60")
    program.wait_for("run")
    assert program.stop() == 0
    program.wait_for("hook")
    program.wait_for("terminate")


@pytest.mark.parametrize("how", ["hang", "stubborn", "c"])
def test_09_a_terminate_hook_that_hangs_is_bounded(start, how):
    """A hook that hangs, even one that catches exceptions or is stuck in C, delays no stop."""
    program = start(SCRIPT, "bad_terminate_hook", how, "2")
    run = program.wait_for("run")
    status = program.stop()
    wait_gone(run.pid)
    if how == "c":
        assert status != 0
    else:
        assert status == 0
        program.wait_for("terminate")


def test_09_a_freeze_is_no_proof_of_a_stuck_master():
    """A master is not killed for what it did not do while the whole machine was suspended."""
    table = Table()
    table.patience = 1 * SECOND
    table.stop_by = 100 * SECOND
    late = _Late(table)
    assert not late.look(101 * SECOND)
    assert not late.look(901 * SECOND)  # as if nothing ran for 800 seconds
    looks = 1
    while not late.look((901 + looks) * SECOND):
        looks += 1
    assert looks == pytest.approx(1 / GLANCE, abs=2)


@pytest.mark.parametrize("kind", ["on_reload", "on_dead_worker", "on_terminate"])
@pytest.mark.parametrize("end", [TERM, INT], ids=["TERM", "INT"])
def test_09_a_hanging_hook_holds_up_no_end(start, kind, end):
    """TERM ends everything within the graceful timeout and INT at once, even during a hook."""
    program = start(SCRIPT, "hanging_hook", kind, "3" if end == TERM else "1000")
    runs = program.collect(2, "run")
    if kind == "on_reload":
        program.signal(HUP)
    elif kind == "on_dead_worker":
        program.signal(KILL, runs[0].pid)
    else:
        program.signal(TERM)
    program.wait_for("hook")
    program.signal(end)
    assert program.wait() == (1 if end == INT else 0)


@pytest.mark.parametrize("end", [TERM, INT], ids=["TERM", "INT"])
def test_09_a_hook_that_swallows_its_interruption_is_bounded(start, end):
    """A hook that cannot be interrupted is ended with the master, by the guard."""
    program = start(SCRIPT, "stubborn_hook", "2" if end == TERM else "1000")
    program.collect(2, "run")
    program.signal(HUP)
    program.wait_for("hook")
    program.signal(end)
    assert program.wait() == -KILL


def test_09_a_hook_does_not_hold_up_the_respawn(start):
    """A dead worker is replaced although the hook that is told of its death hangs."""
    program = start(SCRIPT, "hanging_hook", "on_dead_worker", "3")
    runs = program.collect(2, "run")
    program.signal(KILL, runs[0].pid)
    program.wait_for("hook")
    program.wait_for("run", worker=runs[0]["worker"])


@pytest.mark.parametrize(("how", "code"), [("nothing", 0), ("a last word", 1), ("7", 7)])
def test_09_sys_exit_in_terminate_ends_the_worker(start, how, code):
    """sys.exit() in terminate() ends the worker at once, with the status that it says."""
    program = start(SCRIPT, "exit_in_terminate", how)
    run = program.wait_for("run")
    program.signal(TERM, run.pid)
    assert program.wait_for("dead")["code"] == code
    program.wait_for("run")
    assert program.stop() == 0
    assert ("a last word" in program.stderr()) == (code == 1)


# 10: see also test_contract_oslo.py ---------------------------------------------------------


@pytest.mark.parametrize("method", ["reload", "mutate"])
def test_10_workers_reload_the_configuration(start, method):
    """After a HUP a worker with a reload() of its own sees the new configuration there."""
    pytest.importorskip("oslo_config", reason="needs oslo.config")
    program = start("oslo.py", "linked", method)
    assert program.wait_for("run")["color"] == "red"
    config = program.directory / "app.conf"
    config.write_text(config.read_text().replace("red", "blue"))
    program.signal(HUP)
    assert program.wait_for("reload")["color"] == "blue"
    assert len(program.all("run")) == 1
    assert program.stop() == 0


# 11 ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["handler", "thread", "ignored"])
def test_11_a_stolen_exit_status_hides_no_death(start, how):
    """A worker is replaced although somebody else has collected its exit status."""
    program = start(SCRIPT, "thief", how)
    for _ in range(2):
        run = program.wait_for("run")
        program.signal(KILL, run.pid)
        if how == "handler":
            program.wait_for("stolen", child=run.pid)
        code = program.wait_for("dead")["code"]
        assert code in {"handler": [255], "thread": [255, -KILL], "ignored": [-KILL]}[how]
    program.wait_for("run")
    assert program.stop() == 0


# 12 ---------------------------------------------------------------------------------------


def test_12_the_master_has_one_thread(start):
    """The master forks from a process with one thread, also when it starts a replacement."""
    program = start(SCRIPT, "many", "3", python=["-W", "error::DeprecationWarning"])
    runs = program.collect(3, "run")
    assert threads(program.pid) == 1
    program.signal(KILL, runs[0].pid)
    program.wait_for("run")
    program.signal(HUP)
    program.collect(3, "reload")
    assert threads(program.pid) == 1
    assert program.stop() == 0
    assert "DeprecationWarning" not in program.stderr()


# 13 ---------------------------------------------------------------------------------------


def test_13_run_returns_after_a_graceful_stop(start):
    """Code after super().run() in an overridden run() runs, when every worker is gone."""
    program = start(SCRIPT, "overridden_run")
    run = program.wait_for("run")
    assert program.stop() == 0
    program.wait_for("after")
    program.wait_for("returned")
    assert not alive(run.pid)


@pytest.mark.parametrize("end", [INT, ALRM], ids=["INT", "ALRM"])
def test_13_run_raises_after_any_other_stop(start, end):
    """run() raises SystemExit(1) after INT and ALRM."""
    program = start(SCRIPT, "overridden_run")
    program.wait_for("run")
    program.signal(end)
    assert program.wait() == 1
    program.wait_for("finally")
    assert not program.all("after")
    raised = program.wait_for("raised")
    assert (raised["kinds"][0], raised["code"]) == ("SystemExit", 1)


# 14 ---------------------------------------------------------------------------------------


def test_14_what_a_worker_has_buffered_arrives(start):
    """What a worker has printed, and put on a queue, is delivered once before it ends."""
    program = start(SCRIPT, "buffered")
    program.wait_for("run")
    program.signal(TERM)
    assert program.wait_for("queue")["items"] == list(range(100))
    assert program.wait() == 0
    printed = program.stdout()
    for line in ("printed by the master", "printed by run", "printed by terminate"):
        assert printed.count(line) == 1


def test_14_a_broken_stdout_harms_nothing(start):
    """A worker whose output has nobody to read it ends as it should."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        program = start(SCRIPT, "bad_stdout", "30", stdout=writer)
    finally:
        os.close(writer)
    run = program.wait_for("run")
    program.signal(TERM, run.pid)
    assert program.wait_for("dead")["code"] == 0
    program.wait_for("run")
    assert program.stop() == 0


def test_14_a_full_stdout_is_bounded(start):
    """A worker whose output is full ends at its own deadline."""
    reader, writer = os.pipe()
    try:
        os.set_blocking(writer, False)
        try:
            while True:
                os.write(writer, b"x" * 4096)
        except BlockingIOError:
            os.set_blocking(writer, True)
        program = start(SCRIPT, "bad_stdout", "1", stdout=writer)
        run = program.wait_for("run")
        program.signal(TERM, run.pid)
        assert program.wait_for("dead")["code"] == 1
        program.wait_for("run")
        program.signal(INT)
        assert program.wait() == 1
    finally:
        os.close(reader)
        os.close(writer)


# 15 ---------------------------------------------------------------------------------------


def test_15_a_failed_fork_is_tried_again(start):
    """Forks that fail are repeated until one succeeds."""
    program = start(SCRIPT, "failing_fork")
    run = program.wait_for("run")
    program.signal(USR1)
    program.wait_for("did")
    program.signal(KILL, run.pid)
    program.collect(3, "fork failed")
    program.wait_for("run")
    assert program.stop() == 0


def test_15_a_full_process_table_is_survived(start):
    """While the kernel refuses every fork the master waits, and goes on when it can."""
    if os.getuid():
        pytest.skip("needs root, to become a user whose processes are limited")
    program = start(SCRIPT, "full_table")
    run = program.wait_for("run")
    program.signal(USR1)
    program.wait_for("did", left=1)
    program.signal(KILL, run.pid)

    def refused() -> bool:
        program.signal(USR2)
        return program.wait_for("status")["reasons"].count("spawn failed") >= 2

    until(refused, "forks were refused")
    assert program.popen.poll() is None
    program.signal(USR1)
    program.wait_for("did", left=0)
    program.wait_for("run")
    assert program.stop() == 0


def test_15_a_closed_stderr_is_survived(start):
    """A master that cannot write its log goes on supervising."""
    program = start(SCRIPT, "closed_stderr")
    for _ in range(3):
        program.signal(KILL, program.wait_for("run").pid)
    program.wait_for("run")
    assert program.stop() == 0


def test_15_a_hook_that_exits_is_survived(start):
    """SystemExit in an on_dead_worker hook ends neither the master nor the respawning."""
    program = start(SCRIPT, "exiting_hook")
    for _ in range(2):
        program.signal(KILL, program.wait_for("run").pid)
        program.wait_for("hook")
    program.wait_for("run")
    assert program.stop() == 0


@pytest.mark.parametrize("how", ["ending", "hanging"])
def test_15_what_cannot_be_survived_is_loud(start, how):
    """When supervision itself fails, run() raises, and the workers end in bounded time."""
    program = start(SCRIPT, "lost_poll", how)
    runs = program.collect(2, "run")
    program.signal(USR1)
    assert "Exception" in program.wait_for("raised")["kinds"]
    program.collect(2, "terminate")
    for run in runs:
        wait_gone(run.pid)
    program.open_gate("exit")
    assert program.wait() == 1
    assert "Traceback" in program.stderr()


# 16 ---------------------------------------------------------------------------------------


def test_16_only_workers_are_signalled(start):
    """HUP and INT to the master reach neither its neighbours nor the workers' helpers."""
    neighbour = subprocess.Popen(["sleep", "1000"], process_group=0)
    try:
        program = start(SCRIPT, "helped", process_group=neighbour.pid)
        run = program.wait_for("run")
        program.signal(HUP)
        program.wait_for("reload")
        assert alive(run["helper"])
        assert alive(run.pid)
        assert neighbour.poll() is None
        program.signal(INT)
        assert program.wait() == 1
        assert neighbour.poll() is None
        wait_gone(run["helper"])
    finally:
        neighbour.kill()
        neighbour.wait()


# 17 ---------------------------------------------------------------------------------------


def test_17_a_young_child_can_be_terminated(start):
    """Process.terminate() on a child that has just begun ends that child and nothing else."""
    program = start(SCRIPT, "young_children")
    assert program.wait_for("before")["codes"] == [-TERM] * 40
    assert program.wait_for("run")["codes"] == [-TERM] * 40
    program.signal(HUP)
    assert program.wait_for("hook")["codes"] == [-TERM] * 40
    program.wait_for("reload")
    assert not program.all("terminate")
    assert not program.all("dead")
    assert program.stop() == 0


# 18 ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["hook", "asyncio", "handler"])
def test_18_a_stolen_wakeup_makes_no_master_deaf(start, how):
    """Signals reach a master whose wakeup descriptor was replaced or taken away."""
    program = start(SCRIPT, "deaf", how)
    program.wait_for("run")
    if how == "handler":
        program.signal(USR1)
        program.wait_for("did")
    for _ in range(30):
        program.signal(HUP)
        program.wait_for("hook")
        program.wait_for("reload")
    assert program.stop() == 0
    program.wait_for("terminate")


@pytest.mark.parametrize("how", ["worker", "worker-asyncio"])
def test_18_a_stolen_wakeup_makes_no_worker_deaf(start, how):
    """Signals reach a worker whose wakeup descriptor was replaced."""
    program = start(SCRIPT, "deaf", how)
    run = program.wait_for("run")
    for _ in range(50):
        program.signal(HUP, run.pid)
        program.wait_for("reload", pid=run.pid)
    program.signal(TERM, run.pid)
    program.wait_for("terminate", pid=run.pid)
    program.wait_for("run")
    assert program.stop() == 0


def test_18_an_inherited_mask_makes_nobody_deaf(start):
    """Signals that the parent process had blocked reach the master and its workers."""
    blocked = (
        "import os, signal, sys; "
        "signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 32)); "
        "os.execv(sys.argv[1], sys.argv[1:])"
    )
    program = start(SCRIPT, "many", "1", prefix=[sys.executable, "-c", blocked])
    run = program.wait_for("run")
    program.signal(HUP)
    program.wait_for("reload")
    program.signal(TERM, run.pid)
    program.wait_for("terminate")
    program.wait_for("run")
    assert program.stop() == 0


# 19 ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("late", [TERM, HUP, ALRM], ids=["TERM", "HUP", "ALRM"])
def test_19_a_signal_after_the_stop_changes_nothing(start, late):
    """A signal after run(), and while the interpreter shuts down, leaves the status 0."""
    program = start(SCRIPT, "late_signals")
    program.wait_for("run")
    program.signal(TERM)
    program.wait_for("returned")
    program.signal(late)
    program.open_gate("return")
    program.wait_for("atexit")
    program.signal(late)
    program.open_gate("exit")
    assert program.wait() == 0


# 20 ---------------------------------------------------------------------------------------


def test_20_a_hup_during_a_reload_is_kept(start):
    """HUPs to a worker during its reload() lead to exactly one more call afterwards."""
    program = start(SCRIPT, "slow_reload")
    run = program.wait_for("run")
    program.signal(HUP, run.pid)
    program.wait_for("reload", count=1)
    for _ in range(3):
        program.signal(HUP, run.pid)
    assert not program.all("reload", count=2)
    program.open_gate("reload-1")
    program.wait_for("reloaded", count=1)
    program.wait_for("reload", count=2)
    program.open_gate("reload-2")
    program.wait_for("reloaded", count=2)
    program.open_gate("reload-3")
    assert program.stop() == 0
    assert len(program.all("reload")) == 2


def test_20_a_hup_to_the_master_during_a_reload_is_kept(start):
    """A HUP to the master during a worker's reload() leads to one more call afterwards."""
    program = start(SCRIPT, "slow_reload")
    program.wait_for("run")
    program.signal(HUP)
    program.wait_for("reload", count=1)
    program.signal(HUP)
    program.open_gate("reload-1")
    program.wait_for("reload", count=2)
    program.open_gate("reload-2")
    program.wait_for("reloaded", count=2)
    assert program.stop() == 0


def test_20_a_timeout_may_have_a_fraction(start):
    """graceful_shutdown_timeout=1.5 stops what hangs, as any other number does."""
    program = start(SCRIPT, "stuck", "terminate", "1.5")
    program.wait_for("run")
    assert program.stop() == 1


# 21 ---------------------------------------------------------------------------------------


def test_21_workers_inherit_nothing_of_their_siblings(start):
    """The last of many workers has as many descriptors as the first."""
    program = start(SCRIPT, "many", "12")
    runs = {event["worker"]: event.pid for event in program.collect(12, "run")}
    counts = {worker: len(descriptors(pid)) for worker, pid in runs.items()}
    assert len(set(counts.values())) == 1, counts
    program.signal(KILL, runs[0])
    again = program.wait_for("run", worker=0)
    assert len(descriptors(again.pid)) == counts[11]
    sockets = [
        {target for target in descriptors(pid).values() if target.startswith("socket:")}
        for pid in runs.values()
        if pid != runs[0]
    ]
    # One leads from all of them to the master: what services say of themselves goes there.
    assert len(set.intersection(*sockets)) == 1
    assert program.stop() == 0


# 22 ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", [TERM, INT, ALRM, KILL], ids=lambda s: s.name)
def test_22_nothing_outlives_the_master(start, end):
    """Workers stuck in C, stopped or hanging in a hook or __init__ end with the master."""
    program = start(SCRIPT, "stuck_anyhow", "1" if end in (TERM, KILL) else "1000")
    stuck = program.collect(7, "stuck")
    assert len({event["way"] for event in stuck}) == 7
    program.signal(end)
    assert program.wait() == (-KILL if end == KILL else 1)
    for event in stuck:
        wait_gone(event.pid)


@pytest.mark.parametrize("end", [TERM, INT, KILL], ids=lambda s: s.name)
def test_22_a_worker_that_ignores_signals_ends(start, end):
    """A worker that ignores each signal, and whose terminate() hangs, ends with the master."""
    program = start(SCRIPT, "deaf_to_everything", "1")
    run = program.wait_for("run")
    program.signal(end)
    assert program.wait() == (-KILL if end == KILL else 1)
    wait_gone(run.pid)


def test_22_a_stopped_master_is_no_reason_to_end(start):
    """While the master is stopped its workers go on, and afterwards it goes on, too."""
    program = start(SCRIPT, "many", "1")
    run = program.wait_for("run")
    program.pause(program.pid)
    program.signal(HUP, run.pid)
    program.wait_for("reload")
    program.signal(signal.SIGCONT)
    program.signal(HUP)
    program.wait_for("reload")
    assert program.stop() == 0


def test_22_a_dead_guard_is_replaced(start):
    """The guard process is started again when it dies, and holds again."""
    program = start(SCRIPT, "stuck", "stopped", "1")
    run = program.wait_for("run")
    guard = program.guard()
    program.signal(KILL, guard)
    wait_gone(guard)
    until(lambda: program.guard() != guard, "there is another guard")
    program.pause(run.pid)
    program.signal(KILL)
    assert program.wait() == -KILL
    wait_gone(run.pid)
    wait_gone(run["child"])


# 23 ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", [TERM, INT], ids=["TERM", "INT"])
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_23_a_stop_during_the_imports_is_bounded(start, method, end):
    """A stop while workers still import their modules ends within the graceful timeout."""
    program = start(SCRIPT, "importing", method, env={"IMPORT_SLOWLY": "1"})
    importing = program.collect(2, "importing")
    program.signal(end)
    assert program.wait() == 1
    for event in importing:
        wait_gone(event.pid)


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
@pytest.mark.parametrize("what", ["hook", "argument", "service"])
def test_23_what_does_not_pickle_is_named(start, method, what):
    """Something that does not pickle is a clear error that names it, before any worker."""
    program = start(SCRIPT, "not_pickled", method, what)
    assert "TypeError" in program.wait_for("raised")["kinds"]
    assert program.wait() == 1
    error = program.stderr().strip().splitlines()[-1]
    assert {"hook": "local_hook", "argument": "args[0]", "service": "<lambda>"}[what] in error
    assert method in error
    assert not program.all("init")
