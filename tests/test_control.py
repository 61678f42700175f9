"""The control socket from end to end: what is asked, and what comes of it."""

import os
import signal
import threading
import time

import pytest

from cotyledon import control
from cotyledon.control import Client, ControlError
from tests.control_support import Managed
from tests.harness import alive, until

pytestmark = pytest.mark.real

WEB = {"name": "web", "workers": 2}
ONE = {"name": "web"}


@pytest.fixture
def managed(start):
    return lambda *services, **settings: Managed(start, *services, **settings)


def service(client: Client, index: int = 0):
    return client.status()["services"][index]


def pids(client: Client):
    return [worker["pid"] for worker in service(client)["workers"]]


# --- status -------------------------------------------------------------------------------


def test_the_greeting_tells_who_listens(managed, tmp_path):
    """The first line has the version of the protocol, the name of the manager and its pid."""
    it = managed(name="web-1", env={"XDG_RUNTIME_DIR": str(tmp_path)})
    with it.raw() as raw:
        assert raw.greeting["cotyledon"] == 1
        assert raw.greeting["name"] == "web-1"
        assert raw.greeting["pid"] == it.program.pid
    with it.client() as client:
        assert client.greeting == ("3.0.0", "web-1", it.program.pid)
    assert it.program.stop() == 0


def test_the_status_has_every_field_of_the_protocol(managed):
    """A status tells of the manager, its services and its workers what the page says."""
    it = managed(
        {"name": "web", "policy": 'Policy(watchdog="100s")', "does": [["beat", 1, 0]]},
        {"name": "mail", "after": ["web"]},
    )
    it.wait_for("beaten")
    with it.client() as client:
        found = client.status()
        assert set(found["manager"]) == {
            *("pid", "name", "version", "state", "uptime", "at", "grace")
        }
        assert found["manager"]["state"] == "running"
        assert abs(found["manager"]["at"] - time.time()) < 20
        web, mail = found["services"]
        assert set(web) == {
            *(
                "id",
                "name",
                "wanted",
                "ready",
                "generation",
                "reloading",
                "rollout_failed",
                "removed",
            ),
            *("gave_up", "after", "restart", "watchdog", "totals", "workers"),
        }
        assert mail["after"] == [web["id"]]
        assert (web["restart"], web["watchdog"], mail["watchdog"]) == ("always", 100, None)
        worker = web["workers"][0]
        assert set(worker) == {
            *("id", "state", "pid", "generation", "since", "uptime", "next_start_in"),
            *("failures", "starts", "heartbeat_age", "status", "second_pid", "second_state"),
            *("deaths", "figures"),
        }
        assert 0 <= worker["heartbeat_age"] <= worker["uptime"]
        assert mail["workers"][0]["heartbeat_age"] is None
        os.kill(worker["pid"], signal.SIGKILL)
        until(lambda: service(client)["workers"][0]["starts"] == 2, "it has come back")
        death = service(client)["workers"][0]["deaths"][0]
        assert set(death) == {
            *("reason", "exit_code", "uptime", "ago", "pid", "usage", "stacks"),
            *("next_start_in", "failures"),
        }
        assert (death["reason"], death["exit_code"]) == ("signal", -9)
    assert it.program.stop() == 0


def test_totals_count_starts_and_deaths_by_reason(managed):
    """Totals tell how often and why workers were started and ended, and how long it took."""
    it = managed(WEB)
    with it.client() as client:
        killed = pids(client)[0]
        os.kill(killed, signal.SIGKILL)
        until(
            lambda: killed not in pids(client) and service(client)["ready"] == 2,
            "another one is ready in its place",
        )
        assert client.scale("web", 1, wait=20).ok
        totals = until(lambda: service(client)["totals"], "totals")
        assert totals["starts"] == {"wanted": 2, "respawn": 1}
        assert totals["deaths"] == {"signal": 1, "scaled down": 1}
        counts = [
            totals[name]["buckets"][-1]
            for name in ("start_seconds", "stop_seconds", "respawn_seconds")
        ]
        assert counts == [[None, 3], [None, 1], [None, 1]]
        assert totals["start_seconds"]["sum"] > 0
    assert it.program.stop() == 0


# --- commands -----------------------------------------------------------------------------


