"""What signals do to the master and to its workers, and how each of them ends."""

import signal

import pytest

from tests.harness import alive, threads, title, until, wait_gone

pytestmark = pytest.mark.real

SCRIPT = "contract.py"
TERM, INT, HUP, ALRM, KILL = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGALRM,
    signal.SIGKILL,
)


# --- the master ---------------------------------------------------------------------------


def test_term_stops_gracefully(start):
    """TERM calls each worker's terminate() once, in another thread than run(), and exits 0."""
    program = start(SCRIPT, "threads")
    runs = program.collect(2, "run")
    program.signal(TERM)
    assert program.wait() == 0
    ends = program.collect(2, "terminate")
    assert {event.pid for event in ends} == {event.pid for event in runs}
    threads = {event.pid: event["thread"] for event in runs}
    assert all(event["thread"] != threads[event.pid] for event in ends)
    assert len(program.all("terminate")) == 2


def test_methods_and_threads(start):
    """__init__ runs in the main thread; run(), reload() and terminate() in others."""
    program = start(SCRIPT, "threads")
    runs = program.collect(2, "run")
    assert all(event["main"] for event in program.collect(2, "init"))
    program.signal(HUP)
    reloads = program.collect(2, "reload")
    threads = {event.pid: event["thread"] for event in runs}
    assert not any(event["main"] for event in (*runs, *reloads))
    assert all(event["thread"] != threads[event.pid] for event in reloads)
    assert program.stop() == 0


@pytest.mark.parametrize("end", [INT, ALRM], ids=["INT", "ALRM"])
def test_int_and_alrm_end_everything_at_once(start, end):
    """INT and ALRM call no hooks and no terminate(), and exit 1."""
    program = start(SCRIPT, "plain")
    runs = program.collect(2, "run")
    program.signal(end)
    assert program.wait() == 1
    for run in runs:
        wait_gone(run.pid)
    for name in ("terminate", "hook", "dead"):
        assert not program.all(name)


@pytest.mark.parametrize("second", [INT, ALRM], ids=["INT", "ALRM"])
def test_int_and_alrm_end_a_graceful_stop(start, second):
    """INT and ALRM end a graceful stop that is under way, and exit 1."""
    program = start(SCRIPT, "gated", "none", "1000")
    runs = program.collect(2, "run")
    program.signal(TERM)
    program.collect(2, "terminate")
    program.signal(second)
    assert program.wait() == 1
    for run in runs:
        wait_gone(run.pid)


def test_hup_restarts_services_without_reload(start):
    """On HUP a worker without a reload() of its own restarts, with the same worker_id."""
    program = start(SCRIPT, "plain")
    old = {event["worker"]: event.pid for event in program.collect(2, "run")}
    program.signal(HUP)
    new = {event["worker"]: event.pid for event in program.collect(2, "run")}
    assert set(new) == set(old) == {0, 1}
    assert not set(new.values()) & set(old.values())
    assert {e["worker"]: e["code"] for e in program.collect(2, "dead")} == {0: 0, 1: 0}
    assert len(program.all("terminate")) == 2
    assert program.stop() == 0


def test_hup_reloads_services_with_reload(start):
    """On HUP a worker with a reload() of its own reloads, and does not restart."""
    program = start(SCRIPT, "threads")
    runs = program.collect(2, "run")
    for _ in range(2):
        program.signal(HUP)
        reloads = program.collect(2, "reload")
        assert {event.pid for event in reloads} == {event.pid for event in runs}
    assert all(alive(event.pid) for event in runs)
    assert not program.all("terminate")
    assert program.stop() == 0


def test_a_reload_that_calls_the_base_class_restarts(start):
    """The base class's reload() restarts the worker."""
    program = start(SCRIPT, "base_reload")
    run = program.wait_for("run")
    program.signal(HUP)
    program.wait_for("reload", pid=run.pid)
    program.wait_for("terminate", pid=run.pid)
    assert program.wait_for("dead")["code"] == 0
    again = program.wait_for("run")
    assert (again["worker"], again.pid == run.pid) == (0, False)
    assert program.stop() == 0


def test_the_graceful_timeout_ends_the_stop(start):
    """What does not end within the graceful timeout is killed; status 1."""
    program = start(SCRIPT, "gated", "none", "1")
    runs = program.collect(2, "run")
    assert program.stop() == 1
    assert len(program.all("terminate")) == 2
    assert not program.all("terminated")
    for run in runs:
        wait_gone(run.pid)


def test_the_masters_timeout_bounds_the_workers(start):
    """A service's own longer timeout does not hold up the stop of the manager."""
    program = start(SCRIPT, "gated", "1000", "1")
    program.collect(2, "run")
    assert program.stop() == 1


def test_a_workers_own_timeout_may_be_shorter(start):
    """A service's own shorter timeout ends its worker with status 1; the stop is graceful."""
    program = start(SCRIPT, "gated", "0.5", "1000")
    run = program.collect(2, "run")[0]
    program.signal(TERM, run.pid)
    assert program.wait_for("dead")["code"] == 1
    program.wait_for("run")
    assert program.stop() in (0, 1)


