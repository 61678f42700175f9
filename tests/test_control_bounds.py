"""Clients that are slow, silent, rude or many: supervision goes on, and memory has a bound."""

import json
import os
import resource
import signal
import socket
import sys
import time

import pytest

from cotyledon._control.clients import BURST, LONGEST_LINE, Client, TooLong
from cotyledon._control.requests import Refused, check, read
from tests.control_support import Managed, Raw, jiffies, lapse, resident
from tests.harness import until

MANY = 1 << 20


@pytest.fixture
def it(start):
    managed = Managed(start)
    yield managed
    managed.supervises()
    assert managed.program.stop() == 0


# --- what is no request -------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b" ",
        b"hello",
        b"[]",
        b"7",
        b"null",
        b'"status"',
        b"{",
        b'{"do": "status"',
        b'{"do": "status"} {}',
        b'{"do": "status", "do": "status"}',
        b'{"do": NaN}',
        b'{"do": "status", "id": Infinity}',
        b'{"do": "status", "id": 1.5}',
        b'{"do": "status", "id": true}',
        b'{"do": "status", "id": []}',
        b'{"do": "status", "id": 99999999999999999999}',
        b'{"do": "status", "id": %b}' % (b"9" * 10_000),
        b'{"do": "status", "id": "%b"}' % (b"x" * 300),
        b'{"do": "\xff"}',
        b"\xff\xfe{\0}\0",
        b"\xef\xbb\xbf{}",
        b"{\0}",
        b"[" * 60_000,
        b'{"a":' * 10_000,
        b'{"id": "\\ud800"}',
        b'{"do": "\\ud800"}',
    ],
    ids=lambda line: repr(line[:24]),
)
def test_what_is_no_request(line):
    """Whatever comes is refused as such, in one short line, with no other exception."""
    with pytest.raises(Refused) as caught:
        check(read(line)[1])
    assert caught.value.kind == "bad-request"
    assert len(caught.value.text) < 300
    assert json.dumps(caught.value.text).isascii()


def test_no_depth_is_deep_enough_to_overflow_the_stack():
    """A program that has raised the recursion limit does not make nesting dangerous."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(1_000_000)
    try:
        with pytest.raises(Refused, match="too many brackets"):
            read(b"[" * 65_000)
    finally:
        sys.setrecursionlimit(before)


def test_numbers_are_bounded_even_where_the_interpreter_does_not():
    """A program that has lifted the limit of digits does not make numbers expensive."""
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    try:
        with pytest.raises(Refused, match="too large"):
            read(b'{"id": ' + b"9" * 60_000 + b"}")
    finally:
        sys.set_int_max_str_digits(before)


def test_lines_are_cut_from_pieces():
    """A line is taken when it is whole, and one that is too long is no line."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with ours, theirs:
        client = Client(ours.fileno())
        theirs.sendall(b"ab")
        client.receive()
        assert (client.next_line(), client.has_line) == (None, False)
        theirs.sendall(b"c\nd\n")
        client.receive()
        assert [client.next_line(), client.next_line(), client.next_line()] == [b"abc", b"d", None]
        theirs.sendall(b"x" * LONGEST_LINE)
        client.receive()
        with pytest.raises(TooLong):
            client.next_line()


