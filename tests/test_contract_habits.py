"""What existing programs do, and rely on."""

import os
import shutil
import signal
import subprocess

import pytest

from tests.harness import alive, descendants, title, until, wait_gone

SCRIPT = "contract.py"
TERM, INT, HUP, KILL = signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL
USR1, USR2, WINCH = signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH

pytestmark = pytest.mark.real


# --- services -----------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["class", "factory", "partial", "lambda"])
def test_services_are_called(start, how):
    """add() takes a class or any factory, called with the id and what add() was given."""
    program = start(SCRIPT, "called", how)
    received = program.collect(2, "received")
    assert {event["worker"] for event in received} == {0, 1}
    color = {"color": "red"} if how == "partial" else {}
    for event in received:
        assert (event["args"], event["kwargs"]) == (["a", 1], {"size": 2, **color})
    assert program.stop() == 0


def test_a_forgotten_super_init(start):
    """A service that does not call super().__init__() has its worker_id all the same."""
    program = start(SCRIPT, "called", "class")
    assert {event["worker"] for event in program.collect(2, "run")} == {0, 1}
    assert program.stop() == 0


def test_the_parent_is_the_master(start):
    """os.getppid() in a worker is the master."""
    program = start(SCRIPT, "called", "class")
    assert {event["parent"] for event in program.collect(2, "run")} == {program.pid}
    assert program.stop() == 0


def test_threads_without_run(start):
    """A worker whose __init__ has started threads, and that has no run(), lives on."""
    program = start(SCRIPT, "threaded")
    working = program.wait_for("working")
    assert program.stop() == 0
    assert program.wait_for("worked").pid == working.pid
    assert len(program.all("working")) == 1


def test_calling_the_base_class(start):
    """super().run() and super().terminate() can be called."""
    program = start(SCRIPT, "super_caller")
    program.wait_for("run")
    assert program.stop() == 0
    program.wait_for("terminate")


def test_ids_are_stable(start):
    """After many deaths the ids are still 0 to n - 1, each once."""
    program = start(SCRIPT, "plain", "3")
    live = {event["worker"]: event.pid for event in program.collect(3, "run")}
    for worker in (1, 0, 2, 1):
        program.signal(KILL, live[worker])
        again = program.wait_for("run")
        assert again["worker"] == worker
        live[worker] = again.pid
    assert sorted(program.workers()) == sorted(live.values())
    assert program.stop() == 0


# --- multiprocessing ----------------------------------------------------------------------


@pytest.mark.parametrize("used", ["fresh", "used"])
def test_shared_objects(start, used):
    """Queues, locks, events, values and managers work as arguments, used before or not."""
    program = start(SCRIPT, "shared", used)
    if used == "used":
        assert program.wait_for("own")["item"] == "from the master"
    until(lambda: len(program.workers()) >= 3, "the workers are there")
    program.signal(USR1)
    assert {e["worker"]: e["child"] for e in program.collect(3, "run")} == {0: 0, 1: 0, 2: 0}
    program.signal(TERM)
    shared = program.wait_for("shared")
    before = 10 if used == "used" else 0
    assert shared["value"] == before + 3
    assert sorted(map(str, shared["list"])) == sorted(["0", "1", "2"] + ["master"] * (before > 0))
    assert shared["queue"] == sorted([w, i] for w in ("child", "worker") for i in range(3))
    assert program.wait() == 0


def test_what_does_not_pickle_can_be_inherited(start):
    """Under fork, locks, files and lambdas can be arguments."""
    program = start(SCRIPT, "unpicklable")
    got = program.wait_for("got")
    assert (got["result"], got["name"]) == (3, os.devnull)
    assert program.stop() == 0


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_mp_context_may_come_late(start, method):
    """A context that is assigned after add() starts the workers, and everything else works."""
    program = start(SCRIPT, "late_context", method)
    assert program.wait_for("before")["method"] == "fork"
    assert program.wait_for("after")["method"] == method
    runs = {event["worker"]: event.pid for event in program.collect(2, "run")}
    main = "__main__" if method == "fork" else "__mp_main__"
    assert {event["main"] for event in program.collect(2, "new")} <= {main, "__main__"}
    program.signal(HUP)
    program.collect(2, "terminate")
    again = {event["worker"]: event.pid for event in program.collect(2, "run")}
    assert set(again) == {0, 1}
    assert not set(again.values()) & set(runs.values())
    program.collect(2, "dead")
    program.signal(TERM, again[1])
    assert program.wait_for("dead")["worker"] == 1
    program.wait_for("run", worker=1)
    assert program.stop() == 0


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_killed_master_under_other_start_methods(start, method):
    """Workers that multiprocessing has started notice the master's death, too."""
    program = start(SCRIPT, "late_context", method)
    runs = program.collect(2, "run")
    program.signal(KILL)
    program.wait()
    program.collect(2, "terminate")
    for run in runs:
        wait_gone(run.pid)


# --- managers -----------------------------------------------------------------------------


