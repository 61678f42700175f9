#!/usr/bin/env python3
"""Measure what you depend on, now and then, with as many machines as you like.

    collector.py TARGET... --group redis://10.0.0.1   measure, until SIGTERM or Ctrl-C
    collector.py --report                             print the last figure of each target

A target is a URL (``https://...``: how long the answer takes), a port (``tcp://host:5432``: how
long the connection takes), or a folder (``/srv``: how full its disk is, on the machine that
measures). Figures go into an SQLite database on the machine that has measured.

Start it on several machines with the same targets and group: each target is measured by one worker
of one of them. When a machine is gone, the others take its targets over. To try it on one machine
give each a --host of its own. Without --group one worker measures everything.

Each target is a periodic task of its own: one that does not answer delays no other. SIGHUP makes
the workers read --targets again, one after the other.

Responsible for the command line, the service, and the report. Never opens the database in the
master: an SQLite connection must not cross a fork.
"""

import argparse
import logging
import os
import shutil
import socket
import sqlite3
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable
from contextlib import closing
from http.client import HTTPException
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from futurist import periodics

from cotyledon import ServiceManager
from cotyledon.contrib.futurist import PeriodicService
from cotyledon.contrib.tooz import Group, Share
from examples.option_types import number, seconds

TIMEOUT = 10.0
"""Seconds that a target has to answer."""
THREADS = 16
"""Targets that a worker measures at a time."""
HOUR = 3600.0

LOG = logging.getLogger("collector")


class Figure(NamedTuple):
    """What came of one measurement."""

    value: float | None
    unit: str
    note: str = ""

    @property
    def is_up(self) -> bool:
        """Whether the target is there."""
        return self.value is not None


# --- measuring --------------------------------------------------------------------------------


def _answer(url: str) -> Figure:
    began = time.monotonic()
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as answer:
            answer.read(1 << 16)
    except urllib.error.HTTPError as error:
        with error:
            return Figure(None, "", f"HTTP {error.code}")
    return Figure(1000 * (time.monotonic() - began), "ms")


def _connection(url: str) -> Figure:
    place = urlsplit(url)
    began = time.monotonic()
    with socket.create_connection((str(place.hostname), place.port or 0), TIMEOUT):
        return Figure(1000 * (time.monotonic() - began), "ms")


def _disk(folder: str) -> Figure:
    usage = shutil.disk_usage(folder)
    if not usage.total:
        return Figure(None, "", "not on a disk")
    return Figure(100 * usage.used / usage.total, "% full")


def _way(target: str) -> Callable[[str], Figure]:
    if target.startswith(("http://", "https://")):
        return _answer
    return _connection if target.startswith("tcp://") else _disk


def measure(target: str) -> Figure:
    """Measure a target; that it is not there is a result, and no failure."""
    try:
        return _way(target)(target)
    except urllib.error.URLError as error:
        return Figure(None, "", _words(error.reason))
    except (OSError, ValueError, HTTPException) as error:
        return Figure(None, "", _words(error))


def _words(error: object) -> str:
    return str(getattr(error, "strerror", None) or error) or type(error).__name__


def check(target: str) -> None:
    """See that a target is one.

    Raises:
        ValueError: it is none.
    """
    if target.startswith("/"):
        return
    place = urlsplit(target)
    if place.scheme not in {"http", "https", "tcp"} or not place.hostname:
        raise ValueError(f"{target} is no http://, https:// or tcp:// URL and no absolute path")
    if "@" in place.netloc:
        raise ValueError(f"{place.hostname}: a login in a target would be stored and shown")
    if place.scheme == "tcp" and place.port is None:
        raise ValueError(f"{target} has no port")


# --- keeping ----------------------------------------------------------------------------------


class Store:
    """The database, for the threads of one worker."""

    def __init__(self, path: str) -> None:
        self._lock = threading.Lock()
        self._db = sqlite3.connect(path, timeout=30, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode = wal")
        with self._db:
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS figures"
                " (target TEXT, at REAL, host TEXT, worker INTEGER, value REAL, unit TEXT,"
                " note TEXT, PRIMARY KEY (target, at)) WITHOUT ROWID"
            )

    def keep(self, target: str, host: str, worker: int, figure: Figure) -> None:
        """Write down a figure."""
        with self._lock, self._db:
            self._db.execute(
                "INSERT OR REPLACE INTO figures VALUES (?, ?, ?, ?, ?, ?, ?)",
                (target, time.time(), host, worker, *figure),
            )

    def forget(self, age: float) -> None:
        """Delete what is older than so many seconds."""
        with self._lock, self._db:
            self._db.execute("DELETE FROM figures WHERE at < ?", (time.time() - age,))


