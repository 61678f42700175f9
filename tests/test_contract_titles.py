"""Titles of processes, and what workers see of the environment."""

import os

import pytest

from tests.harness import InitSystem, process, title, until

pytestmark = pytest.mark.real


def test_master_title(start):
    """The master's title has the program's name and its arguments."""
    program = start("contract.py", "plain", "1")
    program.wait_for("run")
    script = title(program.pid).partition("[")[2].split()[0]
    assert script.endswith("contract.py")
    assert title(program.pid) == f"contract.py: master process [{script} plain 1]"
    assert program.stop() == 0


def test_worker_titles(start):
    """A worker's title has the service's name: the class's, an inherited one, the instance's."""
    program = start("contract.py", "titles")
    program.collect(4, "run")
    until(
        lambda: (
            {title(pid) for pid in program.workers()}
            == {
                "contract.py: by-class worker(0)",
                "contract.py: Unnamed worker(0)",
                "contract.py: on-instance-0 worker(0)",
            }
        ),
        "the titles are there",
    )
    assert len(program.workers()) == 4
    assert program.stop() == 0


def test_guard(start):
    """The guard is a child of the master, in a session of its own, with a title of its own."""
    program = start("contract.py", "plain", "1")
    program.wait_for("run")
    pid = program.guard()
    assert title(pid) == "contract.py: guard"
    guard = process(pid)
    assert guard is not None
    assert guard.session == guard.group == pid
    assert program.stop() == 0


def test_worker_groups(start):
    """Each worker leads a process group in the master's session."""
    program = start("contract.py", "plain", "2")
    for run in program.collect(2, "run"):
        worker = process(run.pid)
        assert worker is not None
        assert (worker.group, worker.session) == (run.pid, os.getsid(program.pid))
    assert program.stop() == 0


def test_workers_do_not_see_the_notify_socket(start, tmp_path):
    """NOTIFY_SOCKET is the master's alone; an abstract address is understood, too."""
    init = InitSystem(tmp_path)
    try:
        program = start("regressions.py", "slow_to_build", env={"NOTIFY_SOCKET": init.address})
        assert [event["notify"] for event in program.collect(2, "building")] == [None, None]
        program.open_gate("build")
        init.wait_for("READY=1")
        assert program.stop() == 0
    finally:
        init.close()


def test_a_bad_notify_socket_harms_nothing(start, tmp_path):
    """A NOTIFY_SOCKET that leads nowhere is no error."""
    program = start("contract.py", "plain", "1", env={"NOTIFY_SOCKET": str(tmp_path / "none")})
    program.wait_for("run")
    assert program.stop() == 0
