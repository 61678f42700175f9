#!/usr/bin/env python3
"""Keep a compressed copy of every file that is named in a queue of RabbitMQ.

    queue_consumer.py ARCHIVE              consume, until SIGTERM or Ctrl-C
    queue_consumer.py ARCHIVE --put FILE...   name files in the queue; anybody may, in any language
    queue_consumer.py ARCHIVE --list       what is in the archive

A program as users of cotyledon write it, with kombu and no other framework: N ``Archiver``
workers share a durable queue. A message is the path of a file. It is acknowledged when
the copy is on the disk, so that any worker, and the broker, may be killed at any instant: what was
not finished comes again. Since it may come again, storing is idempotent: a copy is named by the
hash of its content, and a second one is the same.

A file that cannot be read goes to the queue ``NAME.failed``, to be looked at. An archive that
cannot be written (a full disk) is tried again for as long as it takes. A file that kills its
worker comes again, held back by the manager's back-off, while other workers go on with others.

Responsible for the whole of it. Never opens a connection or a database in the master: neither
must cross a fork.
"""

import argparse
import gzip
import hashlib
import os
import random
import shutil
import sqlite3
import stat
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from amqp.exceptions import AMQPError
from kombu.connection import Connection
from kombu.entity import Queue
from kombu.exceptions import KombuError
from kombu.message import Message

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import cotyledon
from examples.option_types import number

LOST = (OSError, AMQPError, KombuError)
"""What may happen to a connection."""
HEARTBEAT = 20
"""Seconds without a sign of life after which broker and worker give each other up."""
LOOK = 0.5
"""Seconds between two looks at whether the worker is to stop, and at the job."""
CLOSING = 2.0
"""Seconds that the broker may take to say goodbye."""
PIECE = 1 << 20

SCHEMA = """
    CREATE TABLE IF NOT EXISTS files (
        path BLOB NOT NULL, sha256 TEXT NOT NULL, size INTEGER NOT NULL, archived_at REAL NOT NULL,
        PRIMARY KEY (path, sha256)
    ) WITHOUT ROWID
"""


# --- the archive ------------------------------------------------------------------------------


@contextmanager
def catalogue(archive: Path) -> Iterator[sqlite3.Connection]:
    """Open the list of what is in the archive; commit what was done to it."""
    database = sqlite3.connect(archive / "catalogue.sqlite3", timeout=30)
    with closing(database), database:
        database.execute(SCHEMA)
        yield database


class Unreadable(Exception):
    """There is no such file, it is none, or it cannot be read."""


def at_once(path: str, flags: int) -> int:
    """Open a file; a pipe is not waited for."""
    return os.open(path, flags | os.O_NONBLOCK)


def pieces(source: BinaryIO) -> Iterator[bytes]:
    """Return the content of a file, piece by piece."""
    try:
        while piece := source.read(PIECE):
            yield piece
    except OSError as error:
        raise Unreadable(str(error)) from error