@pytest.mark.parametrize(("own", "managers"), [("0", "1"), ("1", "0")])
def test_one_timeout_of_zero_leaves_the_other(start, own, managers):
    """A timeout of 0 bounds nothing, and the other one still holds."""
    program = start(SCRIPT, "gated", own, managers)
    runs = program.collect(2, "run")
    program.signal(TERM)
    program.collect(2, "terminate")
    program.wait()
    for run in runs:
        wait_gone(run.pid)
    assert not program.all("terminated")


def test_two_timeouts_of_zero_wait_for_ever(start):
    """Without any timeout a stop waits for terminate(), however long that takes."""
    program = start(SCRIPT, "gated", "0", "0")
    runs = program.collect(2, "run")
    program.signal(TERM)
    program.collect(2, "terminate")
    # Longer than any margin within which something might be killed.
    with pytest.raises(AssertionError):
        program.wait(timeout=2)
    assert all(alive(run.pid) for run in runs)
    program.open_gate("terminate")
    assert program.wait() == 0
    program.collect(2, "terminated")


@pytest.mark.parametrize("name", ["TERM", "HUP", "ALRM"])
def test_signals_before_run_are_kept(start, name):
    """A signal between the constructor and run() is handled as soon as run() has begun."""
    program = start(SCRIPT, "early", "signal")
    program.wait_for("made")
    program.signal(getattr(signal, f"SIG{name}"))
    program.open_gate("run")
    if name == "HUP":
        program.wait_for("hook")
        program.wait_for("run")
        assert program.stop() == 0
    else:
        assert program.wait() == {"TERM": 0, "ALRM": 1}[name]


def test_a_second_term_before_run_ends_the_program(start):
    """A program that never gets as far as run() can still be ended by TERM."""
    program = start(SCRIPT, "early", "signal")
    program.wait_for("made")

    def again() -> bool:
        if program.popen.poll() is None:
            program.signal(TERM)
        return program.popen.poll() is not None

    until(again, "the end of the program")
    assert program.wait() == -TERM


def test_shutdown_before_run(start):
    """shutdown() before run() makes run() end as soon as it has begun, gracefully."""
    program = start(SCRIPT, "early", "shutdown")
    assert program.wait() == 0
    program.wait_for("returned")


def test_a_killed_master_stops_its_workers_gracefully(start):
    """Each worker notices the master's death at once, and terminates."""
    program = start(SCRIPT, "plain", "3")
    runs = program.collect(3, "run")
    program.signal(KILL)
    assert program.wait() == -KILL
    program.collect(3, "terminate")
    for run in runs:
        wait_gone(run.pid)


@pytest.mark.parametrize(("own", "managers"), [("1", "1000"), ("1000", "1")])
def test_after_the_masters_death_workers_are_bounded(start, own, managers):
    """Without a master, a worker still ends within its timeout."""
    program = start(SCRIPT, "gated", own, managers)
    runs = program.collect(2, "run")
    program.signal(KILL)
    program.wait()
    program.collect(2, "terminate")
    for run in runs:
        wait_gone(run.pid)


# --- a worker -----------------------------------------------------------------------------


def test_term_to_a_worker(start):
    """A TERM to one worker ends that one gracefully, and it is respawned with its id."""
    program = start(SCRIPT, "threads")
    runs = {event["worker"]: event.pid for event in program.collect(2, "run")}
    program.signal(TERM, runs[1])
    program.wait_for("terminate", pid=runs[1])
    assert program.wait_for("dead", worker=1)["code"] == 0
    assert program.wait_for("run")["worker"] == 1
    assert alive(runs[0])
    assert len(program.all("terminate")) == 1
    assert program.stop() == 0


@pytest.mark.parametrize("end", [INT, ALRM], ids=["INT", "ALRM"])
def test_int_and_alrm_to_a_worker(start, end):
    """INT and ALRM end one worker at once, with status 1, and it is respawned."""
    program = start(SCRIPT, "threads")
    runs = {event["worker"]: event.pid for event in program.collect(2, "run")}
    program.signal(end, runs[0])
    assert program.wait_for("dead", worker=0)["code"] == 1
    assert program.wait_for("run")["worker"] == 0
    assert alive(runs[1])
    assert not program.all("terminate")
    assert program.stop() == 0


def test_hup_to_a_worker(start):
    """A HUP to one worker reloads that one alone."""
    program = start(SCRIPT, "threads")
    runs = {event["worker"]: event.pid for event in program.collect(2, "run")}
    program.signal(HUP, runs[1])
    assert program.wait_for("reload").pid == runs[1]
    assert program.stop() == 0
    assert len(program.all("reload")) == 1


def test_hup_to_a_worker_without_reload(start):
    """A HUP to one worker without a reload() of its own restarts that one alone."""
    program = start(SCRIPT, "plain")
    runs = {event["worker"]: event.pid for event in program.collect(2, "run")}
    program.signal(HUP, runs[1])
    program.wait_for("terminate", pid=runs[1])
    assert program.wait_for("run")["worker"] == 1
    assert alive(runs[0])
    assert program.stop() == 0


