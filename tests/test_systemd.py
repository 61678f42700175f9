"""What the init system is told, by real programs over a real socket."""

import os
import select
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from cotyledon.systemd import OURS, Notifier
from tests.harness import TIMEOUT, Program, TookTooLong, descriptors, until

pytestmark = pytest.mark.real

SCRIPT = "notifying.py"
HUP, TERM = signal.SIGHUP, signal.SIGTERM


class Datagram(dict[str, str]):
    """The variables of one datagram, in order."""

    fds: list[int]


class Init:
    """The end of the notification socket that an init system has."""

    def __init__(self, address: str, *, holds: bool = False) -> None:
        self.name = address
        self.holds = holds  # barriers are not lifted
        self.all: list[Datagram] = []
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self._fds: list[int] = []

    def read(self) -> list[Datagram]:
        """Return the datagrams that have arrived."""
        found = []
        while True:
            try:
                data, fds, _, _ = socket.recv_fds(self.socket, 1 << 16, 4)
            except BlockingIOError:
                break
            pairs = (line.partition("=") for line in data.decode().split("\n"))
            datagram = Datagram((key, value) for key, _, value in pairs)
            datagram.fds = fds
            found.append(datagram)
            self._fds += fds
            if not self.holds:
                self._lift()
        self.all += found
        return found

    def _lift(self) -> None:
        for fd in self._fds:
            os.close(fd)
        self._fds.clear()

    def wait_for(self, holds: Callable[[Datagram], Any], timeout: float = TIMEOUT) -> Datagram:
        """Wait for a datagram; those before it are dropped from what comes next."""
        end = time.monotonic() + timeout
        while True:
            while self._unseen < len(self.all):
                datagram = self.all[self._unseen]
                self._unseen += 1
                if holds(datagram):
                    return datagram
            left = end - time.monotonic()
            if left <= 0:
                raise TookTooLong(f"the init system was not told, but: {self.all}")
            select.select([self.socket], [], [], left)
            self.read()

    _unseen = 0

    def told(self, key: str, timeout: float = TIMEOUT) -> Datagram:
        """Wait for a datagram with this variable."""
        return self.wait_for(lambda datagram: key in datagram, timeout)

    def status(self, text: str) -> Datagram:
        """Wait for a line of status that has this in it."""
        return self.wait_for(lambda datagram: text in datagram.get("STATUS", ""))

    def wait_end(self, program: Program) -> int:
        """Wait for the end of the program, lifting its barriers; return how it ended."""
        pidfd = os.pidfd_open(program.pid)
        try:
            end = time.monotonic() + TIMEOUT
            listener = self.socket.fileno()
            while pidfd not in select.select([listener, pidfd], [], [], TIMEOUT)[0]:
                self.read()
                assert time.monotonic() < end
        finally:
            os.close(pidfd)
        self.read()
        return program.wait()

    def main_lines(self) -> list[str]:
        """Return the states that were told, without those of status, time and watchdog alone."""
        states = ("READY", "RELOADING", "STOPPING", "BARRIER")
        return [key for datagram in self.all for key in datagram if key in states]

    def close(self) -> None:
        self.holds = False
        self._lift()
        self.socket.close()


@pytest.fixture(params=["path", "abstract"])
def anywhere(request, tmp_path) -> Iterator[Init]:
    address = {"path": str(tmp_path / "notify"), "abstract": f"@cotyledon/{os.getpid()}"}
    init = Init(address[request.param])
    yield init
    init.close()


@pytest.fixture
def init(tmp_path) -> Iterator[Init]:
    init = Init(str(tmp_path / "notify"))
    yield init
    init.close()


@pytest.fixture
def run(start, init) -> Callable[..., Program]:
    """Start services below the init system."""

    def begin(*services: str, scenario: str = "several", **env: str) -> Program:
        return start(SCRIPT, scenario, *services, env={"NOTIFY_SOCKET": init.name, **env})

    return begin


def stop(program: Program, init: Init) -> int:
    program.signal(TERM)
    return init.wait_end(program)


# Start and stop ---------------------------------------------------------------------------


def test_the_order_of_a_life(start, anywhere):
    init = anywhere
    program = start(SCRIPT, "several", "Web*2", env={"NOTIFY_SOCKET": init.name})
    first = init.told("MAINPID")
    assert first["MAINPID"] == str(program.pid)
    assert first["STATUS"] == "Web 0/2 starting"
    assert init.told("READY")["STATUS"] == "Web 2/2 ready"
    program.signal(TERM)
    stopping = init.told("STOPPING")
    assert stopping["STATUS"] == "stopping because of SIGTERM, Web 2 left"
    assert init.wait_end(program) == 0
    assert init.main_lines() == ["READY", "STOPPING", "BARRIER"]
    *_, last, barrier = init.all
    assert last == {"STATUS": "stopped"}
    assert barrier == {"BARRIER": "1"}
    assert len(barrier.fds) == 1