def test_scale_is_answered_and_waited_for(managed):
    """A scale tells the number before; with wait it returns when so many are ready."""
    it = managed(WEB)
    with it.client() as client:
        outcome = client.scale("web", 4, wait=20)
        assert outcome.ok
        assert outcome.answer["before"] == 2
        assert service(client)["ready"] == 4
        assert client.scale("web", 0, wait=20).ok
        assert service(client)["workers"] == []
        assert client.scale(service(client)["id"][:6], 1).answer["before"] == 0
    assert it.program.stop() == 0


def test_reload_is_answered_when_it_has_a_number(managed):
    """A reload tells its generation; with wait it returns when every worker has taken it up."""
    it = managed(WEB, {"name": "mail", "kind": "reloading"})
    with it.client() as client:
        web, mail = (one["id"] for one in client.status()["services"])
        before = pids(client)
        outcome = client.reload(wait=20)
        assert outcome.ok
        assert outcome.answer == {"generations": {web: 1, mail: 1}}
        assert not set(before) & set(pids(client))
        assert it.wait_for("reload")["service"] == "mail"
        assert client.reload("mail", wait=20).answer == {"generations": {mail: 2}}
    assert it.program.stop() == 0


def test_restart_of_a_service_and_of_one_worker(managed):
    """A restart replaces all workers, or one; with wait it returns when the new one is ready."""
    it = managed(WEB)
    with it.client() as client:
        first, second = pids(client)
        outcome = client.restart("web", 1, wait=20)
        assert outcome.ok
        assert outcome.answer["starts"] == 1
        assert pids(client)[0] == first
        assert pids(client)[1] != second
        assert client.restart("web", wait=20).ok
        assert first not in pids(client)
    assert it.program.stop() == 0


def test_a_worker_that_does_not_come_back_is_an_outcome(managed):
    """A restart whose worker ends for good before it is ready is told as such, and in time."""
    it = managed(
        {"name": "web", "policy": 'Policy(restart="never", start=Start(ready="told"))'},
        ready=False,
    )
    it.wait_for("run")
    it.program.directory.joinpath("does-web").write_text('[["exit", 3]]')
    with it.client() as client:
        outcome = client.restart("web", 0, wait=20)
        assert not outcome.ok
        assert outcome.text == "web/0 has failed for good: exit, status 3"
    assert it.program.stop() == 0


def test_a_rollout_that_fails_is_an_outcome(managed):
    """A reload whose new workers hang is told as failed, and what runs old is kept."""
    policy = 'Policy(start=Start(ready="told", timeout=1), rollout=Rollout(progress_deadline=0.5))'
    it = managed({"name": "web", "policy": policy, "does": [["ready"]]})
    it.program.directory.joinpath("does-web").write_text("[]")
    with it.client() as client:
        outcome = client.restart("web", wait=30)
        assert not outcome.ok
        assert "web" in outcome.text
    assert it.program.stop() == 0


def test_what_is_not_known_in_time_is_an_outcome(managed):
    """A wait that is over before its end says so."""
    it = managed({"name": "web", "policy": 'Policy(start=Start(ready="told"))'}, ready=False)
    it.wait_for("run")
    with it.client() as client:
        outcome = client.scale("web", 2, wait=0.2)
        assert (outcome.ok, outcome.why == "timeout") == (False, True)
        assert "within 0.2 s: web: 0 of 2 workers are ready; web/0 is starting" in outcome.text
    assert it.program.stop() == 0


def test_signals_reach_workers(managed):
    """A signal goes to one worker or to all, by name or by number."""
    it = managed(WEB)
    with it.client() as client:
        both = pids(client)
        assert client.request("signal", service="web", signal="cont")["pids"] == both
        found = client.request("signal", service="web", worker=1, signal=9)
        assert found == {"pids": [both[1]]}
        it.wait_for("notice", kind="WorkerDied", worker_id=1)
    assert it.program.stop() == 0


def test_a_slot_without_a_process_is_told_apart(managed):
    """A worker in back-off cannot be signalled or looked at, and that is said."""
    it = managed(
        {"name": "web", "policy": "Policy(backoff=Backoff(initial=20))", "does": [["exit", 1]]},
    )
    it.wait_for("notice", kind="BackingOff")
    with it.client() as client:
        for request in ("signal", "stacks"):
            more = {"signal": 9} if request == "signal" else {}
            with pytest.raises(ControlError) as caught:
                client.request(request, service="web", worker=0, **more)
            assert caught.value.kind == "no-worker"
        assert client.status()["services"][0]["workers"][0]["next_start_in"] > 0
    assert it.program.stop() == 0