def test_terminate_is_called_once(start):
    """More TERMs while terminate() runs change nothing."""
    program = start(SCRIPT, "gated", "none", "60")
    run = program.wait_for("run", worker=0)
    program.signal(TERM, run.pid)
    program.wait_for("terminate", pid=run.pid)
    for _ in range(3):
        program.signal(TERM, run.pid)
    program.open_gate("terminate")
    program.wait_for("terminated", pid=run.pid)
    assert program.wait_for("dead")["code"] == 0
    assert len(program.all("terminate")) == 1
    assert program.stop() == 0


def test_reload_is_dropped_once_terminate_has_begun(start):
    """A HUP after terminate() has begun does not call reload()."""
    program = start(SCRIPT, "gated", "none", "60")
    run = program.wait_for("run", worker=0)
    program.signal(TERM, run.pid)
    program.wait_for("terminate", pid=run.pid)
    program.signal(HUP, run.pid)
    program.open_gate("terminate")
    program.open_gate("reload")
    assert program.wait_for("dead")["code"] == 0
    assert not program.all("reload")
    assert program.stop() == 0


def test_terminate_waits_for_a_reload(start):
    """terminate() begins when a reload() that runs has returned."""
    program = start(SCRIPT, "gated", "none", "60")
    run = program.wait_for("run", worker=0)
    program.signal(HUP, run.pid)
    program.wait_for("reload", pid=run.pid)
    program.signal(TERM, run.pid)
    program.open_gate("terminate")
    program.open_gate("reload")
    assert program.wait_for("dead")["code"] == 0
    told = [event.name for event in program.events if event.pid == run.pid]
    assert told[-4:] == ["reload", "reloaded", "terminate", "terminated"]
    assert program.stop() == 0


def test_a_worker_ends_when_terminate_returns(start):
    """The worker ends although its run() has not returned."""
    program = start(SCRIPT, "threads")
    program.collect(2, "run")
    assert program.stop(timeout=30) == 0


@pytest.mark.parametrize("signum", [TERM, HUP], ids=["TERM", "HUP"])
def test_signals_while_the_service_is_built(start, signum):
    """A signal during __init__ is handled right after: nothing is lost, nothing is cut short."""
    program = start(SCRIPT, "impatient", str(int(signum)))
    built = program.wait_for("built")
    if signum == TERM:
        program.wait_for("new worker", pid=built.pid)
        program.wait_for("terminate", pid=built.pid)
        assert program.wait_for("dead")["code"] == 0
    else:
        program.wait_for("reload", pid=built.pid)
        assert not program.all("terminate")
    program.signal(INT)
    assert program.wait() == 1


def test_run_may_return(start):
    """A worker whose run() has returned lives on."""
    program = start(SCRIPT, "plain", "1")
    run = program.wait_for("run")
    until(lambda: threads(run.pid) == 1, "run() has returned")
    program.signal(HUP)
    program.wait_for("terminate", pid=run.pid)
    assert program.wait_for("dead")["code"] == 0
    program.wait_for("run")
    assert program.stop() == 0


# --- exit statuses of workers ---------------------------------------------------------------


@pytest.mark.parametrize("where", ["init", "run", "reload", "terminate"])
@pytest.mark.parametrize(
    ("how", "code"),
    [("3", 3), ("0", 0), ("nothing", 0), ("none", 0), ("some text", 1), ("raise", 2), ("base", 2)],
)
def test_exit_status(start, where, how, code):
    """sys.exit() says the status of a worker anywhere; an exception means 2, in __init__ 1."""
    if code == 2 and where == "init":
        code = 1
    program = start(SCRIPT, "leaving", where, how)
    if where == "reload":
        program.signal(HUP, program.wait_for("run").pid)
    elif where == "terminate":
        program.signal(TERM, program.wait_for("run").pid)
    assert program.wait_for("dead")["code"] == code
    assert ("some text" in program.stderr()) == (how == "some text")
    program.signal(INT)
    program.wait()


# --- workers --------------------------------------------------------------------------------


def test_random_is_reseeded(start):
    """Workers do not share the master's sequence of random numbers."""
    program = start(SCRIPT, "random_numbers")
    assert len({event["number"] for event in program.collect(4, "run")}) == 4
    assert program.stop() == 0


def test_workers_start_in_order(start):
    """Workers start in order of add(), their ids ascending, with the pause that was asked for."""
    program = start(SCRIPT, "ordered")
    inits = program.collect(4, "init")
    news = [event["name"] for event in program.collect(4, "new")]
    assert [event["worker"] for event in inits] == [0, 1, 0, 1]
    assert news == ["first", "first", "second", "second"]
    assert inits[3].at - inits[0].at >= 0.5
    assert program.stop() == 0


def test_a_pause_between_spawns_blocks_nothing(start):
    """A stop during the pause between two spawns is not delayed, and starts nothing."""
    program = start(SCRIPT, "ordered")
    program.wait_for("run")
    assert program.stop() == 0
    assert title(program.pid) == ""
