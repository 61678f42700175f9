"""Programs as services of a real systemd, which is PID 1 of namespaces of its own."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.harness import TIMEOUT, TookTooLong, process, until
from tests.systemd_support import Systemd, Unit, missing

pytestmark = [
    pytest.mark.once,
    pytest.mark.real,
    pytest.mark.skipif(bool(missing()), reason=missing() or "-"),
]

SCRIPT = "notifying.py"
WORKER = " worker("


@pytest.fixture(scope="module")
def systemd() -> Iterator[Systemd]:
    try:
        systemd = Systemd()
    except TookTooLong as error:
        pytest.skip(f"needs a systemd that boots: {error}")
    yield systemd
    systemd.close()


@pytest.fixture
def unit(systemd, request) -> Iterator[Callable[..., Unit]]:
    """Make units; at the end nothing of them may run."""
    units: list[Unit] = []

    def make(*args: str, scenario: str = "several", **settings: str) -> Unit:
        name = f"{request.node.name.partition('[')[0]}-{len(units)}"
        units.append(Unit(systemd, name, SCRIPT, scenario, *args, **settings))
        return units[-1]

    yield make
    for one in units:
        one.systemctl("kill", "--signal=KILL")
        one.systemctl("stop")
        one.dispose()


def nothing_is_left(unit: Unit) -> None:
    """Wait for the end of the unit, as systemd sees it; nothing may be left in its group."""

    def over() -> bool:
        return unit.show("ActiveState") in ("inactive", "failed")

    until(over, "the unit has ended")
    assert not unit.pids(), unit.describe()


def reached(instant: float) -> None:
    """Wait until it is later than that."""
    until(lambda: time.monotonic() >= instant, "time passes")


def start(unit: Unit) -> None:
    done = unit.systemctl("start")
    assert done.returncode == 0, done.stderr + unit.describe()


def finished(command: subprocess.Popen[bytes]) -> int:
    return command.wait(TIMEOUT)


# Start, restart, stop ---------------------------------------------------------------------


def test_start_status_restart_and_stop(unit):
    web = unit("Web*2", KillMode="mixed", TimeoutStopSec="30")
    start(web)
    web.collect(2, "run")
    assert web.show("StatusText") == "Web 2/2 ready"
    assert 'Status: "Web 2/2 ready"' in web.systemctl("status").stdout
    first = web.pids()
    assert len(first) == 4  # the master, its guard, and two workers
    assert len(web.titled(WORKER)) == 2
    assert web.systemctl("restart").returncode == 0
    assert not set(first) & set(web.pids())
    assert len(web.pids()) == 4
    began = time.monotonic()
    assert web.systemctl("stop").returncode == 0
    assert time.monotonic() - began < 20
    assert web.show("Result") == "success"
    nothing_is_left(web)


def test_a_start_that_fails(unit):
    web = unit("Web", "Misconfigured", TimeoutStartSec="1")
    assert web.systemctl("start").returncode == 1
    assert web.show("Result") == "timeout"
    nothing_is_left(web)


def test_a_start_longer_than_systemd_would_wait(unit):
    """The service's own start timeout is longer."""
    slow = unit("SlowToBuild", TimeoutStartSec="3")
    began = time.monotonic()
    command = slow.begin("start")
    slow.wait_for("variables")
    reached(began + 4.5)
    assert command.poll() is None
    assert slow.show("ActiveState") == "activating"
    slow.open_gate("build-0")
    assert finished(command) == 0
    assert slow.systemctl("stop").returncode == 0
    nothing_is_left(slow)


def test_a_drain_longer_than_systemd_would_wait(unit):
    """The graceful timeout is longer."""
    slow = unit("SlowToEnd", "grace=60", KillMode="mixed", TimeoutStopSec="1")
    start(slow)
    slow.wait_for("run")
    began = time.monotonic()
    command = slow.begin("stop")
    slow.wait_for("terminate")
    reached(began + 2.5)
    assert command.poll() is None
    assert slow.show("ActiveState") == "deactivating"
    assert slow.show("StatusText") == "stopping because of SIGTERM, SlowToEnd 1 left"
    slow.open_gate("end")
    assert finished(command) == 0
    assert slow.show("Result") == "success"
    nothing_is_left(slow)


def test_a_drain_that_systemd_has_not_asked_for(unit):
    slow = unit("SlowToEnd", "grace=60", KillMode="mixed", TimeoutStopSec="1")
    start(slow)
    slow.wait_for("run")
    os.kill(master_of(slow), signal.SIGTERM)
    slow.wait_show("ActiveState", "deactivating")
    reached(time.monotonic() + 2.5)
    assert slow.show("ActiveState") == "deactivating"
    slow.open_gate("end")
    nothing_is_left(slow)
    assert slow.show("Result") == "success"


@pytest.mark.parametrize("mode", ["mixed", "control-group"])
def test_a_stop_within_the_graceful_timeout(unit, mode):
    """One worker does not end, and another one is stopped: both are killed by the master."""
    slow = unit("SlowToEnd", "Web*2", "grace=1", KillMode=mode, TimeoutStopSec="30")
    start(slow)
    slow.collect(3, "run")
    os.kill(slow.titled("Web worker(")[0], signal.SIGSTOP)
    began = time.monotonic()
    assert slow.systemctl("stop").returncode == 0
    assert time.monotonic() - began < 20
    if mode == "mixed":  # otherwise systemd has woken up the one that was stopped
        assert slow.show("ExecMainStatus") == "1"
        assert slow.show("StatusText").startswith("stopped, with status 1")
    nothing_is_left(slow)


