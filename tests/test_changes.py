"""What a running manager is made of can change: services leave, and become others."""

import signal

import pytest

from tests.harness import process, until
from tests.test_policies import Play, play, service

__all__ = ["play"]
pytestmark = pytest.mark.real


def test_a_removed_service_is_stopped_and_forgotten_and_the_others_are_not_touched(play):
    p: Play = play(service("web", workers=3), service("mail", workers=2))
    p.notice("AllReady")
    pids = p.command("[w.pid for w in manager.status().services[0].workers]")
    kept = p.command("[w.pid for w in manager.status().services[1].workers]")
    p.command("manager.remove(web)")
    p.notice("ServiceGone", service="web")
    assert all(process(pid) is None for pid in pids)
    assert p.command("[s.name for s in manager.status().services]") == ["mail"]
    assert p.command("[w.pid for w in manager.status().services[0].workers]") == kept
    p.program.signal(signal.SIGHUP)
    p.notice("RolloutFinished", service="mail")
    p.stop()


def test_a_service_that_others_come_after_cannot_be_removed_before_them(play):
    p: Play = play(service("db"), service("web", after=["db"]))
    p.notice("AllReady")
    said = p.command("refused(lambda: manager.remove(db))")
    assert said == "db cannot be removed: web comes after it"
    p.command("[manager.remove(s.id) for s in reversed(manager.status().services)]")
    p.notice("ServiceGone", service="web")
    p.notice("ServiceGone", service="db")
    p.stop()


def test_a_changed_policy_holds_at_once(play):
    p: Play = play(service("web", policy="Policy(restart='never')", does=[["exit", 0]]))
    p.notice("WorkerDied", service="web")
    until(lambda: p.state()["state"] == "done", "the service to be done")
    p.change("web")
    p.command("manager.reconfigure(web, policy=Policy())")
    p.notice("WorkerReady", service="web")
    until(lambda: p.state()["state"] == "ready", "the worker to be there")
    p.stop()


def test_a_changed_service_is_what_the_next_workers_are(play):
    p: Play = play(service("web", workers=2))
    p.notice("AllReady")
    p.command(
        "manager.reconfigure(web, args=('web', [['exit', 7]]), policy=Policy(restart='never'))"
    )
    p.command("manager.restart(web)")
    until(lambda: p.state()["state"] == "failed", "the worker to end")
    assert p.state()["deaths"][-1][:2] == ["exit", 7]
    p.stop()


@pytest.mark.parametrize(
    ("call", "says"),
    [
        ("manager.reconfigure(web)", "'workers' must be an int >= 0, not: None (NoneType)"),
        ("manager.reconfigure(web, policy=3)", "'policy' must be a Policy, not: 3"),
        ("manager.reconfigure(web, service=3)", "'service' must be a callable"),
        ("manager.reconfigure(web, -1, policy=Policy())", "'workers' must be an int >= 0"),
    ],
)
def test_what_a_service_cannot_become_is_said_at_the_call(play, call, says):
    p: Play = play(service("web"))
    p.notice("AllReady")
    said = p.command(f"refused(lambda: {call})")
    assert says in said
    p.stop()