def test_a_client_may_ask_so_often_and_no_more():
    """A hundred requests go at once, the next one has to wait for a hundredth of a second."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        client = Client(ours.fileno())
        now = time.monotonic_ns()
        assert [client.spend(now) for _ in range(BURST)] == [True] * BURST
        assert not client.spend(now)
        assert client.allowed_at() <= now + 10_000_001
        assert client.spend(client.allowed_at())


# --- real clients -------------------------------------------------------------------------


@pytest.mark.real
def test_a_line_that_is_too_long(it):
    """More than 64 KiB without an end is refused, and the connection closed."""
    for end in (b"", b"\n"):
        with it.raw() as raw:
            try:
                raw.send(b"x" * MANY + end)
            except OSError:
                pass  # it is closed already
            assert raw.error() == "too-long"
            assert raw.line() is None
    with it.raw() as raw:
        raw.send(b" " * (LONGEST_LINE - 20) + b'{"do": "status"}\n')
        assert "ok" in raw.line()


@pytest.mark.real
def test_garbage_is_answered_line_by_line(it):
    """After something that is no request the connection goes on."""
    with it.raw() as raw:
        raw.send(b"\0\0\n\n[]\n{}\n" + b"[" * 60_000 + b"\n")
        assert [raw.error() for _ in range(5)] == ["bad-request"] * 5
        assert "ok" in raw.answer(do="status")


@pytest.mark.real
def test_a_half_closed_connection_is_answered(it):
    """A client that has said all it wants to say hears the answers, and then the end."""
    with it.raw() as raw:
        raw.send(b'{"id": 1, "do": "status"}\n{"id": 2, "do": "reload"}\n{"id": 3, "do": "st')
        raw.socket.shutdown(socket.SHUT_WR)
        assert [raw.line()["id"], raw.line()["id"]] == [1, 2]
        assert raw.line() is None


@pytest.mark.real
def test_a_follower_may_close_its_side(it):
    """Events go on for a client that sends nothing more."""
    with it.raw() as raw:
        raw.ask(do="events")
        raw.socket.shutdown(socket.SHUT_WR)
        assert "ok" in raw.line()
        with it.client() as client:
            client.scale("web", 3)
        assert raw.line()["event"]["kind"] == "scaled"


@pytest.mark.real
def test_a_client_that_sends_byte_by_byte(it):
    """Half a line holds up nobody."""
    with it.raw() as slow, it.raw() as other:
        for byte in b'{"do": "status"}':
            slow.send(bytes((byte,)))
            assert "ok" in other.answer(do="status")
        slow.send(b"\n")
        assert "ok" in slow.line()


@pytest.mark.real
def test_a_flood_is_read_at_a_bounded_rate(it):
    """What comes faster than it may waits in the kernel; others are answered meanwhile."""
    with it.raw() as rude, it.raw() as other:
        rude.socket.setblocking(False)
        sent = 0
        line = b'{"do": "dance"}\n' * 1000
        end = time.monotonic() + 1.5
        while time.monotonic() < end:
            try:
                sent += rude.socket.send(line)
            except BlockingIOError:
                assert "ok" in other.answer(do="status")
                lapse(0.02)
        rude.socket.settimeout(5)
        assert rude.error() == "bad-request"
        # A hundred, and a hundred for each second; and what the kernel and a buffer hold.
        assert sent < 1_000_000


@pytest.mark.real
def test_a_reader_that_is_slow_loses_events(it):
    """Events wait for a client up to a bound; it is told how many it has lost."""
    before = resident(it.program.pid)
    with it.raw() as slow, it.client() as client:
        slow.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.ask(do="events")
        assert slow.line()["ok"]["next"]
        # All of them in one turn.
        it.master_command("[manager.reconfigure(web, 2 + n % 2) for n in range(4000)] and None")
        numbers = []
        lost = None
        while lost is None:
            event = slow.line()["event"]
            if event["kind"] == "lost":
                lost = event["count"]
            else:
                numbers.append(event["seq"])
        assert numbers == list(range(numbers[0], numbers[-1] + 1))
        assert lost > 0
        client.scale("web", 7)
        later = slow.line()["event"]["seq"]
        assert later == numbers[-1] + lost + 1
        assert lost < 4000
    assert resident(it.program.pid) - before < 8 << 20


@pytest.mark.real
def test_an_answer_that_nobody_reads_holds_up_that_client_alone(it):
    """A client whose answers are not read is not read either."""
    with it.raw() as slow, it.raw() as other:
        slow.socket.setblocking(False)
        end = time.monotonic() + 1
        while time.monotonic() < end:
            try:
                slow.send(b'{"do": "trace"}\n')
            except BlockingIOError:
                break
        slow.socket.settimeout(5)
        assert "ok" in other.answer(do="status")
        assert "ok" in slow.line()


@pytest.mark.real
def test_a_client_that_vanishes_in_an_answer(it):
    """Whoever leaves before the end of what it has asked for hurts nobody."""
    before = it.descriptors()
    for count in (1, 3, 100):
        for _ in range(5):
            raw = Raw(it.path, greeted=False)
            raw.send(b'{"do": "status"}\n{"do": "trace"}\n' * count)
            raw.close()
    until(lambda: it.descriptors() == before, "all connections are closed")


@pytest.mark.real
def test_the_33rd_client(it):
    """So many clients there may be; those who were silent for long make room."""
    clients = [it.raw() for _ in range(32)]
    refused = it.raw()
    assert refused.greeting["error"]["kind"] == "busy"
    assert refused.line() is None
    clients[0].ask(do="events")
    lapse(10.1)
    for raw in clients[2:]:
        assert "ok" in raw.answer(do="status")
    late = it.raw()
    assert "cotyledon" in late.greeting
    assert clients[1].line() is None
    assert "ok" in clients[0].line()
    with it.raw() as another:
        assert another.greeting["error"]["kind"] == "busy"
    for raw in (refused, late, *clients):
        raw.close()

    def let_in():
        with it.raw() as raw:
            return "cotyledon" in raw.greeting

    until(let_in, "there is room again")


@pytest.mark.real
def test_no_descriptor_for_a_client(it):
    """Without a descriptor left a client waits, the master does not spin, and then it goes on."""
    pid = it.program.pid
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (it.descriptors(), hard))
    before = jiffies(pid)
    with Raw(it.path, greeted=False) as waiting:
        lapse(1.5)
        assert jiffies(pid) - before < 30
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))
        assert waiting.line()["cotyledon"] == 1


@pytest.mark.real
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be somebody else")
def test_another_user_is_turned_away(it):
    """The kernel says who connects: whoever is neither the manager's user nor root is refused."""
    os.chmod(it.path, 0o666)
    os.seteuid(65534)
    try:
        with it.raw() as raw:
            assert raw.greeting["error"]["kind"] == "forbidden"
            assert raw.line() is None
    finally:
        os.seteuid(0)