@pytest.mark.parametrize("mode", ["mixed", "control-group"])
def test_a_master_that_is_killed_leaves_nothing(unit, mode):
    web = unit("Web*2", "SlowToEnd", "grace=1", KillMode=mode, TimeoutStopSec="20")
    start(web)
    web.collect(3, "run")
    os.kill(web.titled("Web worker(")[0], signal.SIGSTOP)
    os.kill(master_of(web), signal.SIGKILL)
    nothing_is_left(web)
    assert web.show("Result") == "signal"


def test_the_master_need_not_be_what_systemd_has_started(unit):
    """A shell in between: MAINPID tells who supervises, and the end is known before it comes."""
    command = "/bin/sh -c '{} & wait'"
    web = unit("Web", command=command, NotifyAccess="all")
    start(web)
    inside = process_inside(master_of(web))
    web.wait_show("MainPID", str(inside))
    assert web.systemctl("stop").returncode == 0
    assert web.show("Result") == "success"
    nothing_is_left(web)


def master_of(unit: Unit) -> int:
    """Return the master, when it alone is called so: what it has just forked still is as well."""

    def found() -> list[int]:
        titled = unit.titled("master process")
        return titled if len(titled) == 1 else []

    return int(until(found, "one process is the master")[0])


def process_inside(pid: int) -> int:
    """Return the number of a process in its own namespace."""
    with open(f"/proc/{pid}/status", encoding="utf-8") as file:
        line = next(line for line in file if line.startswith("NSpid:"))
    return int(line.split()[-1])


# Reload -----------------------------------------------------------------------------------


def reload_settings(systemd: Systemd) -> dict[str, Any]:
    if systemd.version >= 253:
        return {"Type": "notify-reload"}
    return {"ExecReload": "/bin/sh -c 'kill -HUP $MAINPID; sleep 1'"}


def test_a_reload_is_over_when_it_is_over(systemd, unit):
    web = unit("SlowToReload", **reload_settings(systemd))
    start(web)
    began = time.monotonic()
    command = web.begin("reload")
    web.wait_for("reload")
    web.wait_show("ActiveState", "reloading")
    reached(began + 1.5)
    assert command.poll() is None
    assert web.show("StatusText").startswith("reloading: SlowToReload 1/1 rollout 1: 1 to go")
    web.open_gate("reload")
    assert finished(command) == 0
    assert web.show("ActiveState") == "active"
    assert web.show("StatusText") == "SlowToReload 1/1 ready"
    assert web.systemctl("stop").returncode == 0
    nothing_is_left(web)


def test_a_reload_longer_than_systemd_would_wait(systemd, unit):
    """The progress deadline is longer."""
    web = unit("SlowToReload", TimeoutStartSec="4", **reload_settings(systemd))
    start(web)
    began = time.monotonic()
    command = web.begin("reload")
    web.wait_for("reload")
    reached(began + 6.5)
    assert command.poll() is None, web.describe()
    assert web.show("ActiveState") == "reloading"
    web.open_gate("reload")
    assert finished(command) == 0
    assert web.systemctl("stop").returncode == 0
    nothing_is_left(web)


def test_a_reload_that_fails_is_over(systemd, unit):
    web = unit("NeverReloads", "grace=1", **reload_settings(systemd))
    start(web)
    assert web.systemctl("reload").returncode == 0
    assert web.show("ActiveState") == "active"
    assert web.show("StatusText") == "NeverReloads 1/1 rollout 1 failed"
    web.systemctl("stop")
    nothing_is_left(web)


# Watchdog ---------------------------------------------------------------------------------


def test_a_master_that_is_stuck_is_killed_and_so_are_its_workers(unit):
    web = unit("Web*2", "stuck", WatchdogSec="2", TimeoutStopSec="10")
    start(web)
    web.collect(2, "run")
    began = time.monotonic()
    reached(began + 3)
    assert web.show("ActiveState") == "active"  # it is fed
    os.kill(master_of(web), signal.SIGHUP)
    web.wait_for("stuck")
    nothing_is_left(web)
    assert web.show("Result") == "watchdog"


# Control groups ---------------------------------------------------------------------------


def test_with_delegation_a_worker_takes_everything_along(unit):
    """A helper that has left the process group does not outlive its worker."""
    web = unit("Helper", KillMode="mixed", Delegate="yes")
    start(web)
    web.wait_for("run")
    (worker,) = web.titled(WORKER)
    (helper,) = web.titled("sleep 1000")
    with open(f"/proc/{helper}/cgroup", encoding="utf-8") as file:
        assert "/cotyledon." in file.read()
    os.kill(worker, signal.SIGKILL)
    until(lambda: process(helper) is None, "the helper is gone")
    web.wait_for("run")
    assert len(web.titled("sleep 1000")) == 1
    assert web.systemctl("stop").returncode == 0
    assert web.show("Result") == "success"
    nothing_is_left(web)


# Socket activation ------------------------------------------------------------------------


def test_the_program_takes_its_socket_and_its_workers_accept(unit):
    web = unit(scenario="activated", KillMode="mixed")
    path = web.directory / "web.sock"
    name = web.name.removesuffix(".service")
    web.write(
        f"{name}.socket",
        f"[Unit]\nDefaultDependencies=no\n[Socket]\nListenStream={path}\nSocketMode=0666\n",
    )
    web.systemd.systemctl("daemon-reload")
    assert web.systemd.systemctl("start", f"{name}.socket").returncode == 0
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(TIMEOUT)
        client.connect(str(path))
        assert client.recv(100) == b"hello"
    assert web.wait_for("variables")["found"] == []
    web.systemd.systemctl("stop", f"{name}.socket")
    assert web.systemctl("stop").returncode == 0
    nothing_is_left(web)
