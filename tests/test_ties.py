"""What a worker tells its master: heartbeats, stacks, that it is ready or needs more time."""

import os
import signal
import subprocess
import sys
import time
from typing import Any

import pytest

import cotyledon
from cotyledon._posix import stacks
from cotyledon._posix.table import CAPACITY, Table
from tests.harness import Program, alive, descriptors, until

SCRIPT = "ties.py"
TERM, HUP, USR1, USR2, CONT = (
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGCONT,
)
METHODS = ["fork", "spawn", "forkserver"]


def beat(program: Program) -> Any:
    """Return the heartbeat that the master finds in its table."""
    program.signal(USR2)
    return program.wait_for("beat")["instant"]


def kinds(program: Program) -> list[Any]:
    """Return the kinds of messages that the master has had."""
    return [event["kind"] for event in program.all("message")]


# --- heartbeats ---------------------------------------------------------------------------


def test_a_place_begins_without_a_heartbeat():
    """A place of the table that is taken again has no heartbeat of its last owner."""
    table = Table()
    first, second = table.reserve(), table.reserve()
    table.enter(second, 4711, 9)
    table.set_beat(second, 12)
    table.pulse(first).cell[0] = 11
    assert (table.beat(first), table.beat(second)) == (11, 12)
    assert table.entries() == {4711: 9}
    table.release(second)
    assert table.reserve() == second
    assert table.beat(second) == 0
    assert table.entries() == {}


def test_the_table_is_bounded():
    """A worker too many is refused with an error that says so."""
    table = Table()
    for _ in range(CAPACITY):
        place = table.reserve()
    table.set_beat(place, 5)
    assert table.beat(place) == 5
    with pytest.raises(OSError, match="more than 32768 workers"):
        table.reserve()


@pytest.mark.real
@pytest.mark.parametrize("method", METHODS)
def test_a_heartbeat_lands_in_the_table(start, method):
    """The instant of heartbeat() is in the master's table when the call has returned."""
    program = start(SCRIPT, "lone", method, "Beater")
    program.wait_for("run")
    program.wait_for("listening")
    assert beat(program) == 0
    for number in range(2):
        program.open_gate(f"beat-{number}")
        beaten = program.wait_for("beaten")
        assert beaten["after"] <= beat(program) <= beaten["before"]
    program.signal(TERM)
    assert program.wait_for("ended")["code"] == 0
    assert program.wait() == 0


@pytest.mark.real
@pytest.mark.parametrize("method", METHODS)
def test_a_loop_beats_by_itself(start, method):
    """The loop of an AsyncService beats as long as it is not blocked, and no longer."""
    program = start(SCRIPT, "lone", method, "AsyncBeater", "watchdog")
    program.wait_for("run")
    program.wait_for("listening")
    first = beat(program)
    assert first
    until(lambda: beat(program) > first, "it beats again")
    program.signal(HUP)
    blocked = program.wait_for("blocked")["now"]
    last = beat(program)
    # Longer than the watchdog of this program.
    until(lambda: time.monotonic_ns() - blocked > 200_000_000, "it was blocked for a while")
    assert beat(program) == last
    program.open_gate("unblock")
    until(lambda: beat(program) > last, "it beats again")
    program.signal(TERM)
    assert program.wait() == 0


@pytest.mark.real
def test_a_loop_without_watchdog_does_not_beat(start):
    """Without a watchdog nothing beats for the service."""
    program = start(SCRIPT, "lone", "fork", "AsyncBeater")
    program.wait_for("run")
    program.wait_for("listening")
    assert beat(program) == 0
    program.signal(TERM)
    assert program.wait() == 0


@pytest.mark.real
def test_a_child_of_a_worker_says_nothing_for_it(start):
    """A child that a worker has forked can neither beat nor be ready in its place."""
    program = start(SCRIPT, "lone", "fork", "Forking", "told", "stacks")
    program.wait_for("run")
    program.wait_for("listening")
    assert beat(program) == 0
    program.signal(TERM)
    program.wait_for("ended")
    assert kinds(program) == []
    assert program.wait() == 0


# --- stacks -------------------------------------------------------------------------------


