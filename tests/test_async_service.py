"""Services that are event loops: their methods, how they end, and what they leave alone."""

import signal
import socket

import pytest

from tests.harness import Program, alive, descriptors, threads, until, wait_gone

pytestmark = pytest.mark.real

SCRIPT = "looping.py"
TERM, INT, HUP, ALRM, KILL = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGALRM,
    signal.SIGKILL,
)


def names(program: Program, pid: int) -> list[str]:
    """Return what a process has said."""
    program.all("")
    return [event.name for event in program.events if event.pid == pid]


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_one_thread(start, method):
    """Everything runs in the main thread, which is the only one of the worker."""
    program = start(SCRIPT, "habit", "Reloader", "none", method)
    program.open_gate("reload-1")
    run = program.wait_for("run")
    assert run["loop"].startswith("asyncio")
    program.signal(HUP)
    program.wait_for("reloaded")
    assert threads(run.pid) == 1
    assert program.stop() == 0
    assert names(program, run.pid) == [
        "init",
        "run",
        "reload",
        "reloaded",
        "terminate",
        "cancelled",
    ]
    said = [event for event in program.events if event.pid == run.pid]
    assert all(event["main"] and event["threads"] == 1 for event in said)


def test_uvloop(start):
    """A loop of another make behaves as asyncio's own."""
    pytest.importorskip("uvloop", reason="needs uvloop")
    program = start(SCRIPT, "habit", "UvLooper")
    run = program.wait_for("run")
    assert run["loop"].startswith("uvloop")
    program.signal(HUP, run.pid)
    program.wait_for("reload", number=1)
    program.open_gate("reload-1")
    program.wait_for("reloaded")
    assert threads(run.pid) == 1
    program.signal(TERM, run.pid)
    program.wait_for("cancelled")
    assert program.wait_for("dead")["code"] == 0
    again = program.wait_for("run")
    program.signal(INT, again.pid)
    assert program.wait_for("dead")["code"] == 1
    program.stop()


@pytest.mark.parametrize("by", ["the manager", "a signal", "its master's death"])
def test_a_graceful_end(start, by):
    """At the end terminate() is called, then run() is cancelled, and the status is 0."""
    program = start(SCRIPT, "habit", "Looper")
    run = program.wait_for("run")
    if by == "a signal":
        program.signal(TERM, run.pid)
        assert program.wait_for("dead")["code"] == 0
        program.wait_for("run")
        assert program.stop() == 0
    elif by == "the manager":
        assert program.stop() == 0
    else:
        program.signal(KILL)
        program.wait()
        wait_gone(run.pid)
    assert names(program, run.pid) == ["init", "run", "terminate", "cancelled"]


def test_a_signal_while_it_is_built(start):
    """A TERM that arrives while the service is built is handled right after."""
    program = start(SCRIPT, "habit", "Impatient")
    program.wait_for("terminate")
    assert program.wait_for("dead")["code"] == 0
    program.stop()


@pytest.mark.parametrize("signum", [INT, ALRM], ids=["INT", "ALRM"])
def test_an_end_at_once(start, signum):
    """INT and ALRM end a worker at once, with status 1."""
    program = start(SCRIPT, "habit", "Looper")
    run = program.wait_for("run")
    program.signal(signum, run.pid)
    assert program.wait_for("dead")["code"] == 1
    assert names(program, run.pid) == ["init", "run"]
    program.stop()


@pytest.mark.parametrize("service", ["Returning", "Idle"])
def test_a_run_that_returns(start, service):
    """A worker whose run() has returned, or that has none, lives on."""
    program = start(SCRIPT, "habit", service)
    init = program.wait_for("init")
    if service == "Returning":
        program.wait_for("run")
    until(lambda: threads(init.pid) == 1 and alive(init.pid), "it lives")
    assert program.stop() == 0
    assert not program.all("dead")