def test_ready_comes_when_the_last_worker_is_ready(run, init):
    program = run("SlowToBuild*2", "Web")
    program.open_gate("build-0")
    init.status("SlowToBuild 1/2 starting, Web 1/1 ready")
    program.open_gate("build-1")
    assert init.told("READY")["STATUS"] == "SlowToBuild 2/2 ready, Web 1/1 ready"
    assert init.main_lines() == ["READY"]
    assert stop(program, init) == 0


def test_a_long_start_asks_for_as_much_time_as_its_workers_have(run, init):
    """Their start timeout is 600 s; what is asked for beyond is for the kernel."""
    program = run("SlowToBuild")
    asked = int(init.told("EXTEND_TIMEOUT_USEC")["EXTEND_TIMEOUT_USEC"]) / 1e6
    assert 590 < asked < 610
    program.open_gate("build-0")
    assert "EXTEND_TIMEOUT_USEC" not in init.told("READY")
    assert stop(program, init) == 0


def test_a_start_without_a_timeout_asks_for_none(run, init):
    program = run("Web")
    init.told("READY")
    assert not any("EXTEND_TIMEOUT_USEC" in datagram for datagram in init.all)
    assert stop(program, init) == 0


def test_a_start_that_has_failed_is_not_called_ready(run, init):
    program = run("Web", "Misconfigured")
    init.status("Web 1/1 ready, Misconfigured 0/1 with 1 failed")
    assert stop(program, init) == 0
    assert init.main_lines() == ["STOPPING", "BARRIER"]


def test_a_drain_asks_for_the_graceful_timeout(run, init):
    program = run("SlowToEnd", "grace=300")
    init.told("READY")
    program.signal(TERM)
    asked = int(init.told("STOPPING")["EXTEND_TIMEOUT_USEC"]) / 1e6
    assert 290 < asked < 310
    program.open_gate("end")
    assert init.wait_end(program) == 0


def test_a_drain_without_a_limit_asks_for_none(run, init):
    program = run("SlowToEnd", "grace=0")
    init.told("READY")
    program.signal(TERM)
    assert "EXTEND_TIMEOUT_USEC" not in init.told("STOPPING")
    program.open_gate("end")
    assert init.wait_end(program) == 0


def test_a_drain_says_what_is_left(run, init):
    program = run("SlowToEnd", "Web")
    init.told("READY")
    program.signal(TERM)
    init.status("stopping because of SIGTERM, SlowToEnd 1, Web 1 left")
    init.status("stopping because of SIGTERM, SlowToEnd 1 left")
    program.open_gate("end")
    assert init.wait_end(program) == 0


def test_an_abort_is_a_stop(run, init):
    program = run("Web")
    init.told("READY")
    program.signal(signal.SIGINT)
    assert init.told("STOPPING")["STATUS"] == "stopping because of SIGINT, Web 1 left"
    assert init.wait_end(program) == 1
    assert "status 1" in init.all[-2]["STATUS"]


# Reloads ----------------------------------------------------------------------------------