@pytest.mark.parametrize(
    ("request_", "kind"),
    [
        ({"do": "dance"}, "bad-request"),
        ({"do": 7}, "bad-request"),
        ({"do": "scale", "service": "web"}, "bad-request"),
        ({"do": "scale", "service": "web", "workers": True}, "bad-request"),
        ({"do": "scale", "service": "web", "workers": 1 << 40}, "bad-request"),
        ({"do": "status", "more": 1}, "bad-request"),
        ({"do": "events", "last": -1}, "bad-request"),
        ({"do": "signal", "service": "web", "signal": 0}, "bad-request"),
        ({"do": "signal", "service": "web", "signal": "DANCE"}, "bad-request"),
        ({"do": "reload", "service": "wep"}, "unknown-service"),
        ({"do": "reload", "service": ""}, "unknown-service"),
        ({"do": "restart", "service": "twin"}, "ambiguous"),
        ({"do": "restart", "service": "web", "worker": 2}, "unknown-worker"),
        ({"do": "stacks", "service": "web", "worker": 1 << 62}, "unknown-worker"),
    ],
)
def test_what_cannot_be_done_is_refused(shared, request_, kind):
    """Each refusal has its kind and one line of text."""
    answer = shared.answer(id="x", **request_)
    assert answer["id"] == "x"
    assert answer["error"]["kind"] == kind
    assert "\n" not in answer["error"]["text"]


@pytest.fixture
def shared(start):
    it = Managed(start, WEB, {"name": "twin"}, {"name": "twin"})
    with it.raw() as raw:
        yield raw
    assert it.program.stop() == 0


# --- events -------------------------------------------------------------------------------


def test_events_follow_each_other_without_gaps(managed):
    """Past events come first, then what happens; each number is one more than the last."""
    it = managed(WEB)
    with it.client() as client:
        events = client.events(last=100)
        client.scale("web", 3)
        seen = []
        for event in events:
            seen.append(event)
            if event["kind"] == "worker-ready" and event["worker"] == 2:
                break
        assert [event["seq"] for event in seen] == list(range(1, len(seen) + 1))
        kinds = [event["kind"] for event in seen]
        assert kinds.count("worker-started") == kinds.count("worker-ready") == 3
        scaled = seen[kinds.index("scaled")]
        assert (scaled["name"], scaled["workers"], scaled["before"]) == ("web", 3, 2)
        client.stop()
        assert [event["kind"] for event in events][-1] == "exit"
    assert it.program.wait() == 0


def test_reconfigure_is_an_event(managed):
    """A change of the number that the program makes itself is told, too."""
    it = managed(WEB)
    with it.client() as client:
        events = client.events()
        it.master_command("manager.reconfigure(web, 1)")
        assert next(iter(events))["kind"] == "scaled"
        events.close()
    assert it.program.stop() == 0


def test_a_service_that_is_removed(managed):
    """A service that was removed refuses commands while it ends, and is unknown then."""
    it = managed(WEB, {"name": "mail", "does": [["hang_in_c"]]})
    it.wait_for("hangs")
    with it.client() as client:
        events = client.events()
        it.master_command("manager.remove(mail)")
        until(lambda: service(client, 1)["workers"][0]["state"] == "stopping", "it stops")
        for command in (lambda: client.scale("mail", 2), lambda: client.reload("mail")):
            with pytest.raises(ControlError) as caught:
                command()
            assert caught.value.kind == "unknown-service"
            assert "being removed" in caught.value.text
        client.request("signal", service="mail", signal="KILL")
        until(lambda: len(client.status()["services"]) == 1, "it is gone")
        assert client.reload(wait=20).ok
        kinds = {event["kind"] for event, _ in zip(events, range(2), strict=False)}
        assert kinds <= {"worker-died", "service-gone", "worker-started"}
        events.close()
    assert it.program.stop() == 0


# --- the end ------------------------------------------------------------------------------


def test_stop_is_waited_for(managed):
    """A stop that is waited for tells the exit status of the manager."""
    it = managed(WEB)
    with it.client() as client:
        outcome = client.stop(wait=20)
    assert (outcome.ok, outcome.status) == (True, 0)
    assert it.program.wait() == 0
    assert not os.path.exists(it.path)