def test_everything_is_tidied_up(start):
    """Tasks that are left are cancelled and waited for, then generators are closed."""
    program = start(SCRIPT, "habit", "Tidy")
    run = program.wait_for("run")
    assert program.stop() == 0
    said = names(program, run.pid)
    assert said[:4] == ["init", "run", "terminate", "cancelled"]
    assert said[4:] == ["task ended"] * 4 + ["generator closed"] or sorted(said[4:]) == [
        "generator closed",
        *["task ended"] * 4,
    ]
    assert {event["number"] for event in program.all("task ended")} == {0, 1, 2, 3}
    assert program.stderr() == ""


def test_run_is_cancelled_first(start):
    """run() can still rely on other tasks when it cleans up."""
    program = start(SCRIPT, "habit", "Flushing")
    run = program.wait_for("run")
    assert program.stop() == 0
    assert names(program, run.pid) == ["init", "run", "terminate", "cancelled", "flushed"]


@pytest.mark.parametrize("service", ["Signalled", "UvSignalled"])
def test_a_loop_with_signals_of_its_own(start, service):
    """Handlers and processes of the loop work besides the worker's own signals."""
    if service == "UvSignalled":
        pytest.importorskip("uvloop", reason="needs uvloop")
    program = start(SCRIPT, "habit", service)
    assert program.wait_for("process")["status"] == 0
    run = program.wait_for("run")
    for _ in range(2):
        program.signal(signal.SIGUSR1, run.pid)
        program.wait_for("signalled", main=True)
    program.signal(TERM, run.pid)
    program.wait_for("cancelled")
    assert program.wait_for("dead")["code"] == 0
    program.wait_for("run")
    assert program.stop() == 0


@pytest.mark.parametrize("service", ["Own", "Canceller"])
def test_a_service_may_cancel_its_tasks(start, service):
    """A terminate() that cancels run(), or every task, or stops the loop, is no failure."""
    program = start(SCRIPT, "habit", service)
    run = program.wait_for("run")
    program.signal(TERM, run.pid)
    program.wait_for("cancelled")
    assert program.wait_for("dead")["code"] == 0
    program.wait_for("run")
    assert program.stop() == 0
    assert "Traceback" not in program.stderr()


@pytest.mark.parametrize("how", ["cancel", "terminate", "block", "blocked"])
def test_the_graceful_timeout(start, how):
    """What takes longer than the graceful timeout ends with status 1, also a blocked loop."""
    program = start(SCRIPT, "stubborn", how)
    run = program.wait_for("run")
    program.signal(TERM, run.pid)
    assert program.wait_for("dead", timeout=10)["code"] == 1
    assert ("ignored" in names(program, run.pid)) == (how == "cancel")
    program.signal(INT)
    program.wait()


def test_a_loop_that_is_stuck_in_c(start):
    """A loop that no signal interrupts is killed by the manager."""
    program = start(SCRIPT, "stubborn", "c")
    run = program.wait_for("run")
    program.signal(TERM)
    program.wait_for("terminate")
    program.wait()
    assert not alive(run.pid)


@pytest.mark.parametrize(
    ("where", "how", "code"),
    [
        ("init", "raise", 1),
        ("init", "7", 7),
        ("factory", "raise", 1),
        ("run", "raise", 2),
        ("run", "base", 2),
        ("run", "cancelled", 2),
        ("run", "7", 7),
        ("run", "0", 0),
        ("run", "bye", 1),
        ("terminate", "raise", 2),
        ("terminate", "7", 7),
        ("reload", "raise", 2),
        ("reload", "7", 7),
        ("cancelled run", "raise", 2),
        ("cancelled run", "7", 7),
        ("task", "7", 7),
        ("task", "bye", 1),
        ("awaited", "7", 7),
        ("awaited", "raise", 2),
        ("callback", "7", 7),
    ],
)
def test_exit_statuses(start, where, how, code):
    """Exceptions and sys.exit() end a worker with the statuses of a Service, without noise."""
    program = start(SCRIPT, "leaving", where, how)
    if where in {"terminate", "cancelled run"}:
        program.signal(TERM, program.wait_for("run").pid)
    elif where == "reload":
        program.signal(HUP, program.wait_for("run").pid)
    assert program.wait_for("dead")["code"] == code
    program.signal(INT)
    program.wait()
    errors = program.stderr()
    assert "ERROR:asyncio" not in errors
    assert ("Traceback" in errors) == (how in {"raise", "base", "cancelled"})
    if how == "bye":
        assert "bye" in errors.splitlines()
        # The first worker and, where it leaves by itself, the one that replaced it.
        assert errors.splitlines().count("bye") <= 2


