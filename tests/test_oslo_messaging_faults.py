"""Services on oslo.messaging, with a RabbitMQ to which all kinds of things happen."""

import signal
from collections.abc import Callable

import pytest

from tests.harness import Program, until
from tests.messaging_support import Topic, await_status, total, worker
from tests.servers import RabbitMQ

pytestmark = [pytest.mark.real, pytest.mark.servers, pytest.mark.once]

PROMPT = 15
"""Seconds that are little for a stop on a busy machine: the graceful timeout is longer."""
OPTIONS = "?amqp_durable_queues=true&rabbit_interval_max=1"


@pytest.fixture
def lonely(
    rabbitmq: RabbitMQ, start: Callable[..., Program], request: pytest.FixtureRequest
) -> Topic:
    """A topic whose broker may be down."""
    return Topic(request.node.name, rabbitmq.url + OPTIONS, start)


@pytest.fixture
def topic(broker: RabbitMQ, lonely: Topic) -> Topic:
    """A topic whose broker is there."""
    return lonely


def test_a_broker_that_is_down_is_waited_for(lonely: Topic, rabbitmq: RabbitMQ) -> None:
    """Without a broker a worker says so, is not ready and stops at once; with one it is ready."""
    rabbitmq.kill()
    program = lonely.serve("calls", workers=1, grace=60)
    assert await_status(program, "no broker since")["state"] == "starting"
    await_status(program, "Connection refused")
    assert program.stop(PROMPT) == 0
    program = lonely.serve("calls", workers=1)
    await_status(program, "Connection refused")
    rabbitmq.start()
    program.wait_for("AllReady")
    assert lonely.call("echo", n=1)["value"] == 1
    assert worker(program)["status"] == f"serving {lonely.name}"
    assert program.stop() == 0


def test_a_broker_that_refuses_the_password_is_asked_again(topic: Topic, broker: RabbitMQ) -> None:
    """A password that is refused is said, and the worker is ready once it is accepted."""
    program = topic._replace(url=topic.url.replace("guest:guest", "late:secret")).serve("notes", 1)
    assert await_status(program, "ACCESS_REFUSED")["state"] == "starting"
    assert "secret" not in program.stderr()
    broker.control("add_user", "late", "secret")
    broker.control("set_permissions", "late", ".*", ".*", ".*")
    program.wait_for("AllReady", timeout=40)
    assert program.stop() == 0


def test_a_killed_broker_loses_no_notification(topic: Topic, broker: RabbitMQ) -> None:
    """What a durable queue has confirmed is handled, whatever happened while it was handled."""
    program = topic.served("notes", workers=1, threads=3)
    topic.notify("wait", 20)
    program.collect(3, "note")
    broker.kill()
    await_status(program, "no broker since")
    program.open_gate("notes")
    program.collect(3, "noted")
    broker.start()
    # The three come again. Were they left unanswered, the worker would be given nothing else.
    seen = {event.fields["n"] for event in program.all("noted")}
    while seen != set(range(20)):
        seen.add(program.wait_for("noted", timeout=40).fields["n"])
    await_status(program, "serving")
    assert worker(program)["figures"]["outages"] == 1
    assert program.stop() == 0
    assert topic.left() == 0


def test_a_broker_that_comes_back_empty_is_served(topic: Topic, broker: RabbitMQ) -> None:
    """Queues that are gone are made again; a call that ran meanwhile is answered or times out."""
    program = topic.served("calls", workers=2)
    caller = topic.program("call", topic.url, "wait", '{"n": 3}', "25")
    program.wait_for("waits")
    broker.restart(empty=True)
    program.open_gate("calls")
    until(lambda: total(program, "running") == 0, "the call is over", 40)
    assert topic.call("echo", n=2)["value"] == 2
    caller.wait(60)
    (end,) = caller.all("answer") + caller.all("error")
    assert end.name == "answer" or end.fields["kind"] == "MessagingTimeout"
    assert program.stop() == 0


def test_an_answer_that_cannot_be_delivered_delays_no_stop(topic: Topic, broker: RabbitMQ) -> None:
    """A worker that has an answer for a broker that hangs gives it up after a while."""
    program = topic.served("calls", workers=1, grace=60)
    topic.program("call", topic.url, "wait", '{"n": 1}')
    program.wait_for("waits")
    with broker.frozen():
        program.open_gate("calls")
        program.wait_for("waited")
        program.signal(signal.SIGTERM)
        assert program.wait(2 * PROMPT) == 0
    assert "answers cannot be delivered" in program.stderr()


def test_a_frozen_broker_delays_no_stop(topic: Topic, broker: RabbitMQ) -> None:
    """A worker bears a broker that has frozen, and stops promptly, before its start or after."""
    running = topic.served("calls", workers=1, grace=60)
    caller = topic.program("call", topic.url, "wait", '{"n": 1}')
    running.wait_for("waits")
    with broker.frozen():
        running.open_gate("calls")
        running.wait_for("waited")
    caller.wait_for("answer")
    with broker.frozen():
        starting = topic.serve("notes", workers=1, grace=60)
        await_status(starting, "timed out")
        starting.signal(signal.SIGTERM)
        running.signal(signal.SIGTERM)
        assert starting.wait(PROMPT) == 0
        assert running.wait(PROMPT) == 0