def store(archive: Path, path: str) -> str:
    """Put a copy of a file into the archive, onto the disk; return the hash of its content.

    A copy appears under its name when it is complete, and in the catalogue after that.
    """
    digest, size = hashlib.sha256(), 0
    with ExitStack() as stack:
        try:
            source = stack.enter_context(open(path, "rb", opener=at_once))
        except (OSError, ValueError) as error:
            raise Unreadable(str(error)) from error
        if not stat.S_ISREG(os.fstat(source.fileno()).st_mode):  # a device may have no end
            raise Unreadable(f"no regular file: {path!a}")
        target = stack.enter_context(
            tempfile.NamedTemporaryFile(dir=archive / "new", delete=False)
        )
        stack.callback(Path(target.name).unlink, missing_ok=True)
        with gzip.GzipFile("", "wb", fileobj=target, mtime=0) as packed:
            for piece in pieces(source):
                digest.update(piece)
                size += len(piece)
                packed.write(piece)
        target.flush()
        os.fsync(target.fileno())
        name = digest.hexdigest()
        folder = archive / name[:2]
        folder.mkdir(exist_ok=True)
        os.replace(target.name, folder / f"{name[2:]}.gz")
    for changed in (folder, archive):
        descriptor = os.open(changed, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    with catalogue(archive) as database:
        database.execute(
            "INSERT OR IGNORE INTO files VALUES (?, ?, ?, ?)",
            (os.fsencode(path), name, size, time.time()),
        )
    return name


# --- the queue --------------------------------------------------------------------------------


def queues(name: str) -> tuple[Queue, Queue]:
    """Return the queue of jobs and the queue of those that failed; both survive the broker."""
    # Not quorum queues: those of a single broker that is killed soon after it has made them can be
    # empty when it is back (seen with RabbitMQ 3.10).
    failed = Queue(f"{name}.failed", durable=True)
    letters = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": failed.name}
    jobs = Queue(name, durable=True, queue_arguments=letters)
    return jobs, failed


def put(url: str, name: str, files: list[str]) -> None:
    """Name files in the queue; return when the broker has them safe."""
    with Connection(url, transport_options={"confirm_publish": True}) as connection:
        jobs, failed = queues(name)
        producer = connection.Producer()
        for file in files:
            producer.publish(
                os.fsencode(os.path.abspath(file)),
                routing_key=jobs.name,
                declare=[failed, jobs],
                content_type="text/plain",
                content_encoding="binary",
                retry=True,
                mandatory=True,
            )


# --- the service ------------------------------------------------------------------------------


class Archiver(cotyledon.Service):
    """One consumer: takes one job at a time, and the next when it has acknowledged that.

    The job runs in a thread of its own, because somebody must keep the connection alive meanwhile.
    """

    policy = cotyledon.Policy(start=cotyledon.Start(ready="told"))

    def __init__(self, worker_id: int, url: str, name: str, archive: Path) -> None:
        super().__init__(worker_id)
        self.url, self.queue, self.archive = url, name, archive
        self.stopping, self.over = threading.Event(), threading.Event()
        self.done = {"stored": 0, "refused": 0, "again": 0, "outages": 0}
        self.job: tuple[Message, Future[str]] | None = None
        self.executor = ThreadPoolExecutor(1)

    def run(self) -> None:
        pause = 1.0
        while not self.stopping.is_set():
            try:
                with self.connected() as connection:
                    pause = 1.0
                    self.consume(connection)
            except LOST as error:
                self.lost(error, random.uniform(pause / 2, pause))
            pause = min(pause * 2, 30.0)
        self.over.set()

    def lost(self, error: Exception, pause: float) -> None:
        """Say that there is no broker, and wait; it gives the job to somebody again."""
        self.done["outages"] += 1
        self.tell(f"no broker, again in {pause:.0f} s: {error}")
        self.job = None
        self.stopping.wait(pause)

    @contextmanager
    def connected(self) -> Iterator[Connection]:
        limits = {"read_timeout": HEARTBEAT, "write_timeout": HEARTBEAT}
        connection = Connection(
            self.url, heartbeat=HEARTBEAT, connect_timeout=5, transport_options=limits
        )
        try:
            connection.connect()
            yield connection
        finally:
            # A broker that has frozen would keep us waiting; one that is gone does not matter.
            closing = threading.Thread(target=quietly(connection.release), daemon=True)
            closing.start()
            closing.join(CLOSING)

    def consume(self, connection: Connection) -> None:
        channel = connection.channel()
        jobs, failed = queues(self.queue)
        failed(channel).declare()
        channel.basic_qos(0, 1, False)  # what is not begun stays in the queue, for others
        consumer = connection.Consumer([jobs], channel=channel, on_message=self.begin)
        consumer.consume()
        self.ready()
        self.tell("waiting")
        while not self.stopping.is_set():
            self.look(connection)
        consumer.cancel()  # else the next one would be given to us
        while self.job is not None:
            self.look(connection)

    def look(self, connection: Connection) -> None:
        """Take what comes, keep the connection alive, and finish what is done."""
        try:
            connection.drain_events(timeout=LOOK if self.job is None else 0.05)
        except TimeoutError:
            pass
        connection.heartbeat_check(rate=4)
        self.finish()

    def begin(self, message: Message) -> None:
        if self.stopping.is_set():
            message.requeue()
            return
        body = message.body
        path = body if isinstance(body, str) else os.fsdecode(bytes(body))
        self.tell(f"archiving {path!a}")
        self.job = (message, self.executor.submit(store, self.archive, path))

    def finish(self) -> None:
        """Tell the broker what became of a job, if that is known."""
        if self.job is None or not self.job[1].done():
            return
        (message, result), self.job = self.job, None
        error = result.exception()
        if error is None:
            message.ack()
            self.done["stored"] += 1
        elif isinstance(error, Unreadable):
            print(f"cannot be archived: {error}", file=sys.stderr)
            message.reject()  # to the queue of those that failed
            self.done["refused"] += 1
        else:  # a full disk, say: that may pass
            print(f"will be tried again: {error}", file=sys.stderr)
            self.stopping.wait(1)
            message.requeue()
            self.done["again"] += 1
        self.tell("waiting")

    def tell(self, text: str) -> None:
        self.status(text, self.done)

    def terminate(self) -> None:
        self.stopping.set()
        if (job := self.job) is not None:
            wait([job[1]])  # the graceful timeout bounds it
        self.over.wait(LOOK + 2 * CLOSING)  # not for a broker that has frozen


def quietly(function: Callable[[], Any]) -> Callable[[], None]:
    """Return a function that cannot fail."""

    def call() -> None:
        try:
            function()
        except Exception:
            pass

    return call


# --- the command ------------------------------------------------------------------------------


def broker(url: str) -> str:
    """Return a URL, if it is one of RabbitMQ's: another one would be an error in each worker."""
    if not url.startswith(("amqp://", "amqps://")):
        raise argparse.ArgumentTypeError(f"not an amqp:// or amqps:// URL: {url}")
    return url


def main() -> None:
    parser = argparse.ArgumentParser(description="Archive the files that are named in a queue.")
    add = parser.add_argument
    add("archive", type=Path, metavar="ARCHIVE", help="the folder of the copies")
    url = "amqp://guest:guest@localhost/"
    add("--url", type=broker, default=url, help="of the broker (default: %(default)s)")
    add("--queue", default="archive", metavar="NAME", help="of the queue (default: %(default)s)")
    cpus = os.cpu_count() or 1
    add("--workers", type=number, default=cpus, metavar="N", help="(default: one for each CPU)")
    add("--control", metavar="PATH", help="of a control socket, for `cotyledon status`")
    add("--put", nargs="+", metavar="FILE", help="name these files in the queue")
    add("--list", action="store_true", help="show what is in the archive")
    options = parser.parse_args()
    if options.put:
        try:
            put(options.url, options.queue, options.put)
        except LOST as error:
            sys.exit(f"not all is in the queue: {error}")
        return
    (options.archive / "new").mkdir(parents=True, exist_ok=True)
    if options.list:
        with catalogue(options.archive) as database:
            for digest, size, path in database.execute("SELECT sha256, size, path FROM files"):
                print(f"{digest[:16]}  {size:>12}  {os.fsdecode(path)!a}")
        return
    shutil.rmtree(options.archive / "new")  # what killed workers have left half done
    (options.archive / "new").mkdir()
    manager = cotyledon.ServiceManager(
        graceful_shutdown_timeout=60, name="archive", control=options.control
    )
    arguments = (options.url, options.queue, options.archive.absolute())
    manager.add(Archiver, workers=options.workers, args=arguments)
    manager.run()


if __name__ == "__main__":
    main()
