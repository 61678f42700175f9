"""Services on oslo.messaging, with a real RabbitMQ that is there all the time."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cotyledon.contrib.oslo_messaging import NotificationService, RPCService
from cotyledon.contrib.oslo_messaging._intake import Intake
from tests.harness import SOURCES, Program, until, wait_gone
from tests.messaging_support import Topic, total, worker
from tests.servers import RabbitMQ

PAGE = Path(__file__).resolve().parent.parent / "docs" / "oslo-messaging.md"
MORE = """
import sys
manager.add(Ledger, args=(sys.argv[1],))
manager.register_hooks(on_event=lambda n: "AllReady" in str(n) and print(n, flush=True))
manager.run()
"""

pytestmark = [pytest.mark.real, pytest.mark.servers, pytest.mark.once]


@pytest.fixture
def topic(
    broker: RabbitMQ, start: Callable[..., Program], request: pytest.FixtureRequest
) -> Topic:
    return Topic(request.node.name, broker.url, start)


def test_two_workers_answer_calls(topic: Topic) -> None:
    """Calls are answered, errors too, any worker can be addressed, and the master stays small."""
    program = topic.served("calls")
    assert program.all("up")[0]["oslo"] is False
    assert topic.call("echo", n=7)["value"] == 7
    error = topic.call("fail", text="no")
    assert (error.fields["kind"], "no" in error.fields["text"]) == ("ValueError", True)
    for number in range(2):
        name = f"{socket.gethostname()}:RPCService:{number}"
        assert topic.call("pid", server=name)["value"] == worker(program, number)["pid"]
    until(lambda: total(program, "handled") == 3, "three calls are shown as handled")
    until(lambda: total(program, "failed") == 1, "one call is shown as failed")
    assert worker(program)["status"] == f"serving {topic.name}"
    assert program.stop() == 0


def test_a_stop_answers_the_calls_it_has(topic: Topic) -> None:
    """On TERM calls that run are finished and answered, and the worker ends with 0."""
    program = topic.served("calls", workers=1, own_conf=True)
    caller = topic.program("call", topic.url, "wait", '{"n": 5}')
    program.wait_for("waits", n=5)
    program.signal(signal.SIGTERM)
    program.wait_for("Stopping")
    program.open_gate("calls")
    assert program.wait() == 0
    assert caller.wait_for("answer").fields["value"] == 5


def test_calls_that_come_during_a_stop_go_elsewhere(topic: Topic) -> None:
    """A worker that finishes a long call on its way out keeps no other call waiting."""
    program = topic.served("calls", threads=2)
    topic.program("call", topic.url, "wait", '{"n": 5}')
    leaving = program.wait_for("waits", n=5).pid
    program.signal(signal.SIGTERM, leaving)
    until(
        lambda: any(
            worker(program, n)["pid"] == leaving and "finishing" in worker(program, n)["status"]
            for n in range(2)
        ),
        "the worker is on its way out",
    )
    topic.program("cast", topic.url, "echo", "20").wait_for("sent")
    taken = program.collect(20, "echo")
    assert {event.fields["n"] for event in taken} == set(range(20))
    assert leaving not in {event.pid for event in taken}
    program.open_gate("calls")
    wait_gone(leaving)
    assert program.stop() == 0


def test_heartbeats_are_in_time_beside_work(topic: Topic) -> None:
    """An endpoint that computes for three times the heartbeat's threshold costs no connection."""
    topic = topic._replace(url=topic.url + "?heartbeat_timeout_threshold=3")
    program = topic.served("notes", workers=1)
    topic.notify("busy", 1)
    program.wait_for("noted")
    assert worker(program)["figures"]["outages"] == 0
    assert program.stop() == 0
    assert len(program.all("note")) == 1
    assert topic.left() == 0


