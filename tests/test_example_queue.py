"""The example of a queue consumer: every file ends up in the archive, whatever happens."""

import gzip
import hashlib
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from kombu.connection import Connection

from cotyledon import control
from tests.harness import until
from tests.servers import RabbitMQ

pytestmark = [
    *(pytest.mark.real, pytest.mark.servers, pytest.mark.once),
    pytest.mark.deadline(200),
]

ROOT = Path(__file__).resolve().parent.parent
CONSUMER = [sys.executable, "-W", "error", str(ROOT / "examples" / "queue_consumer.py")]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
FILES = 80


class Consumer:
    """The program, its archive and its queue."""

    def __init__(self, folder: Path, url: str) -> None:
        self.archive, self.url = folder / "archive", url
        self.options = [str(self.archive), "--url", url, "--queue", folder.name]
        self.control = folder / "control"
        self.errors = folder / "errors"
        self.popen: subprocess.Popen[bytes] | None = None

    def start(self, workers: int) -> None:
        words = [*CONSUMER, *self.options, "--workers", str(workers)]
        with self.errors.open("wb") as errors:  # a pipe that nobody reads may get full
            self.popen = subprocess.Popen(
                [*words, "--control", str(self.control)], env=ENVIRONMENT, stderr=errors
            )
        until(self.control.exists, "there is a control socket")

    def workers(self) -> list[dict[str, Any]]:
        with control.Client(self.control) as client:
            found: list[dict[str, Any]] = client.status()["services"][0]["workers"]
        return found

    def put(self, *files: Path) -> None:
        self.run("--put", *map(os.fspath, files))

    def run(self, *words: str) -> str:
        return subprocess.run(
            [*CONSUMER, *self.options, *words],
            env=ENVIRONMENT,
            check=True,
            timeout=30,
            stdout=subprocess.PIPE,
            text=True,
        ).stdout

    def listed(self) -> int:
        try:
            with closing(sqlite3.connect(self.archive / "catalogue.sqlite3")) as database:
                return int(database.execute("SELECT count(*) FROM files").fetchone()[0])
        except sqlite3.OperationalError:  # it is not there yet
            return 0

    def stop(self) -> str:
        """Stop it in good order; return what it has said."""
        assert self.popen is not None
        self.popen.send_signal(signal.SIGTERM)
        self.popen.wait(timeout=60)
        errors = self.errors.read_text()
        assert self.popen.returncode == 0, errors
        return errors


@pytest.fixture
def consumer(broker: RabbitMQ, tmp_path: Path) -> Iterator[Consumer]:
    program = Consumer(tmp_path, broker.url.replace("rabbit://", "amqp://"))
    yield program
    if program.popen is not None and program.popen.poll() is None:
        program.popen.kill()
        program.popen.wait()


def test_every_file_is_archived_whoever_is_killed(
    consumer: Consumer, broker: RabbitMQ, tmp_path: Path
) -> None:
    """Workers and the broker are killed meanwhile; each file is there at the end, as it was."""
    contents: dict[Path, bytes] = {}
    for number in range(FILES):
        path = tmp_path / os.fsdecode(b"file-%d-\xff" % number)
        path.write_bytes(contents.setdefault(path, os.urandom(1000) * (1 + number * 20)))
    failing = [tmp_path / "missing", tmp_path / "pipe", Path("/dev/zero")]
    os.mkfifo(failing[1])
    consumer.put(*contents, *failing)
    consumer.start(3)
    until(lambda: consumer.listed() > 10, "some are done")
    os.kill(next(w["pid"] for w in consumer.workers() if w["pid"]), signal.SIGKILL)
    until(lambda: consumer.listed() > 25, "some more are done")
    broker.kill()
    until(lambda: any("no broker" in w["status"] for w in consumer.workers()), "it is missed", 60)
    broker.start()
    until(lambda: consumer.listed() == FILES, "all are done", 90)
    until(
        lambda: all(w["status"] == "waiting" for w in consumer.workers()), "the queue is empty", 60
    )
    assert len(consumer.run("--list").splitlines()) == FILES
    for content in contents.values():
        name = hashlib.sha256(content).hexdigest()
        packed = (consumer.archive / name[:2] / f"{name[2:]}.gz").read_bytes()
        assert gzip.decompress(packed) == content
    assert "cannot be archived" in consumer.stop()
    with Connection(consumer.url) as connection:
        channel = connection.default_channel
        refused = [channel.basic_get(f"{tmp_path.name}.failed", no_ack=True) for _ in failing]
        assert {message.body for message in refused} == {*map(os.fsencode, failing)}
        assert channel.basic_get(tmp_path.name) is None


def test_a_frozen_broker_delays_no_stop_of_the_consumer(
    consumer: Consumer, broker: RabbitMQ
) -> None:
    """The consumer stops in good order while the broker does not answer."""
    consumer.start(1)
    until(lambda: consumer.workers()[0]["state"] == "ready", "it is ready", 60)
    with broker.frozen():
        consumer.stop()


def test_the_url_of_another_library_is_refused_in_one_line(tmp_path):
    """A URL that kombu does not know ends the program before there is a worker."""
    done = subprocess.run(
        [*CONSUMER, tmp_path, "--url", "rabbit://localhost"],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    last = done.stderr.splitlines()[-1]
    assert last.endswith("not an amqp:// or amqps:// URL: rabbit://localhost")