def test_a_reload_begins_with_its_hooks_and_ends_with_its_rollouts(run, init):
    program = run("SlowToReload", "Web", "hook")
    init.told("READY")
    before = time.monotonic_ns() // 1000
    program.signal(HUP)
    begun = init.told("RELOADING")
    assert list(begun)[:2] == ["RELOADING", "MONOTONIC_USEC"]
    assert before <= int(begun["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000
    assert begun["STATUS"].startswith("reloading: ")
    program.wait_for("hook")
    program.open_gate("hook")
    program.wait_for("reload")
    asked = init.told("EXTEND_TIMEOUT_USEC")
    assert 990 < int(asked["EXTEND_TIMEOUT_USEC"]) / 1e6 < 1010
    assert asked["STATUS"] == "reloading: SlowToReload 1/1 rollout 1: 1 to go, Web 1/1 ready"
    assert init.main_lines() == ["READY", "RELOADING"]
    program.open_gate("reload")
    assert init.told("READY")["STATUS"] == "SlowToReload 1/1 ready, Web 1/1 ready"
    assert stop(program, init) == 0
    assert init.main_lines() == ["READY", "RELOADING", "READY", "STOPPING", "BARRIER"]


def test_a_reload_that_fails_is_over_and_says_so(run, init):
    program = run("NeverReloads", "Web", "grace=1")
    init.told("READY")
    program.signal(HUP)
    init.told("RELOADING")
    over = init.told("READY")
    assert over["STATUS"] == "NeverReloads 1/1 rollout 1 failed, Web 1/1 ready"
    stop(program, init)


def test_a_second_reload_is_over_with_the_last(run, init):
    program = run("SlowToReload")
    init.told("READY")
    program.signal(HUP)
    first = init.told("RELOADING")
    program.wait_for("reload")
    program.signal(HUP)
    second = init.told("RELOADING")
    assert int(second["MONOTONIC_USEC"]) > int(first["MONOTONIC_USEC"])
    program.open_gate("reload")
    init.told("READY")
    program.wait_for("reload")
    assert stop(program, init) == 0
    assert init.main_lines() == [
        *("READY", "RELOADING", "RELOADING", "READY", "STOPPING", "BARRIER")
    ]


def test_the_reload_of_one_service_is_one_and_a_restart_is_none(run, init):
    program = run(scenario="reload_one")
    init.told("READY")
    program.signal(signal.SIGUSR1)
    init.told("RELOADING")
    program.open_gate("reload")
    init.told("READY")
    program.signal(signal.SIGUSR2)
    program.wait_for("terminate", service="SlowToReload")
    program.collect(2, "init", service="SlowToReload")
    assert stop(program, init) == 0
    assert init.main_lines().count("RELOADING") == 1


def test_a_stop_ends_a_reload(run, init):
    program = run("NeverReloads", "grace=1", "hook")
    init.told("READY")
    program.signal(HUP)
    program.wait_for("hook")
    program.signal(TERM)
    init.told("STOPPING")
    init.wait_end(program)
    assert init.main_lines() == ["READY", "RELOADING", "STOPPING", "BARRIER"]


def test_a_reload_during_the_start_is_a_part_of_it(run, init):
    program = run("SlowToBuild", "hook")
    program.wait_for("variables")
    program.signal(HUP)
    program.wait_for("hook")
    program.open_gate("hook")
    program.open_gate("build-0")
    init.told("READY")
    assert stop(program, init) == 0
    assert init.main_lines() == ["READY", "STOPPING", "BARRIER"]


# The line of status -----------------------------------------------------------------------


def test_who_backs_off_is_told_with_its_wait(run, init):
    program = run("Web*2", "Mailer")
    init.told("READY")
    program.open_gate("die-0")
    init.status("Web 2/2 ready, Mailer 0/1 backing off 12 s")
    assert stop(program, init) == 0


def test_a_status_follows_another_after_a_second_at_the_soonest(run, init):
    """A hundred things happen in that second."""
    program = run("SlowToBuild*8")
    init.told("MAINPID")
    at = time.monotonic()
    for worker in range(7):
        program.open_gate(f"build-{worker}")
    init.status("SlowToBuild 7/8 starting")
    took = time.monotonic() - at
    assert len(init.all) <= 2 + took
    program.open_gate("build-7")
    init.told("READY")
    assert stop(program, init) == 0


def test_a_name_is_no_line_of_its_own(run, init):
    program = run(scenario="odd_name")
    ready = init.told("READY")
    assert "WATCHDOG" not in ready
    assert ready["STATUS"].startswith("a?WATCHDOG=trigger")
    assert len(ready["STATUS"]) < 100
    assert stop(program, init) == 0


def test_of_many_services_those_in_trouble_come_first(run, init):
    program = run(scenario="many")
    status = init.told("READY")["STATUS"]
    assert status.startswith("Service13 0/0 paused, Service0 1/1 ready")
    assert status.endswith(", and 2 more")
    assert stop(program, init) == 0


def test_an_idle_master_tells_nothing_and_sleeps(run, init):
    program = run("Web")
    init.told("READY")

    def switches() -> int:
        lines = Path(f"/proc/{program.pid}/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("voluntary")).split()[1])

    before = -1

    def settled() -> bool:
        nonlocal before
        now = switches()
        same, before = now == before, now
        select.select([], [], [], 0.3)
        return same

    until(settled, "the master sleeps")
    told = len(init.all)
    select.select([init.socket], [], [], 2.5)  # nothing to wait for: nothing must come
    assert not init.read()
    assert len(init.all) == told
    assert switches() == before
    assert stop(program, init) == 0


# The watchdog -----------------------------------------------------------------------------


def test_the_watchdog_is_fed_by_an_idle_master(run, init):
    program = run("Web", WATCHDOG_USEC="200000")
    init.told("READY")
    for _ in range(5):
        assert init.told("WATCHDOG") == {"WATCHDOG": "1"}
    assert stop(program, init) == 0


def test_the_watchdog_may_name_the_master(start, init):
    """A shell that becomes the program knows the pid."""
    command = 'export WATCHDOG_PID=$$; exec "$@"'
    env = {"NOTIFY_SOCKET": init.name, "WATCHDOG_USEC": "200000"}
    program = start(SCRIPT, "several", "Web", env=env, prefix=("sh", "-c", command, "sh"))
    init.told("WATCHDOG")
    init.told("WATCHDOG")
    assert stop(program, init) == 0


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"WATCHDOG_USEC": "100000", "WATCHDOG_PID": "1"},
        {"WATCHDOG_USEC": "0"},
        {"WATCHDOG_USEC": "soon"},
        {"WATCHDOG_USEC": "100000", "WATCHDOG_PID": "me"},
    ],
)
def test_nobody_else_is_told_of_the_watchdog(run, init, variables):
    program = run("Web", **variables)
    init.told("READY")
    select.select([init.socket], [], [], 0.5)
    assert stop(program, init) == 0
    assert not any("WATCHDOG" in datagram for datagram in init.all)