def test_a_long_stop_keeps_its_connection(topic: Topic) -> None:
    """What is finished long after a TERM is still acknowledged: heartbeats have gone on."""
    topic = topic._replace(url=topic.url + "?heartbeat_timeout_threshold=3")
    program = topic.served("notes", workers=1)
    topic.notify("wait", 1)
    program.wait_for("note")
    program.signal(signal.SIGTERM)
    stopping = program.wait_for("Stopping").at
    # The broker gives up who is silent for twice the threshold; looking is no sleep to rely on.
    until(lambda: time.monotonic() > stopping + 10, "the broker would have closed the connection")
    program.open_gate("notes")
    assert program.wait() == 0
    assert topic.left() == 0


def test_a_transport_that_cannot_be_is_not_tried_again(topic: Topic) -> None:
    """A URL that no driver knows ends the worker with status 78, and says so."""
    program = topic._replace(url="nonsense://localhost/").serve("calls", workers=1)
    program.wait_for("GaveUp")
    assert "there can be no such transport" in program.stderr()
    assert "nonsense" in program.stderr()


def test_no_part_of_a_password_is_told(topic: Topic) -> None:
    """A password with a slash that is not quoted is complained of without any part of it."""
    url = "rabbit://guest:xyzzy/plugh@localhost:5672/"
    program = topic._replace(url=url).serve("calls", workers=1)
    program.wait_for("GaveUp")
    assert "there can be no such transport" in program.stderr()
    assert "xyzzy" not in program.stderr()
    assert "plugh" not in program.stderr()


def test_every_figure_is_on_the_page() -> None:
    """The table of figures names those that there are."""
    table = PAGE.read_text().partition("| figure |")[2].partition("\n\n")[0]
    assert re.findall(r"^\| `(\w+)`", table, re.MULTILINE) == [*Intake(1).figures(), "outages"]


def test_arguments_are_checked() -> None:
    """What is wrong with an argument is said, before anything is imported or connected."""
    for error, wrong in (
        (TypeError, lambda: RPCService(0, "", [object])),
        (TypeError, lambda: RPCService(0, "topic", [])),
        (TypeError, lambda: RPCService(0, "topic", "endpoints")),
        (ValueError, lambda: RPCService(0, "topic", [object], threads=0)),
        (TypeError, lambda: NotificationService(0, "topic", [object])),
        (TypeError, lambda: NotificationService(0, [""], [object])),
        (ValueError, lambda: NotificationService(0, ["topic"], [object], retry_after=-1)),
    ):
        with pytest.raises(error, match="Service: "):
            wrong()


def test_the_examples_of_the_page_work_together(broker: RabbitMQ, tmp_path: Path) -> None:
    """The servers on the page answer and are notified by the client on the page."""
    texts = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    texts = [text.replace("rabbit://guest:guest@localhost:5672/", broker.url) for text in texts]
    assert all(broker.url in text for text in texts[:2])
    server, client, ledger = tmp_path / "server.py", tmp_path / "client.py", tmp_path / "ledger"
    one_each = re.sub(r"workers=\d", "workers=1", texts[0])
    server.write_text(one_each.replace("manager.run()", f"{texts[2]}{MORE}"))
    client.write_text(texts[1])
    more: dict[str, Any] = {
        "env": {**os.environ, "PYTHONPATH": str(SOURCES), "PYTHONWARNINGS": "ignore"},
        "stdout": subprocess.PIPE,
        "text": True,
    }
    with subprocess.Popen([sys.executable, server, ledger], **more) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "AllReady()\n"
        told = subprocess.run([sys.executable, client], check=True, timeout=30, **more).stdout
        assert process.stdout.readline() == "bill.paid: {'number': 17}\n"
        until(lambda: ledger.read_text() == "17\n", "the ledger has the bill")
        process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=30)[0] == ""
    assert told == "3\n"
    assert process.returncode == 0