@pytest.mark.real
@pytest.mark.parametrize("service", ["Sleeper", "Stuck", "Matching"])
@pytest.mark.parametrize("method", METHODS)
def test_the_stacks_of_all_threads(start, method, service):
    """A worker that is asked tells the stacks of all threads, also while C code has the GIL."""
    program = start(SCRIPT, "lone", method, service, "stacks")
    run = program.wait_for("run")
    program.wait_for("listening")
    program.signal(USR1)
    text = program.wait_for("stacks")["text"]
    until(lambda: "in <module>" in program.stderr(), "it has been written to stderr, too")
    for found in (text, program.stderr()):
        for frame in ("in wait_elsewhere", "in run", "in live", "in _live"):
            assert frame in found
    assert alive(run.pid)
    program.signal(signal.SIGKILL, run.pid)
    assert program.wait_for("ended")["code"] == -signal.SIGKILL
    assert program.wait() == 0


@pytest.mark.real
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_the_stacks_of_what_is_being_built(start, method):
    """A worker answers before its service is built."""
    program = start(SCRIPT, "lone", method, "StuckInInit", "stacks")
    init = program.wait_for("init")
    program.wait_for("listening")
    program.signal(USR1)
    assert "in __init__" in program.wait_for("stacks")["text"]
    program.signal(signal.SIGKILL, init.pid)
    assert program.wait() == 0


@pytest.mark.real
def test_a_standard_error_that_nobody_reads(start):
    """The stacks for the record are complete even if standard error blocks."""
    program = start(SCRIPT, "lone", "fork", "Silenced", "stacks")
    run = program.wait_for("run")
    program.wait_for("listening")
    program.signal(USR1)
    text = program.wait_for("stacks")["text"]
    assert "in wait_elsewhere" in text
    assert "in _live" in text
    program.signal(signal.SIGKILL, run.pid)
    assert program.wait() == 0


@pytest.mark.real
@pytest.mark.parametrize("kernel", ["new", "old"])
def test_stacks_are_told_again(start, kernel):
    """Each time a worker is asked it answers, to the file and to its standard error."""
    program = start(SCRIPT, "lone", "fork", "Sleeper", "stacks", f"{kernel} kernel")
    run = program.wait_for("run")
    program.wait_for("listening")
    for count in range(1, 9):
        program.signal(USR1)
        text = program.wait_for("stacks")["text"]
        assert text.count("in wait_elsewhere") == text.count("in _live") == count

        def arrived(count: int = count) -> bool:
            return bool(program.stderr().count("in _live") == count)

        until(arrived, "it is in stderr")
    assert alive(run.pid)
    program.signal(TERM)
    assert program.wait() == 0


def test_a_long_dump_is_truncated():
    """What is more than can be told is left out, and that is said."""
    fd = stacks.make()
    try:
        with open(fd, "wb", closefd=False) as file:
            file.write(b"x" * 100_000)
        text = stacks.read(fd)
    finally:
        os.close(fd)
    assert text == "x" * stacks.LARGEST + "\n[truncated: 65536 of 100000 bytes]\n"


def test_stacks_that_cannot_be_read():
    """Reading from what is no descriptor gives nothing, and no error."""
    assert stacks.read(-1) == ""


@pytest.mark.real
@pytest.mark.parametrize("method", METHODS)
def test_descriptors_of_a_worker(start, method):
    """A default worker has 8 descriptors at most, and the file for stacks is one more."""
    counts = []
    for options in ((), ("stacks",)):
        program = start(SCRIPT, "lone", method, "Duck", *options)
        run = program.wait_for("run")
        mine = {
            target
            for target in descriptors(run.pid).values()
            if not target.startswith(str(program.directory))
        }
        counts.append(len(descriptors(run.pid)))
        assert ("/memfd:cotyledon-stacks (deleted)" in mine) == bool(options)
        program.wait_for("listening")
        program.signal(TERM)
        assert program.wait() == 0
    assert counts[1] == counts[0] + 1
    if method == "fork":
        assert counts[0] <= 8


@pytest.mark.real
@pytest.mark.parametrize("method", METHODS)
def test_the_masters_own_limit_is_not_passed_on(start, method):
    """A worker has the limit of descriptors that the program was started with."""
    program = start(SCRIPT, "lone", method, "Duck", "low")
    assert program.wait_for("master")["nofile"] == [400, 400]
    assert program.wait_for("run")["nofile"] == [100, 400]
    program.wait_for("listening")
    program.signal(TERM)
    assert program.wait() == 0


# --- ready and extend ---------------------------------------------------------------------


@pytest.mark.real
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_ready_when_told(start, method):
    """Under ready="told" a worker is ready at the first ready(); run() has begun before."""
    program = start(SCRIPT, "lone", method, "Telling", "told")
    program.wait_for("run")
    program.wait_for("listening")
    assert kinds(program) == []
    program.open_gate("ready")
    assert program.wait_for("message")["fields"] == ["Talker", False, None]
    program.wait_for("told")
    program.signal(TERM)
    program.wait_for("ended")
    assert kinds(program) == ["ReadyMessage"]
    assert program.wait() == 0


