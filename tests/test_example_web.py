"""The example of a web service: what it has answered for is there, whatever happens to workers."""

import http.client
import json
import os
import random
import re
import signal
import socket
import threading
import time
from contextlib import closing

import pytest

from examples import web
from tests.harness import HERE, until
from tests.web_clients import Clients

pytestmark = [pytest.mark.once, pytest.mark.real]

WEB = str(HERE.parent / "examples" / "web.py")


@pytest.fixture
def port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def inbox(start, port, tmp_path):
    program = start(
        WEB,
        python=("-W", "error"),
        env={
            "INBOX_LISTEN": f"127.0.0.1:{port}",
            "INBOX_DATABASE": str(tmp_path / "inbox.sqlite3"),
            "INBOX_WORKERS": "3",
            "INBOX_ORDINAL": "2",
        },
    )
    until(lambda: "every worker is ready" in program.stderr(), "it is ready")
    return program


def ask(port, method, path, body=None, key=None):
    """Return the status, and what the answer says."""
    headers = {} if key is None else {"Idempotency-Key": key}
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        text = answer.read()
    kind = answer.headers.get("Content-Type", "")
    return answer.status, json.loads(text) if kind == "application/json" else text.decode()


def test_messages_are_kept_handed_out_and_dropped(inbox, port):
    """Messages come back in order, one with a key that is there is not kept again, and what was
    dropped is gone."""
    ids = []
    for number in range(5):
        status, said = ask(port, "POST", "/inbox/shop", f"order {number}")
        assert status == 201
        ids.append(said["id"])
    status, paid = ask(port, "POST", "/inbox/shop", "paid", "k1")
    assert status == 201
    assert ask(port, "POST", "/inbox/bank", "other", "k1")[0] == 201
    assert ask(port, "POST", "/inbox/shop", "paid", "k1") == (200, paid)
    status, found = ask(port, "GET", "/inbox/shop")
    assert [one["body"] for one in found] == [*(f"order {n}" for n in range(5)), "paid"]
    assert [one["id"] for one in found] == [*ids, paid["id"]]
    assert len(ask(port, "GET", "/inbox/shop?limit=2")[1]) == 2
    assert ask(port, "DELETE", f"/inbox/shop/{ids[0]}")[0] == 204
    assert ask(port, "DELETE", f"/inbox/shop/{ids[0]}")[0] == 404
    assert [one["id"] for one in ask(port, "GET", "/inbox/shop")[1]] == [*ids[1:], paid["id"]]
    assert ask(port, "GET", "/healthz") == (200, "healthy\n")
    makers = {int(one) >> 12 & 1023 for one in ids}
    assert makers <= {6, 7, 8}  # pod 2, with three workers


def test_bad_requests_are_refused(inbox, port):
    """What is too large or makes no sense is answered by 4xx, and nothing is kept."""
    assert ask(port, "POST", "/inbox/shop", b"x" * ((1 << 20) + 1))[0] == 413
    assert ask(port, "GET", "/inbox/shop?limit=many")[0] == 400
    assert ask(port, "GET", f"/inbox/shop?limit={1 << 70}")[0] == 400
    assert ask(port, "PUT", "/inbox/shop")[0] == 405
    assert ask(port, "GET", "/nothing")[0] == 404
    assert ask(port, "GET", "/inbox/shop") == (200, [])


class Senders:
    """Clients that send a message until it is answered for, as webhooks do."""

    def __init__(self, port, count):
        self.kept = {}
        self.unanswered = 0
        self._port = port
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._send, args=(n,)) for n in range(count)]
        for thread in self._threads:
            thread.start()

    def _send(self, sender):
        number = 0
        while not self._stopping.is_set():
            key = f"{sender}-{number}"
            try:
                status, said = ask(self._port, "POST", "/inbox/shop", f"message {key}", key)
            except (OSError, http.client.HTTPException):
                with self._lock:
                    self.unanswered += 1
                continue
            assert status in (200, 201)
            with self._lock:
                self.kept[f"message {key}"] = said["id"]
            number += 1

    def wait_for(self, more):
        goal = len(self.kept) + more
        until(lambda: len(self.kept) >= goal, "messages are kept")

    def stop(self):
        self._stopping.set()
        for thread in self._threads:
            thread.join()


def test_killed_workers_lose_nothing_that_was_answered_for(inbox, port):
    """While workers are killed, each message that was answered for is kept, exactly once, under
    the id that was told; and the program stops in good order afterwards."""
    senders = Senders(port, 4)
    chance = random.Random(5)
    for _ in range(5):
        senders.wait_for(15)
        workers = until(inbox.workers, "there is a worker")
        inbox.signal(signal.SIGKILL, chance.choice(workers))
    senders.wait_for(15)
    senders.stop()
    status, found = ask(port, "GET", "/inbox/shop?limit=1000")
    assert status == 200
    assert {one["body"]: one["id"] for one in found} == senders.kept
    assert len(found) == len(senders.kept)
    assert inbox.stop() == 0
    assert inbox.stderr().count("SIGKILL") >= 5


def test_a_reload_loses_no_request(inbox, port):
    """While all workers are replaced, each request is answered."""
    before = set(inbox.workers())
    clients = Clients(port, "/healthz")
    clients.wait_for(50)
    inbox.signal(signal.SIGHUP)
    until(lambda: not before & set(inbox.workers()), "all are replaced", 40)
    clients.wait_for(50)
    outcome = clients.stop()
    assert outcome.failures == []
    assert outcome.sent > 100
    assert inbox.stop() == 0


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("INBOX_LISTEN", "8000", "INBOX_LISTEN must be ADDRESS:PORT"),
        ("INBOX_LISTEN", "x:99999", "INBOX_LISTEN must be ADDRESS:PORT"),
        ("INBOX_WORKERS", "0", "INBOX_WORKERS must be a number from 1 on"),
        ("INBOX_ORDINAL", "-1", "INBOX_ORDINAL must be a number from 0 on"),
        ("INBOX_ORDINAL", "256", "must be at most 1024"),
    ],
)
def test_wrong_settings_are_told_in_one_line(monkeypatch, capsys, name, value, text):
    """A setting that cannot be right ends the program with status 2 before anything is begun."""
    for variable in [one for one in os.environ if one.startswith("INBOX_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv(name, value)
    assert web.main() == 2
    said = capsys.readouterr().err
    assert text in said
    assert said.count("\n") == 1


def test_ids_go_up_and_hold_their_maker(monkeypatch):
    """Ids of one maker grow, also within a millisecond, when the count is used up, and when the
    clock is set back."""
    from examples import web_app

    now = 1_800_000_000_000_000_000
    monkeypatch.setattr(time, "time_ns", lambda: now)
    ids = web_app.Ids(7)
    made = [ids.next() for _ in range(5000)]
    now -= 3_000_000_000
    made += [ids.next() for _ in range(5000)]
    now += 9_000_000_000
    made.append(ids.next())
    assert made == sorted(set(made))
    assert {one >> 12 & 1023 for one in made} == {7}
    assert made[-1] >> 22 == now // 1_000_000 - web_app.Ids.EPOCH
    assert max(made) < 1 << 63


def test_every_program_is_in_the_list():
    """The page on the examples has a row for each program in the folder."""
    folder = HERE.parent / "examples"
    programs = {path.name for path in folder.glob("*.py") if path.read_text().startswith("#!")}
    rows = re.findall(r"^\| `([a-z_]+\.py)` \|", (folder / "README.md").read_text(), re.MULTILINE)
    assert len(programs) > 2
    assert sorted(rows) == sorted(programs)