def test_a_master_that_is_stuck_feeds_no_watchdog(run, init):
    program = run("Web", "hook", WATCHDOG_USEC="200000")
    init.told("READY")
    init.told("WATCHDOG")
    program.signal(HUP)
    program.wait_for("hook")
    init.read()
    select.select([init.socket], [], [], 1)
    assert not init.read()
    program.open_gate("hook")
    init.told("WATCHDOG")
    assert stop(program, init) == 0


def test_a_long_drain_feeds_the_watchdog(run, init):
    program = run("SlowToEnd", WATCHDOG_USEC="200000")
    init.told("READY")
    program.signal(TERM)
    init.told("STOPPING")
    init.told("WATCHDOG")
    init.told("WATCHDOG")
    program.open_gate("end")
    assert init.wait_end(program) == 0


# What workers see -------------------------------------------------------------------------


def test_workers_see_none_of_the_variables_and_the_program_does(run, init):
    """Also those of a socket activation, which belong to the program until run()."""
    given = {"WATCHDOG_USEC": "5000000", "LISTEN_FDS": "1", "LISTEN_PID": "1"}
    program = run("Web", **given)
    assert set(program.wait_for("program")["found"]) == {"NOTIFY_SOCKET", *given}
    assert program.wait_for("variables")["found"] == []
    assert stop(program, init) == 0


# A socket that is not as it should be -----------------------------------------------------


def test_a_full_socket_holds_up_nothing_and_what_matters_comes_later(run, init):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as flood:
        flood_it(flood, init)
        program = run("SlowToEnd", WATCHDOG_USEC="1000000")
        program.wait_for("run")
        init.told("MAINPID")
        init.told("READY")
        flood_it(flood, init)
        program.signal(TERM)
        program.wait_for("terminate")
        init.told("STOPPING")
        init.told("WATCHDOG")
    program.open_gate("end")
    assert init.wait_end(program) == 0


def flood_it(flood: socket.socket, init: Init) -> None:
    """Fill the queue of a socket that nobody reads."""
    with suppress(BlockingIOError):
        while True:
            flood.sendto(b"FLOOD=1", init.name)


def test_a_socket_that_vanishes_holds_up_nothing(run, init):
    program = run("Web", WATCHDOG_USEC="100000")
    init.told("READY")
    init.socket.close()
    Path(init.name).unlink()
    program.signal(HUP)
    program.wait_for("terminate")
    program.collect(2, "run")
    assert program.stop() == 0


def test_nobody_lifts_the_barrier(run, init):
    """The end waits for a moment, and comes."""
    init.holds = True
    program = run("Web")
    init.told("READY")
    program.signal(TERM)
    init.told("BARRIER")
    assert program.wait() == 0


@pytest.mark.parametrize("address", ["", "/", "@", "relative", "vsock:2:1", "/no/such", "/a\0b"])
def test_an_address_that_is_none_is_nobody(monkeypatch, address):
    for name in OURS:
        monkeypatch.delenv(name, raising=False)
    if "\0" not in address:
        monkeypatch.setenv("NOTIFY_SOCKET", address)
    before = descriptors(os.getpid())
    notifier = Notifier()
    assert notifier.tell("READY=1")
    notifier.barrier(0.1)
    assert descriptors(os.getpid()) == before
