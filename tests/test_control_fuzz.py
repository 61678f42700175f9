"""Millions of bytes that nobody would send, at a manager that goes on with its work."""

import json
import random
import select
import socket
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cotyledon._control import requests
from cotyledon._control.clients import LONGEST_LINE, Client, TooLong
from cotyledon._control.requests import Refused
from tests.control_support import Managed, Raw, resident
from tests.harness import until

pytestmark = pytest.mark.once

PLENTY = 4_000_000
"""Bytes that a real manager has read at the end."""

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["web", "CONT", "status", "events", "scale", "reload", "restart", "trace"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
fields = st.fixed_dictionaries(
    {"do": st.sampled_from(["status", "events", "scale", "reload", "restart", "trace", "stacks"])},
    optional={
        "id": values,
        "service": values | st.just("web"),
        "worker": values | st.integers(0, 3),
        "workers": st.sampled_from([1, 2, 3, -1, 1 << 70, "2", None]),
        "last": values,
    },
)
requests_ = fields.map(lambda found: json.dumps(found).encode())


def _spoil(line: bytes, seed: int) -> bytes:
    """Change a few bytes of something that makes sense."""
    chance = random.Random(seed)
    spoilt = bytearray(line)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(spoilt) + 1)
        match chance.randrange(4):
            case 0:
                spoilt[at:at] = bytes((chance.randrange(256),))
            case 1:
                del spoilt[at : at + chance.randint(1, 5)]
            case 2:
                spoilt[at:at] = spoilt[: chance.randint(0, 40)]
            case _:
                spoilt[at : at + 1] = chance.choice(
                    [b'"', b"[", b"{", b"\\u", b"\0", b"\n", b"e9"]
                )
    return bytes(spoilt)


spoilt = st.builds(_spoil, requests_, st.integers(0, 1 << 32))
long_ = st.builds(
    lambda piece, times: piece * times, st.binary(min_size=1, max_size=16), st.integers(1, 6000)
)
lines = st.one_of(requests_, spoilt, st.binary(max_size=200), values.map(repr).map(str.encode))
streams = st.lists(lines | long_, max_size=12).map(b"\n".join)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(lines | long_)
def test_no_line_is_more_than_a_request_or_a_refusal(line):
    """Reading a line either makes a request or refuses it; there is nothing else."""
    refused = None
    try:
        number, found = requests.read(line)
        request = requests.check(found)
    except Refused as error:
        refused = error
    if refused is not None:
        assert refused.kind == "bad-request"
        assert len(refused.text) < 400
    else:
        assert isinstance(number, int | str | None)
        assert request.do in requests._FIELDS


@settings(max_examples=100, deadline=None, derandomize=True)
@given(streams, st.lists(st.integers(1, 5000), min_size=1, max_size=5))
def test_pieces_make_the_same_lines(stream, sizes):
    """However a stream is cut, the lines are the same, and a buffer has a bound."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with ours, theirs:
        client = Client(ours.fileno())
        found = []
        at, turn = 0, 0
        try:
            while at < len(stream):
                size = sizes[turn % len(sizes)]
                theirs.sendall(stream[at : at + size])
                at, turn = at + size, turn + 1
                client.receive()
                assert len(client._in) <= LONGEST_LINE + 5000
                while (line := client.next_line()) is not None:
                    found.append(line)
        except TooLong:
            assert any(len(line) >= LONGEST_LINE - 1 for line in stream.split(b"\n"))
        else:
            assert found == stream.split(b"\n")[:-1]


class _Fuzz:
    """Clients that take turns at one manager."""

    def __init__(self, it: Managed) -> None:
        self.it = it
        self.sent = 0

    def send(self, stream: bytes, how: int) -> None:
        raw = Raw(self.it.path, greeted=False)
        raw.socket.setblocking(False)
        view = memoryview(stream + b"\n")
        end = time.monotonic() + 0.3
        while view and time.monotonic() < end:
            readable, writable, _ = select.select([raw.socket], [raw.socket], [], 0.1)
            try:
                if writable:
                    count = raw.socket.send(view)
                    self.sent += count
                    view = view[count:]
                if readable and how != 1 and not raw.socket.recv(1 << 16):
                    break
            except BlockingIOError:
                pass
            except OSError:
                break
        if how == 2:
            try:
                raw.socket.shutdown(socket.SHUT_WR)
                select.select([raw.socket], [], [], 0.05)
            except OSError:
                pass
        raw.close()


def _read(pid: int) -> int:
    with open(f"/proc/{pid}/io") as io:
        return int(io.readline().split()[1])


@pytest.mark.real
@pytest.mark.deadline(240)
def test_a_manager_under_fire(start):
    """Whatever clients send, the manager is unharmed: its memory, descriptors and workers."""
    it = Managed(start, {"name": "web", "workers": 1}, {"name": "mail", "workers": 2})
    it.supervises()
    before, size, read = it.descriptors(), resident(it.program.pid), _read(it.program.pid)
    fuzz = _Fuzz(it)

    @settings(
        max_examples=400,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    @given(streams, st.integers(0, 2))
    def fire(stream, how):
        fuzz.send(stream, how)

    fire()
    chance = random.Random(1)
    while _read(it.program.pid) - read < PLENTY:
        block = chance.randbytes(1 << 17)
        # Without an end it is read as fast as can be, with one it is many requests.
        fuzz.send(block if chance.randrange(4) == 0 else block.replace(b"\n", b" "), 0)
    with it.client(timeout=20) as client:
        client.scale("web", 1, wait=20)
        client.scale("mail", 0, wait=20)
        until(lambda: client.status()["services"][0]["ready"] == 1, "web is ready")
    it.supervises()
    until(lambda: it.descriptors() <= before, "no connection is left")
    assert resident(it.program.pid) - size < 16 << 20
    assert "Traceback" not in it.program.stderr()
    assert it.program.stop() == 0