@pytest.mark.real
def test_ready_when_built(start):
    """By default a worker is ready when it is built, and ready() adds nothing."""
    program = start(SCRIPT, "lone", "fork", "Telling")
    assert program.wait_for("message")["kind"] == "ReadyMessage"
    program.wait_for("run")
    program.open_gate("ready")
    program.wait_for("told")
    program.wait_for("listening")
    program.signal(TERM)
    program.wait_for("ended")
    assert kinds(program) == ["ReadyMessage"]
    assert program.wait() == 0


@pytest.mark.real
@pytest.mark.parametrize("told", [(), ("told",)], ids=["built", "told"])
def test_ready_in_init(start, told):
    """ready() and extend() in __init__: the worker is ready as soon as it is built."""
    program = start(SCRIPT, "lone", "fork", "TellingInInit", *told)
    extended = program.wait_for("message")
    assert (extended["kind"], extended["fields"]) == ("ExtendMessage", [1_500_000_000])
    assert len(kinds(program)) == 1
    program.open_gate("built")
    assert program.wait_for("message")["fields"] == ["later", False, None]
    program.wait_for("listening")
    program.signal(TERM)
    assert program.wait() == 0


@pytest.mark.real
def test_ready_in_a_thread(start):
    """ready() and extend() can be called in any thread of the worker."""
    program = start(SCRIPT, "lone", "fork", "TellingElsewhere", "told")
    assert program.wait_for("message")["fields"] == [120_000_000_000]
    program.open_gate("ready")
    assert program.wait_for("message")["kind"] == "ReadyMessage"
    program.wait_for("listening")
    program.signal(TERM)
    assert program.wait() == 0


@pytest.mark.real
def test_ready_is_not_lost(start):
    """A master that reads nothing for a while learns all the same that a worker is ready."""
    program = start(SCRIPT, "lone", "fork", "Eager", "told", "paused")
    program.wait_for("asked")
    program.wait_for("listening")
    assert not program.all("told")
    program.signal(CONT)
    program.wait_for("told")
    program.wait_for("message", kind="ReadyMessage")
    program.signal(TERM)
    assert program.wait() == 0


@pytest.mark.real
@pytest.mark.parametrize("service", ["Hidden", "Duck"])
def test_names_belong_to_the_service(start, service):
    """A service may use our names for its own things, or have none of them."""
    program = start(SCRIPT, "lone", "fork", service, "stacks")
    assert program.wait_for("message")["kind"] == "ReadyMessage"
    program.wait_for("run")
    program.wait_for("listening")
    program.signal(TERM)
    program.wait_for("terminate")
    assert program.wait_for("ended")["code"] == 0
    assert program.wait() == 0
    assert program.stderr().count("\n") <= 1  # of the channel that it has lost


def test_outside_a_worker():
    """In a unit test of a service, ready(), extend() and heartbeat() do nothing."""
    for kind in (cotyledon.Service, cotyledon.AsyncService):
        service = kind(0)
        service.ready()
        service.extend(2)
        service.heartbeat()


@pytest.mark.parametrize(
    ("seconds", "error"),
    [
        (None, TypeError),
        (True, TypeError),
        (b"1", TypeError),
        (-1, ValueError),
        (float("nan"), ValueError),
        (float("inf"), ValueError),
        ("soon", ValueError),
    ],
)
def test_extend_checks_its_argument(seconds, error):
    """extend() takes a number of seconds, and says what it does not take."""
    with pytest.raises(error, match=r"extend\(\): 'seconds' must be"):
        cotyledon.Service(0).extend(seconds)


def test_what_defining_a_service_imports():
    """A module that defines services of both kinds loads neither the manager nor asyncio."""
    code = (
        "import sys, cotyledon\n"
        "class A(cotyledon.AsyncService): pass\n"
        "class B(cotyledon.Service): pass\n"
        "assert A.name == 'A' and B.name == 'B'\n"
        "assert cotyledon.AsyncService.name is cotyledon.Service.name is None\n"
        "bad = {'asyncio', 'cotyledon.manager', 'cotyledon._worker.runtime'} & set(sys.modules)\n"
        "assert not bad, bad\n"
        "import cotyledon.manager\n"
        "assert not {'asyncio', 'faulthandler', 'multiprocessing'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)
