"""The example of a collector: alone, with others, and when one of them is killed.

Responsible for running it as a user does. Never looks inside the manager.
"""

import http.server
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

pytest.importorskip("futurist", reason="needs the extra futurist")
pytest.importorskip("tooz", reason="needs the extra tooz")

from examples import collector
from tests.harness import until
from tests.servers import Redis

pytestmark = [pytest.mark.real, pytest.mark.once]

SCRIPT = str(Path("..", "..", "examples", "collector.py"))
ROOT = Path(__file__).resolve().parent.parent
QUICK = ("--every", "0.1")


@pytest.fixture
def database(tmp_path):
    return tmp_path / "figures.sqlite3"


@pytest.fixture
def folders(tmp_path):
    """Twelve targets."""
    found = [tmp_path / f"folder{number}" for number in range(12)]
    for one in found:
        one.mkdir()
    return list(map(str, found))


def rows(database, text, *values):
    if not database.exists():
        return []
    with closing(sqlite3.connect(database, timeout=10)) as db:
        try:
            return db.execute(text, values).fetchall()
        except sqlite3.OperationalError:  # its table has not been made yet
            return []


def run(*arguments):
    return subprocess.run(
        [sys.executable, ROOT / "examples" / "collector.py", *map(str, arguments)],
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
    )


# --- measuring ----------------------------------------------------------------------------


class Handler(http.server.BaseHTTPRequestHandler):
    """Finds one page."""

    def do_GET(self):
        self.send_response(200 if self.path == "/" else 404)
        self.end_headers()

    def log_message(self, format, *arguments):
        pass


@contextmanager
def web():
    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_what_is_measured(tmp_path):
    """Answers and connections are measured in milliseconds, disks in per cent."""
    with web() as place:
        for target, unit in ((f"http://{place}/", "ms"), (f"tcp://{place}", "ms")):
            figure = collector.measure(target)
            assert figure.is_up
            assert (figure.unit, figure.note) == (unit, "")
        assert collector.measure(f"http://{place}/no") == (None, "", "HTTP 404")
    full = collector.measure(str(tmp_path))
    assert full.value is not None
    assert 0 <= full.value <= 100
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # and does not listen
        place = f"127.0.0.1:{closed.getsockname()[1]}"
        for target in (f"http://{place}/", f"tcp://{place}"):
            assert collector.measure(target) == (None, "", "Connection refused")
    assert collector.measure("/proc") == (None, "", "not on a disk")
    assert collector.measure(f"{tmp_path}/no") == (None, "", "No such file or directory")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "what is to be measured?"),
        (["folder"], "folder is no http://, https:// or tcp:// URL and no absolute path"),
        (["ftp://host/"], "ftp://host/ is no http://"),
        (["tcp://host"], "tcp://host has no port"),
        (["tcp://host:99999"], "Port out of range"),
        (["https://me:secret@host/"], "host: a login in a target would be stored and shown"),
        (["/", "--targets", "/no/file"], "No such file or directory"),
        (["/", "--every", "0"], "--every must be more than 0"),
        (["/", "--group", "nowhere"], "'url' must be one that tooz knows"),
        (["/", "--group", "redis://x", "--silence", "1"], "must be at least 1.5 s"),
    ],
)
def test_what_cannot_be(arguments, says, fresh, capsys):
    """A command line that cannot be right ends with status 2 and says why."""
    with pytest.raises(SystemExit) as ending:
        collector.main(arguments)
    assert ending.value.code == 2
    assert says in capsys.readouterr().err


# --- running ------------------------------------------------------------------------------


def test_alone(start, database, folders, tmp_path):
    """Without a group one worker measures all, reads its file again on SIGHUP, and reports."""
    assert run("--report", "--database", database).returncode == 2
    more = tmp_path / "targets"
    more.write_text(f"{folders[1]}  # the second\n\n{folders[0]}\n")
    program = start(
        SCRIPT, folders[0], *QUICK, "--targets", str(more), "--database", str(database)
    )

    def known():
        return {row[0] for row in rows(database, "SELECT DISTINCT target FROM figures")}

    until(lambda: known() == set(folders[:2]), "both are measured")
    shown = run("--report", "--database", database)
    assert shown.returncode == 0
    first = rf"{re.escape(folders[0])}  [\d.]+ % full  \(\d+ s ago, by \S+, worker 0\)\n"
    assert re.match(first, shown.stdout)
    more.write_text(f"{folders[1]}/no\n")
    program.signal(signal.SIGHUP)
    until(lambda: f"{folders[1]}/no" in known(), "the new one is measured")
    shown = run("--report", "--database", database)
    assert shown.returncode == 1
    assert f"{folders[1]}/no  down: No such file or directory  (" in shown.stdout
    assert program.stop() == 0


def settled(database, targets, hosts):
    """Wait until each target is measured by one worker only, and these hosts have some."""
    since = time.time()

    def look():
        nonlocal since
        found = rows(
            database, "SELECT DISTINCT target, host, worker FROM figures WHERE at > ?", since
        )
        if len(found) > len({target for target, _, _ in found}):
            since = time.time()  # two have measured the same: it has changed hands meanwhile
            return False
        done = {target for target, _, _ in found} == set(targets)
        return done and {host for _, host, _ in found} == hosts

    until(look, f"all is measured by {hosts}", 30)


@pytest.mark.servers
@pytest.mark.skipif(bool(Redis.missing()), reason=Redis.missing())
def test_two_managers_share_the_targets(start, database, folders):
    """Each target has one worker of one manager; the other takes over from one that was killed."""
    server = Redis()

    def begin(host):
        options = ("--group", server.url, "--host", host, "--silence", "2", "--workers", "2")
        return start(SCRIPT, *folders, *QUICK, *options, "--database", str(database))

    try:
        server.start()
        first, second = begin("one"), begin("two")
        settled(database, folders, {"one", "two"})
        second.signal(signal.SIGKILL)
        second.wait()
        settled(database, folders, {"one"})
        second = begin("two")
        settled(database, folders, {"one", "two"})
        assert second.stop() == 0
        settled(database, folders, {"one"})
        assert first.stop() == 0
    finally:
        server.close()
    figures = rows(database, "SELECT count(*) FROM figures WHERE value IS NULL")
    assert figures == [(0,)]