def test_a_stop_that_is_not_graceful_is_told(managed):
    """What had to be killed shows in the exit status."""
    it = managed({"name": "web", "does": [["hang_in_c"]]}, graceful_shutdown_timeout=0.5)
    it.wait_for("hangs")
    with it.client() as client:
        outcome = client.stop(wait=20)
    assert (outcome.ok, outcome.status) == (False, 1)
    assert it.program.wait() == 1


def test_a_manager_that_stops_refuses_what_it_cannot_do(managed):
    """While it stops, a manager answers questions, refuses commands, and takes a second stop."""
    it = managed({"name": "web", "does": [["hang_in_c"]]}, graceful_shutdown_timeout=3)
    it.wait_for("hangs")
    with it.client() as client:
        client.stop()
        assert client.status()["manager"]["state"] == "stopping"
        for command in (lambda: client.scale("web", 2), client.reload):
            with pytest.raises(ControlError) as caught:
                command()
            assert caught.value.kind == "stopping"
        client.stop()
    it.program.signal(signal.SIGINT)
    assert it.program.wait() == 1


def test_a_master_that_is_killed_is_an_outcome(managed):
    """A client of a master that is killed is told so: no traceback, and nothing that hangs."""
    it = managed({"name": "web", "policy": 'Policy(start=Start(ready="told"))'}, ready=False)
    it.wait_for("run")
    with it.client() as client:
        killer = threading.Timer(0.3, os.kill, (it.program.pid, signal.SIGKILL))
        killer.start()
        outcome = client.scale("web", 2, wait=20)
        assert not outcome.ok
        assert "has ended" in outcome.text
        with pytest.raises(ControlError) as caught:
            client.status()
        assert caught.value.kind == "gone"
        killer.join()
    assert it.program.wait() == -signal.SIGKILL
    with pytest.raises(ControlError) as caught:
        Client(it.path)
    assert caught.value.kind == "no-manager"
    assert "left there" in caught.value.text


def test_commands_that_contradict(managed):
    """Of two numbers that are asked for the last one counts, and the first is told so."""
    it = managed(
        {"name": "web", "workers": 1, "policy": 'Policy(start=Start(ready="told"))'}, ready=False
    )
    it.wait_for("run")
    outcomes = []
    with it.client() as client, it.client() as other:
        events = other.events()
        thread = threading.Thread(target=lambda: outcomes.append(client.scale("web", 3, wait=20)))
        thread.start()
        assert next(iter(events))["kind"] == "scaled"
        assert other.scale("web", 2).answer["before"] == 3
        thread.join()
        events.close()
        assert not outcomes[0].ok
        assert "scaled to 2" in outcomes[0].text
        assert alive(it.program.pid)
    assert it.program.stop() == 0


def test_a_stop_supersedes_what_is_waited_for(managed):
    """Who waits for something when the manager is told to stop hears of that."""
    it = managed({"name": "web", "policy": 'Policy(start=Start(ready="told"))'}, ready=False)
    it.wait_for("run")
    with it.client() as client, it.client() as other:
        stopper = threading.Timer(0.2, other.stop)
        stopper.start()
        outcome = client.scale("web", 2, wait=20)
        stopper.join()
        assert not outcome.ok
        assert "stopping" in outcome.text or "ended" in outcome.text
    assert it.program.wait() == 0


def test_a_client_that_is_killed_leaves_nothing(managed):
    """The descriptor of a client that has gone is closed, whatever it was waiting for."""
    it = managed(WEB)
    before = it.descriptors()
    for _ in range(5):
        with it.raw() as raw:
            raw.ask(do="events", last=100)
            raw.ask(do="reload")
        until(lambda: it.descriptors() <= before, "the connection is closed")
    it.supervises()
    assert it.program.stop() == 0


def test_names_are_looked_up(managed, tmp_path, monkeypatch):
    """find() and managers() tell the sockets below the run folder."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with pytest.raises(ControlError) as caught:
        control.find("web")
    assert caught.value.kind == "no-manager"
    it = managed(name="web", control=True, env={"XDG_RUNTIME_DIR": str(tmp_path)})
    assert control.find("web") == f"{tmp_path}/cotyledon/web.sock"
    assert "web" in control.managers()
    with Client("web") as client:
        assert client.greeting.name == "web"
        client.stop(wait=20)
    assert it.program.wait() == 0
    assert os.listdir(tmp_path / "cotyledon") == []
    for name in ("no such", "", ".."):
        with pytest.raises(ControlError):
            control.find(name)
