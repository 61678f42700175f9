"""Bad input that shows only when a program runs."""

import signal

import pytest

pytestmark = pytest.mark.real

SCRIPT = "contract.py"


def test_a_factory_that_returns_no_service(start):
    """The worker fails with a line that says so, and other services run."""
    program = start(SCRIPT, "no_service")
    assert program.wait_for("dead")["code"] == 1
    program.wait_for("run")
    assert "must return a cotyledon.Service" in program.stderr()
    assert program.stop() == 0


def test_run_outside_the_main_thread(start):
    """run() in another thread is refused, and can be called in the main thread after that."""
    program = start(SCRIPT, "run_in_a_thread")
    assert "main thread" in program.wait_for("refused")["text"]
    program.wait_for("run")
    assert program.stop() == 0


def test_run_twice(start):
    """A second run() is refused, and so is a new context."""
    program = start(SCRIPT, "run_twice")
    program.wait_for("run")
    assert program.stop() == 0
    assert "once" in program.wait_for("refused")["text"]
    assert "mp_context" in program.wait_for("refused")["text"]


def test_run_in_a_hook(start):
    """run() within run() is refused, and so is a new context."""
    program = start(SCRIPT, "run_in_a_hook")
    program.wait_for("run")
    program.signal(signal.SIGHUP)
    assert "once" in program.wait_for("refused")["text"]
    assert "mp_context" in program.wait_for("refused")["text"]
    program.wait_for("reload")
    assert program.stop() == 0


def test_a_service_with_a_bad_timeout(start):
    """A worker whose own timeout is no number fails with a line that names the attribute."""
    program = start(SCRIPT, "bad_timeout")
    assert program.wait_for("dead")["code"] == 1
    assert "graceful_shutdown_timeout" in program.stderr()
    assert program.stop() == 0
