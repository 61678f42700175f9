"""Services on oslo.messaging, with a real RabbitMQ that is there all the time."""

import os
import signal
import socket
from collections.abc import Callable, Iterator

import pytest

from tests.harness import Program, until, wait_gone
from tests.messaging_support import Topic, total, worker
from tests.servers import RabbitMQ

pytestmark = [pytest.mark.real, pytest.mark.servers]


@pytest.fixture(scope="module")
def broker() -> Iterator[RabbitMQ]:
    """A RabbitMQ for all tests of this file."""
    if why := RabbitMQ.missing():
        pytest.skip(why)
    server = RabbitMQ()
    server.start()
    try:
        yield server
    finally:
        server.close()


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
    program = topic.served("calls", workers=1)
    caller = topic.program("call", topic.url, "wait", '{"n": 5}')
    program.wait_for("waits", n=5)
    program.signal(signal.SIGTERM)
    program.wait_for("Stopping")
    program.open_gate("calls")
    assert program.wait() == 0
    assert caller.wait_for("answer").fields["value"] == 5


@pytest.mark.once
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


@pytest.mark.once
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


@pytest.mark.once
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
