"""Hooks: where, when, in which order, and with which arguments they are called."""

import signal

import pytest

pytestmark = pytest.mark.real

SCRIPT = "contract.py"
KILL, HUP = signal.SIGKILL, signal.SIGHUP


def test_arguments(start):
    """Hooks get positional arguments, in the main thread, in order of registration."""
    program = start(SCRIPT, "hooks")
    service = program.wait_for("added")["id"]
    new = program.collect(2, "hook", kind="new")
    run = program.wait_for("init")
    assert [hook["args"] for hook in new] == [[service, 0, "Reloader"]] * 2
    assert {hook.pid for hook in new} == {run.pid}
    program.signal(HUP)
    reload = program.collect(2, "hook", kind="reload")
    program.wait_for("reload")
    program.signal(KILL, run.pid)
    dead = program.collect(2, "hook", kind="dead")
    assert [hook["args"] for hook in dead] == [[service, 0, -KILL]] * 2
    program.wait_for("run", pid=program.wait_for("init").pid)
    assert program.stop() == 0
    terminate = program.collect(2, "hook", kind="terminate")
    assert {hook.pid for hook in (*reload, *dead, *terminate)} == {program.pid}
    for hooks in (new, reload, dead, terminate):
        assert [hook["number"] for hook in hooks] == [1, 2]
        assert all(hook["main"] and not hook["kwargs"] for hook in hooks)
    assert len(program.all("hook", kind="dead")) == 2


def test_order(start):
    """on_new_worker comes between __init__ and run(), the others before workers are told."""
    program = start(SCRIPT, "hooks")
    program.wait_for("run")
    program.signal(HUP)
    program.wait_for("reload")
    program.stop()
    program.wait_for("terminate")
    told = [
        f"{event.name}-{event['kind']}" if event.name == "hook" else event.name
        for event in program.events
        if event.name not in ("added", "returned")
    ]
    assert told == [
        *("init", "hook-new", "hook-new", "run"),
        *("hook-reload", "hook-reload", "reload"),
        *("hook-terminate", "hook-terminate", "terminate"),
    ]


def test_a_failing_hook_skips_those_after_it(start):
    """An exception in a hook skips the rest of its kind, and affects nothing else."""
    program = start(SCRIPT, "failing_hooks")
    run = program.wait_for("run")
    program.signal(HUP)
    program.wait_for("reload")
    program.signal(KILL, run.pid)
    program.wait_for("run")
    program.wait_for("hook", kind="dead_worker", number=2)
    assert program.stop() == 0
    program.wait_for("terminate")
    for kind, times in (("terminate", 1), ("reload", 1), ("dead_worker", 1), ("new_worker", 2)):
        numbers = [hook["number"] for hook in program.all("hook", kind=kind)]
        assert numbers == [1, 2] * times
        assert f"{kind} failed" in program.stderr()


def test_no_death_is_told_of_a_stop(start):
    """on_dead_worker is not called for workers that the stop has ended."""
    program = start(SCRIPT, "plain", "3")
    program.collect(3, "run")
    assert program.stop() == 0
    program.collect(3, "terminate")
    assert not program.all("dead")


def test_hooks_may_ask_the_manager(start):
    """reconfigure() in on_reload and shutdown() in on_dead_worker do what they say."""
    program = start(SCRIPT, "hook_requests")
    run = program.wait_for("run", worker=0)
    program.signal(HUP)
    program.wait_for("run", worker=1)
    program.wait_for("reload", worker=0)
    program.signal(KILL, run.pid)
    assert program.wait() == 0
    program.wait_for("terminate", worker=1)
    program.wait_for("returned")


def test_hooks_may_add_a_service(start):
    """A service that a hook adds starts at once."""
    program = start(SCRIPT, "hook_adds")
    program.wait_for("run", service="Reloader")
    program.signal(HUP)
    assert {event["worker"] for event in program.collect(2, "run", service="Talker")} == {0, 1}
    assert program.stop() == 0