class Collector(PeriodicService):
    """Measures those of the targets that are this worker's."""

    def __init__(
        self, worker_id: int, options: argparse.Namespace, share: Share | None = None
    ) -> None:
        self._host: str = options.host
        self._age: float = options.keep * 24 * HOUR
        self._last: dict[str, Figure] = {}
        self._store = Store(options.database)
        self._alone = share is None
        every = periodics.periodic(options.every)
        # Read here, in the worker: a reload, which replaces it, is then all that it takes.
        tasks = [every(self._task(target)) for target in targets_of(options)]
        super().__init__(worker_id, tasks=tasks, share=share, threads=THREADS)

    def _task(self, target: str) -> Callable[[], None]:
        def task() -> None:
            if self._alone or self.partition.owns(target):
                figure = measure(target)
                self._store.keep(target, self._host, self.worker_id, figure)
                self._note(target, figure)
            else:
                self._note(target, None)

        task.__name__ = target
        return task

    def _note(self, target: str, figure: Figure | None) -> None:
        """Tell the status, and the log when a target has gone or come back."""
        before = self._last.get(target)
        if figure is None:
            self._last.pop(target, None)
        else:
            self._last[target] = figure
            if before is not None and before.is_up != figure.is_up:
                LOG.warning("%s is %s", target, "up" if figure.is_up else f"down: {figure.note}")
        if (figure is None) != (before is None) or figure != before:
            known = list(self._last.values())
            down = sum(not one.is_up for one in known)
            self.status(
                f"measures {len(known)} targets, {down} are down",
                {"targets": len(known), "down": down},
            )

    @periodics.periodic(HOUR, run_immediately=True)
    def forget(self) -> None:
        """Delete old figures: each worker does, since each machine has its own database."""
        self._store.forget(self._age)


# --- the command line -------------------------------------------------------------------------


def targets_of(options: argparse.Namespace) -> list[str]:
    """Return the targets of the command line and of the file.

    Raises:
        ValueError: one is none.
        OSError: the file cannot be read.
    """
    found = dict.fromkeys(options.target)
    if options.targets is not None:
        lines = Path(options.targets).read_text().splitlines()
        found.update(dict.fromkeys(filter(None, (x.partition("#")[0].strip() for x in lines))))
    for target in found:
        check(target)
    return list(found)


def report(database: str) -> int:
    """Print the last figure of each target; return 1 if one is down, 2 if there is none."""
    if not os.path.exists(database):
        print(f"collector: there is no {database}", file=sys.stderr)
        return 2
    with closing(sqlite3.connect(database, timeout=30)) as db:
        # With max(), SQLite takes the other columns from the same row.
        rows = db.execute(
            "SELECT target, max(at), host, worker, value, unit, note FROM figures"
            " GROUP BY target ORDER BY target"
        ).fetchall()
    width = max((len(row[0]) for row in rows), default=0)
    for target, at, host, worker, value, unit, note in rows:
        shown = f"down: {note}" if value is None else f"{value:.1f} {unit}"
        ago = time.time() - at
        print(f"{target:{width}}  {shown}  ({ago:.0f} s ago, by {host}, worker {worker})")
    return int(any(row[4] is None for row in rows)) if rows else 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("target", nargs="*", metavar="TARGET", help="a URL, tcp://host:port, or a folder")
    add("--targets", metavar="FILE", help="with one more target a line; # begins a comment")
    add("--group", metavar="URL", help="of the server where the collectors meet")
    add("--host", default=socket.gethostname(), metavar="NAME", help="(default: this host's)")
    add("--every", type=seconds, default=10, metavar="SECONDS", help="(default: 10)")
    add(
        "--silence",
        type=seconds,
        default=10,
        metavar="SECONDS",
        help="after which a machine counts as gone, the same on all (default: 10)",
    )
    add("--workers", type=number, default=3, metavar="N", help="with --group (default: 3)")
    add("--keep", type=seconds, default=30, metavar="DAYS", help="(default: 30)")
    add("--database", default="collector.sqlite3", metavar="PATH", help="(default: %(default)s)")
    add("--report", action="store_true", help="print the last figures")
    return parser


def main(arguments: Iterable[str] | None = None) -> int:
    """Run the program and return its exit status."""
    parser = _parser()
    options = parser.parse_args(None if arguments is None else list(arguments))
    if options.report:
        return report(options.database)
    try:
        if not targets_of(options):
            parser.error("what is to be measured?")
        if options.every <= 0:
            parser.error("--every must be more than 0")
    except (OSError, ValueError) as error:
        parser.error(str(error))
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    manager = ServiceManager(graceful_shutdown_timeout=TIMEOUT + 5)
    if options.group is None:
        manager.add(Collector, args=(options,))
    else:
        try:
            group = Group(
                manager,
                options.group,
                "collectors",
                host=options.host,
                membership_timeout=options.silence,
            )
        except ValueError as error:
            parser.error(str(error))
        group.add(Collector, options.workers, args=(options,))
    manager.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