def test_logging_may_be_set_up_late(start):
    """Logging that is configured after the manager was built gets its lines, by its name."""
    program = start(SCRIPT, "late_logging")
    program.signal(KILL, program.wait_for("run").pid)
    program.wait_for("run")
    assert program.stop() == 0
    lines = program.stderr().splitlines()
    assert lines
    assert all(line.startswith(("cotyledon says:", "cotyledon.")) for line in lines)


@pytest.mark.deadline(90)
def test_several_managers_in_turn(start):
    """After a reset of the seatbelt another manager runs in the same process."""
    program = start(SCRIPT, "one_after_another")
    assert program.wait() == 0
    assert [event["number"] for event in program.collect(3, "round")] == [0, 1, 2]


def test_no_services(start):
    """A manager without services runs until it is told to stop."""
    program = start(SCRIPT, "nothing_to_do")
    program.wait_for("ready")
    program.guard()
    program.signal(USR1)
    program.wait_for("did")
    assert program.popen.poll() is None
    assert program.stop() == 0


def test_shutdown_from_threads(start):
    """shutdown() can be called by several threads, several times, and after run()."""
    program = start(SCRIPT, "from_threads")
    program.wait_for("run")
    program.open_gate("stop")
    assert program.wait() == 0
    program.wait_for("terminate")
    program.wait_for("still here")


def test_shutdown_in_a_worker(start):
    """shutdown() in a worker ends that worker, gracefully, and nothing else."""
    program = start(SCRIPT, "shutdown_in_worker")
    run = program.wait_for("run", service="Stopper")
    other = program.wait_for("run", service="Reloader")
    program.open_gate("stop")
    program.wait_for("terminate", pid=run.pid)
    assert program.wait_for("dead")["code"] == 0
    assert alive(other.pid)
    assert program.popen.poll() is None
    program.signal(INT)
    assert program.wait() == 1


def test_add_while_it_runs(start):
    """A service that a thread adds while the manager runs starts at once."""
    program = start(SCRIPT, "add_while_running")
    program.wait_for("run", service="Reloader")
    program.open_gate("add")
    assert {event["worker"] for event in program.collect(2, "run", service="Talker")} == {0, 1}
    assert program.stop() == 0
    assert len(program.all("terminate")) == 3


# --- handlers -----------------------------------------------------------------------------


@pytest.mark.parametrize("when", ["before", "after"])
def test_handlers_of_the_program(start, when):
    """Handlers that the program has installed run in the master, and in forked workers."""
    program = start(SCRIPT, "user_handlers", when)
    run = program.wait_for("run")
    for signum in (USR1, USR2, WINCH):
        program.signal(signum)
        assert program.wait_for("own handler", signal=signum).pid == program.pid
        program.signal(signum, run.pid)
        assert program.wait_for("own handler", signal=signum).pid == run.pid
    assert program.stop() == 0


def test_handlers_for_our_signals(start):
    """Handlers for TERM and HUP, of the program or of a service, are called besides ours."""
    program = start(SCRIPT, "handlers_of_ours")
    run = program.wait_for("run")
    program.signal(HUP)
    assert program.wait_for("master's handler").pid == program.pid
    program.wait_for("reload")
    program.signal(HUP, run.pid)
    program.wait_for("own handler", signal=HUP)
    program.wait_for("reload", pid=run.pid)
    program.signal(TERM, run.pid)
    program.wait_for("own handler", signal=TERM)
    program.wait_for("terminate", pid=run.pid)
    program.wait_for("run")
    program.signal(TERM)
    program.wait_for("master's handler", signal=TERM)
    assert program.wait() == 0


# --- containers ---------------------------------------------------------------------------


def namespaces() -> bool:
    """Tell whether a process can be PID 1 here."""
    if shutil.which("unshare") is None:
        return False
    test = ["unshare", "--fork", "--pid", "--mount-proc", "true"]
    return subprocess.run(test, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("end", [TERM, INT], ids=["TERM", "INT"])
def test_pid_1(start, end):
    """As PID 1 of a container the master handles signals, replaces the dead, and ends."""
    if not namespaces():
        pytest.skip("needs root, and unshare(1)")
    program = start(
        SCRIPT, "plain", "2", prefix=["unshare", "--fork", "--pid", "--mount-proc", "--kill-child"]
    )
    program.collect(2, "run")
    (master,) = (p.pid for p in descendants(program.pid).values() if p.ppid == program.pid)
    assert "master process" in title(master)
    table = descendants(master)
    worker = next(pid for pid in table if title(pid).endswith("worker(1)"))
    os.kill(worker, KILL)
    assert program.wait_for("dead")["code"] == -KILL
    assert program.wait_for("run")["worker"] == 1
    os.kill(master, HUP)
    program.collect(2, "terminate")
    program.collect(2, "run")
    assert not [p for p in descendants(master).values() if p.state == "Z"]
    os.kill(master, end)
    assert program.wait() == (0 if end == TERM else 1)