@pytest.mark.parametrize("loop", ["task", "awaited"])
def test_exit_statuses_of_uvloop(start, loop):
    """sys.exit() in a task ends a worker of another loop as well."""
    pytest.importorskip("uvloop", reason="needs uvloop")
    program = start(SCRIPT, "leaving_uvloop", loop)
    assert program.wait_for("dead")["code"] == 7
    program.signal(INT)
    program.wait()
    assert "Traceback" not in program.stderr()


def test_a_run_that_is_no_coroutine(start):
    """A run() without async is a failure that says so."""
    program = start(SCRIPT, "habit", "NotAsync")
    assert program.wait_for("dead")["code"] == 2
    program.stop()
    assert "run() of Looper must be a coroutine ('async def')" in program.stderr()


# --- reload -------------------------------------------------------------------------------


def test_reloads_one_at_a_time(start):
    """Signals that arrive during a reload() lead to one more, after it."""
    program = start(SCRIPT, "habit", "Reloader")
    run = program.wait_for("run")
    program.signal(HUP, run.pid)
    program.wait_for("reload", number=1)
    for _ in range(3):
        program.signal(HUP, run.pid)
    program.open_gate("reload-1")
    program.wait_for("reloaded", number=1)
    program.wait_for("reload", number=2)
    program.open_gate("reload-2")
    program.wait_for("reloaded", number=2)
    assert program.stop() == 0
    assert len(program.all("reload")) == 2


def test_terminate_waits_for_a_reload(start):
    """terminate() waits for the reload() that is running, and no other one follows."""
    program = start(SCRIPT, "habit", "Reloader")
    run = program.wait_for("run")
    program.signal(HUP, run.pid)
    program.wait_for("reload")
    program.signal(HUP, run.pid)
    program.signal(TERM, run.pid)
    program.open_gate("reload-1")
    assert program.wait_for("dead")["code"] == 0
    assert names(program, run.pid) == [
        "init",
        "run",
        "reload",
        "reloaded",
        "terminate",
        "cancelled",
    ]
    program.stop()


@pytest.mark.parametrize("service", ["Restarter", "BaseReloader"])
def test_a_restart(start, service):
    """A service without a reload(), or with one that calls the base class, is restarted."""
    program = start(SCRIPT, "habit", service)
    run = program.wait_for("run")
    program.signal(HUP)
    program.wait_for("terminate", pid=run.pid)
    again = program.wait_for("run")
    assert again.pid != run.pid
    assert program.stop() == 0


# --- what it does to others ---------------------------------------------------------------


def test_a_server(start):
    """A server of streams works, and is closed at the end."""
    program = start(SCRIPT, "habit", "Server")
    run = program.wait_for("run")
    with socket.create_connection(("127.0.0.1", run["port"]), timeout=10) as client:
        client.sendall(b"hello\n")
        assert client.recv(100) == b"hello\n"
    assert threads(run.pid) == 1
    assert program.stop() == 0
    assert program.stderr() == ""


def test_ready_when_told(start):
    """ready() can be called in the loop, which runs before the worker is ready."""
    program = start(SCRIPT, "habit", "TellingLater")
    run = program.wait_for("run")
    program.open_gate("ready")
    until(lambda: threads(run.pid) == 1, "it lives")
    assert program.stop() == 0


def test_descriptors(start):
    """The loop has few descriptors besides those of every worker."""
    program = start(SCRIPT, "habit", "Looper")
    run = program.wait_for("run")
    assert len(descriptors(run.pid)) <= 8 + 3
    assert program.stop() == 0


def test_asyncio_is_imported_where_it_is_used(start):
    """Neither the master nor a worker with threads imports asyncio."""
    program = start(SCRIPT, "lazily")
    assert program.wait_for("run")["asyncio"] is False
    assert program.wait_for("loop")["asyncio"] is True
    program.signal(HUP)
    assert program.wait_for("master")["asyncio"] is False
    assert program.stop() == 0
