"""What workers tell through the control socket: their stacks, and what they are doing."""

import copy
import math
import os
import pickle
import signal

import pytest

import cotyledon
from cotyledon._posix import channel
from cotyledon.control import ControlError
from tests.control_support import Managed
from tests.harness import alive, until

METHODS = ["fork", "spawn", "forkserver"]


def worker(client, index=0):
    return client.status()["services"][index]["workers"][0]


# --- stacks -------------------------------------------------------------------------------


@pytest.mark.real
def test_the_stacks_of_threads(start):
    """A worker tells where its threads are; again and again, and lives on."""
    it = Managed(start, {"name": "web", "does": [["hang"]]})
    with it.client() as client:

        def hangs():
            return "in do_hang" in client.request("stacks", service="web", worker=0)["stacks"]

        until(hangs, "run() is in it")
        for _ in range(3):
            found = client.request("stacks", service="web", worker=0)
            assert found["pid"] == worker(client)["pid"]
            assert found["stacks"].count("in do_hang") == 1
            assert "Thread MainThread" in found["stacks"]
            assert "Thread run" in found["stacks"]
        assert alive(found["pid"])
    it.supervises()
    assert it.program.stop() == 0


@pytest.mark.real
def test_the_stacks_of_a_loop(start):
    """A worker with an event loop tells the stacks of its tasks, too."""
    it = Managed(start, {"name": "web", "kind": "looping"})
    with it.client() as client:
        text = client.request("stacks", service="web", worker=0)["stacks"]
        assert "Thread MainThread" in text
    assert it.program.stop() == 0


@pytest.mark.real
@pytest.mark.parametrize("does", ["match", "hang_in_c"])
def test_the_stacks_of_what_holds_the_gil(start, does):
    """A worker whose main thread does not get to run is asked by signal, and lives on."""
    it = Managed(start, {"name": "web", "does": [[does]]}, graceful_shutdown_timeout=0.5)
    it.wait_for("matches" if does == "match" else "hangs")
    with it.client() as client:
        found = client.request("stacks", service="web", worker=0)
        assert f"in do_{does}" in found["stacks"]
        assert alive(found["pid"])
    it.program.stop()


@pytest.mark.real
def test_the_stacks_of_what_is_being_built(start):
    """A worker that is not ready yet is asked by signal."""
    it = Managed(start, {"name": "web", "does": [["init_hang"]]}, ready=False)
    it.program.directory.joinpath("x").touch()
    it.wait_for("init")
    with it.client() as client:
        assert "in __init__" in client.request("stacks", service="web", worker=0)["stacks"]
    it.program.signal(signal.SIGINT)
    it.program.wait()


@pytest.mark.real
def test_a_stopped_worker_has_no_answer(start):
    """A worker that somebody has stopped tells nothing; that is said after two seconds."""
    it = Managed(start)
    with it.client() as client, it.client() as other:
        pid = worker(client)["pid"]
        it.program.pause(pid)
        with pytest.raises(ControlError) as caught:
            client.request("stacks", service="web", worker=0)
        assert caught.value.kind == "no-answer"
        os.kill(pid, signal.SIGCONT)
        # The answer to the signal may come now, or that to the new question.
        found = other.request("stacks", service="web", worker=0)["stacks"]
        assert "policies.py" in found  # a thread for its run() may not have begun
    assert it.program.stop() == 0


@pytest.mark.real
def test_a_worker_that_dies_while_it_is_asked(start):
    """Who asks a worker that ends meanwhile is told so."""
    it = Managed(start)
    with it.client() as client, it.raw() as raw:
        pid = worker(client)["pid"]
        it.program.pause(pid)
        raw.ask(do="stacks", service="web", worker=0)
        raw.ask(do="status")
        assert client.status()
        os.kill(pid, signal.SIGKILL)
        assert raw.error() == "no-worker"
        assert "ok" in raw.line()
    assert it.program.stop() == 0


# --- status() -----------------------------------------------------------------------------


@pytest.mark.real
@pytest.mark.parametrize("method", METHODS)
def test_what_a_service_says_is_in_the_status(start, method):
    """status() shows in the status and in the events, short and on one line."""
    text = "job\n7\x1b[31m " + "x" * 300
    web = {"name": "web", "does": [["status", text]]}
    it = Managed(start, web, start_method=method)
    with it.client() as client:
        said = until(lambda: worker(client)["status"], "it is told")
        assert said == "job 7 [31m " + "x" * (200 - 11)
        # What is remembered is what happens, not what is said.
        assert "worker-status" not in {event["kind"] for event in _past(client)}
    notice = it.wait_for("notice", kind="WorkerStatus")
    assert notice["status"] == said
    assert it.program.stop() == 0