def test_no_call_fails_during_a_reload(topic: Topic) -> None:
    """Calls go on without a pause while all workers are replaced, and none of them fails."""
    program = topic.served("calls", workers=2)
    before = set(program.workers())
    callers = topic.program("stream", topic.url, "4")
    callers.wait_for("streaming")
    program.collect(50, "echo")
    program.signal(signal.SIGHUP)
    program.wait_for("RolloutFinished", timeout=40)
    callers.open_gate("enough")
    result = callers.wait_for("streamed", timeout=40)
    assert result.fields["failures"] == []
    assert result.fields["calls"] >= 50
    assert not before & set(program.workers())
    assert program.stop() == 0


def test_what_fails_or_is_put_back_comes_again(topic: Topic) -> None:
    """A notification whose endpoint fails, or puts it back, is handled later."""
    program = topic.served("notes", retry_after=0.1)
    topic.notify("plain", 1, 0)
    topic.notify("again", 1, 1)
    topic.notify("fail", 1, 2)
    assert {event.fields["n"] for event in program.collect(3, "noted")} == {0, 1, 2}
    until(lambda: total(program, "requeued") == 2, "two are shown as put back")
    assert program.stop() == 0
    assert topic.left() == 0


def test_an_endpoint_that_calls_sys_exit_has_failed(topic: Topic) -> None:
    """A call that calls sys.exit() is answered with an error, and a notification comes again,
    however many of them do.
    """
    program = topic.served("calls", workers=1, threads=1)
    error = topic.call("leave")
    assert (error.name, "SystemExit(7)" in error.fields["text"]) == ("error", True)
    assert topic.call("echo", n=7)["value"] == 7
    assert program.stop() == 0
    program = topic.served("notes", workers=1, threads=1, retry_after=0.1)
    topic.notify("leave", 3)
    assert {event.fields["n"] for event in program.collect(3, "noted")} == {0, 1, 2}
    assert program.stop() == 0
    assert topic.left() == 0


def test_a_stop_finishes_notifications_and_gives_back_the_rest(topic: Topic) -> None:
    """On TERM what runs is finished and acknowledged, once; what was not begun stays queued."""
    program = topic.served("notes", workers=1, threads=2)
    topic.notify("wait", 10)
    running = {program.wait_for("note").fields["n"] for _ in range(2)}
    program.signal(signal.SIGTERM)
    program.wait_for("Stopping")
    program.open_gate("notes")
    assert program.wait() == 0
    done = {event.fields["n"] for event in program.all("noted")}
    assert running <= done
    assert len(program.all("note")) == len(done)
    assert topic.left() == 10 - len(done)
    again = topic.served("notes", workers=1)
    again.open_gate("notes")
    rest = [event.fields["n"] for event in again.collect(10 - len(done), "noted")]
    assert sorted([*rest, *done]) == list(range(10))
    assert again.stop() == 0


def test_a_killed_worker_loses_no_notification(topic: Topic) -> None:
    """What a worker had not acknowledged when it was killed is handled by others."""
    program = topic.served("notes", workers=2, threads=4)
    topic.notify("wait", 30)
    program.collect(8, "note")
    victim = program.workers()[0]
    program.signal(signal.SIGKILL, victim)
    wait_gone(victim)
    program.open_gate("notes")
    seen: set[int] = set()
    while seen != set(range(30)):
        seen.add(program.wait_for("noted").fields["n"])
    assert program.stop() == 0
    assert topic.left() == 0


def test_a_killed_worker_loses_only_the_calls_it_ran(topic: Topic) -> None:
    """Calls beyond the threads of a worker are not acknowledged, and go to others if it dies."""
    program = topic.served("calls", workers=1, threads=2)
    topic.program("cast", topic.url, "wait", "20").wait_for("sent")
    begun = {event.fields["n"] for event in program.collect(2, "waits")}
    os.kill(program.workers()[0], signal.SIGKILL)
    program.open_gate("calls")
    done: set[int] = set()
    while len(done) < 17:
        done.add(program.wait_for("waited").fields["n"])
    # One more may have been acknowledged, and have waited for a thread.
    assert not done & begun
    assert program.stop() == 0