@pytest.mark.real
def test_idle_clients_cost_nothing(it):
    """With clients that follow the events, or say nothing, an idle master goes on sleeping."""
    with it.raw() as silent, it.raw() as following:
        following.ask(do="events")
        following.line()
        lapse(0.5)  # it has gone to sleep
        before = _switches(it.program.pid)
        lapse(1.5)
        assert _switches(it.program.pid) == before
        assert silent.greeting


def _switches(pid):
    with open(f"/proc/{pid}/status") as status:
        return [line for line in status if "ctxt_switches" in line]


@pytest.mark.real
def test_workers_do_not_have_the_sockets(start):
    """Neither workers nor what the program forks hold the listening socket or a connection."""
    managed = Managed(start)
    with managed.raw(), managed.client() as client:
        pid = client.status()["services"][0]["workers"][0]["pid"]
        os.kill(pid, signal.SIGKILL)

        def replaced() -> bool:
            service = client.status()["services"][0]
            there = [worker["pid"] for worker in service["workers"]]
            return pid not in there and service["ready"] == 2

        until(replaced, "another one is ready in its place")
        for worker in managed.program.workers():
            found = os.listdir(f"/proc/{worker}/fd")
            targets = [os.readlink(f"/proc/{worker}/fd/{fd}") for fd in found]
            assert sum(target.startswith("socket:") for target in targets) == 4, targets
            assert not any("eventpoll" in target for target in targets)
    assert managed.program.stop() == 0