def _past(client):
    events = client.events(last=256)
    client.scale("web", 1)
    found = []
    for event in events:
        found.append(event)
        if len(found) >= 3:
            break
    events.close()
    return found


@pytest.mark.real
def test_the_last_text_arrives(start):
    """A service that says something all the time is heard at times, and its last text counts."""
    it = Managed(
        start,
        {"name": "web", "does": [["chatter", 50_000], ["status", "", "done"]]},
        {"name": "loop", "kind": "looping"},
    )
    it.wait_for("chattered")
    with it.client() as client:
        until(lambda: worker(client)["status"] == "done", "the last one is there")
    assert len(it.program.all("notice", kind="WorkerStatus")) < 200
    assert it.program.stop() == 0


@pytest.mark.real
def test_a_status_ends_with_its_worker(start):
    """The next worker of a slot has said nothing yet."""
    it = Managed(start, {"name": "web", "does": [["status", "busy"]]})
    with it.client() as client:
        until(lambda: worker(client)["status"] == "busy", "it is told")
        it.program.directory.joinpath("does-web").write_text("[]")
        client.restart("web", 0, wait=20)
        assert worker(client)["status"] is None
        assert client.status()["services"][0]["workers"][0]["starts"] == 2
    assert it.master_command("manager.status().services[0].workers[0].status") is None
    assert it.program.stop() == 0


@pytest.mark.real
@pytest.mark.parametrize("method", METHODS)
def test_figures_are_in_the_status_and_in_no_event(start, method):
    """A service tells numbers by name; each call takes the place of the last, as a whole."""
    figures = {"jobs": 12, "load": -0.25, "tiny": 1e-300, "big": 10**30}
    it = Managed(
        start,
        {"name": "web", "does": [["figures", "busy", figures]]},
        start_method=method,
    )
    with it.client() as client:
        found = until(lambda: worker(client)["figures"], "they are told")
        assert found == {"jobs": 12, "load": -0.25, "tiny": 1e-300, "big": 1e30}
        assert type(found["jobs"]) is int
    assert it.master_command("dict(manager.status().services[0].workers[0].figures)") == found
    assert it.program.stop() == 0


@pytest.mark.usefixtures("fresh")
def test_a_status_can_be_sent_and_copied():
    """A status is made of plain values, before there is any worker as well."""
    manager = cotyledon.ServiceManager()
    manager.add(cotyledon.Service, 2)
    status = manager.status()
    assert pickle.loads(pickle.dumps(status)) == status == copy.deepcopy(status)
    assert type(status.services[0].workers[0].figures) is dict


def test_status_checks_its_argument():
    """status() takes a string, and does nothing outside a worker."""
    cotyledon.Service(0).status("fine")
    with pytest.raises(TypeError, match=r"status\(\): 'text' must be a string"):
        cotyledon.Service(0).status(7)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("figures", "kind", "says"),
    [
        ([1], TypeError, "numbers by name"),
        ({1: 1}, TypeError, "a name in 'figures' must be a string"),
        ({"": 1}, ValueError, "1 to 40 printable ASCII"),
        ({"x" * 41: 1}, ValueError, "1 to 40 printable ASCII"),
        ({"a\0": 1}, ValueError, "1 to 40 printable ASCII"),
        ({"a": "1"}, TypeError, r"figures\['a'\]"),
        ({"a": math.nan}, ValueError, r"figures\['a'\].* must be a finite number, not: nan"),
        ({str(n): n for n in range(33)}, ValueError, "32 at most, not 33"),
    ],
)
def test_figures_are_checked(figures, kind, says):
    """What is no finite number by name is refused where it is said."""
    with pytest.raises(kind, match=says):
        cotyledon.Service(0).status("fine", figures)


def test_the_longest_figures_fit_into_a_message():
    """As many and as long figures as may be are in one message, and are read back the same."""
    figures = {f"{n:040}": -1.2345678901234567e-300 - n for n in range(32)}
    message = channel.StatusMessage(2**22, "\U0001f600" * 200, figures)
    datagram = channel.encode(message)
    assert len(datagram) <= channel.LARGEST
    assert channel.decode(datagram) == message


# --- the trace ----------------------------------------------------------------------------


@pytest.mark.real
def test_the_trace_explains_what_happened(start):
    """The last steps of the core are told as text, each with its instant."""
    it = Managed(start)
    with it.client() as client:
        client.scale("web", 3, wait=20)
        steps = client.request("trace")["steps"]
        effects = [effect for step in steps for effect in step["effects"]]
        events = [event for step in steps for event in step["events"]]
        assert any(effect.startswith("Spawn(") for effect in effects)
        assert any(event.startswith("ScaleRequested(") for event in events)
        assert [step["at"] for step in steps] == sorted(step["at"] for step in steps)
    assert it.program.stop() == 0
