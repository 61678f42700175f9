#!/usr/bin/env python3
"""Keep a full-text index of a folder, and search it.

    indexer.py FOLDER                         index it, then watch it, until SIGTERM or Ctrl-C
    indexer.py FOLDER --once                  index what is new or has changed, then end
    indexer.py FOLDER --search waitpid sign*  search it, also while the first two are running

A program as users of cotyledon write it: one ``Scanner`` finds files, N ``Indexer`` workers take
them from a durable queue. Any of them may be killed at any instant; nothing is lost or indexed
twice (see index_store.py for why).

Signals to the master, besides those of cotyledon itself (TERM ends it, HUP makes the scanner
look at once and restarts the workers one after the other):

    TTIN, TTOU   one worker more, one less, as pre-forking servers do
    USR1         write the status of all workers as one line of JSON to stderr

Responsible for the command line and the services. Never opens the database in the master: an
SQLite connection must not cross a fork.
"""

import argparse
import hashlib
import json
import logging
import os
import signal
import stat
import sys
import threading
import time
import traceback
import uuid
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from cotyledon import Service, ServiceManager
from cotyledon.types import ServiceId, WorkerId
from examples.index_files import Document, read, walk
from examples.index_search import printable, search
from examples.index_store import Job, Locks, Store, Unusable, files_of
from examples.option_types import number, seconds, whole

IDLE = 0.2
"""Seconds between two looks into an empty queue."""

LOG = logging.getLogger("indexer")


# --- the services -----------------------------------------------------------------------------


class Worker(Service):
    """What both services have in common: a loop that ``terminate()`` ends in good order."""

    def __init__(self, worker_id: WorkerId, options: argparse.Namespace, master: int) -> None:
        super().__init__(worker_id)
        self.options = options
        self.folder = os.fsencode(options.folder)
        self.master = master
        self.stop = threading.Event()
        self._ended = threading.Event()

    def run(self) -> None:
        """Open a connection, in the thread that uses it, and work until told to stop."""
        try:
            with Store(os.fsencode(self.options.database)) as store:
                self.work(store)
        finally:
            self._ended.set()

    def work(self, store: Store) -> None:
        """Work until ``self.stop`` is set."""
        raise NotImplementedError

    def terminate(self) -> None:
        """Let the loop finish what it has in hand."""
        self.stop.set()
        self._ended.wait()


class Indexer(Worker):
    """Takes files from the queue and indexes them. A reload restarts it, having no reload()."""

    name = "indexer"

    def work(self, store: Store) -> None:
        """Index file after file."""
        store.join()
        store.release_the_dead()  # the one that this worker replaces, for instance
        while not self.stop.is_set():
            job = store.claim(self.worker_id)
            if job is not None:
                self._index(store, job)
            else:
                store.release_the_dead()
                self.stop.wait(IDLE)

    def _index(self, store: Store, job: Job) -> None:
        most = self.options.attempts
        if most and job.attempt > most:
            LOG.error("given up, %d workers have died of it: %s", most, printable(job.path))
            document: Document | None = Document("", f"{most} workers died of it", None)
        else:
            document = read(os.path.join(self.folder, job.path))
            if self.options.pace:
                self.stop.wait(self.options.pace)
        if document is None:
            store.drop(job)
        else:
            store.finish(job, document)


class Scanner(Worker):
    """Looks for new, changed and removed files, now and then, and at once on SIGHUP."""

    name = "scanner"

    def __init__(self, worker_id: WorkerId, options: argparse.Namespace, master: int) -> None:
        super().__init__(worker_id, options, master)
        self._look = threading.Event()

    def reload(self) -> None:
        """Look at once, instead of being restarted."""
        self._look.set()

    def terminate(self) -> None:
        """Stop looking."""
        self.stop.set()
        self._look.set()
        super().terminate()

    def work(self, store: Store) -> None:
        """Scan, see the work done, wait, and begin again."""
        pending = True  # there is something to be said when the queue is empty
        while True:
            self._look.clear()
            if (
                self.stop.is_set()
            ):  # asked after clear(), which may have undone terminate()'s set()
                return
            started = time.monotonic()
            pending |= self._scan(store)
            if self._watch_queue(store):
                if pending:
                    self._conclude(store, time.monotonic() - started)
                    pending = False
                if self.options.once:
                    self._end()
                self._look.wait(self.options.rescan)

    def _scan(self, store: Store) -> bool:
        """Queue what there is to do; return whether that is anything."""
        never = frozenset(map(os.path.abspath, files_of(store.database)))
        try:
            changes = store.enqueue(walk(self.folder, self.options.exclude, never))
        except OSError as error:
            # Not there for a moment, perhaps; forgetting all that is in it would be rash.
            LOG.error("cannot look into the folder: %s", error)
            return False
        if changes.queued or changes.removed:
            LOG.info(
                "found %s files: %s new or changed, %s removed",
                *(f"{number:,}" for number in changes),
            )
        return bool(changes.queued or changes.removed)

    def _watch_queue(self, store: Store) -> bool:
        """Wait until the queue is empty; return whether it is."""
        said = time.monotonic()
        while (progress := store.progress()).open:
            if time.monotonic() - said > 2:
                said = time.monotonic()
                LOG.info("%s files indexed, %s to do", f"{progress.done:,}", f"{progress.open:,}")
            if self._look.wait(IDLE / 2):
                return False
        return True

    def _end(self) -> None:
        """End the whole program, as anybody else would."""
        if os.getppid() == self.master:  # or else it is dead, and so are we soon
            os.kill(self.master, signal.SIGTERM)
        self.stop.wait()

    def _conclude(self, store: Store, seconds: float) -> None:
        progress = store.progress()
        LOG.info(
            "all %s files (%.1f MB) are indexed, after %.1f s",
            f"{progress.done:,}",
            progress.size / 1e6,
            seconds,
        )
        for note, files in store.notes():
            LOG.info("  %s of them: %s", f"{files:,}", note)


# --- the master -------------------------------------------------------------------------------


class Master:
    """The manager, its services, and what signals of our own do."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._status_fd: int = options.status_fd
        self._manager = ServiceManager(graceful_shutdown_timeout=30)
        arguments = (options, os.getpid())
        self._manager.add(Scanner, args=arguments)
        self._indexers = self._manager.add(Indexer, options.workers, args=arguments)
        self._wanted: int = options.workers
        self._manager.register_hooks(on_new_worker=_leave_signals_to_the_master)
        for signum in (signal.SIGTTIN, signal.SIGTTOU):
            signal.signal(signum, self._scale)
        signal.signal(signal.SIGUSR1, self._tell)

    def run(self) -> None:
        """Supervise until the end."""
        if self._status_fd != 2:
            self._tell()  # that from now on SIGUSR1 is answered, instead of ending the program
        self._manager.run()

    def _scale(self, signum: int, frame: FrameType | None) -> None:
        self._wanted = max(1, self._wanted + (1 if signum == signal.SIGTTIN else -1))
        self._manager.reconfigure(self._indexers, self._wanted)

    def _tell(self, signum: int = 0, frame: FrameType | None = None) -> None:
        line = json.dumps(plain(self._manager.status())).encode() + b"\n"
        try:
            while line:
                line = line[os.write(self._status_fd, line) :]
        except OSError:
            pass  # nobody reads any more: that is no reason to fail


def _leave_signals_to_the_master(
    service_id: ServiceId, worker_id: WorkerId, service: Service
) -> None:
    """Undo, in a worker, what it has inherited."""
    # TTOU is also what a terminal sends to those who write to it from the background.
    for signum in (signal.SIGTTIN, signal.SIGTTOU, signal.SIGUSR1):
        signal.signal(signum, signal.SIG_IGN)


def plain(value: Any) -> Any:
    """Make of a status what JSON knows."""
    if isinstance(value, tuple):
        if hasattr(value, "_asdict"):
            return {name: plain(part) for name, part in value._asdict().items()}
        return [plain(part) for part in value]
    return str(value) if isinstance(value, uuid.UUID) else value


def in_a_child(function: Callable[[], None]) -> int:
    """Call a function in a process of its own; return its exit status, 2 if it says Unusable."""
    pid = os.fork()
    if not pid:
        status = 1
        try:
            function()
            status = 0
        except Unusable as error:
            print(f"indexer: {error}", file=sys.stderr)
            status = 2
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def index(options: argparse.Namespace) -> int:
    """Run the services."""
    database, folder = os.fsencode(options.database), os.fsencode(options.folder)

    def prepare() -> None:
        with Store(database, create=True) as store:
            store.prepare(folder)

    try:
        os.makedirs(os.path.dirname(os.path.abspath(database)), exist_ok=True)
        locks = Locks(files_of(database)[-1])  # held by its descriptor: keep it alive
    except OSError as error:
        raise Unusable(f"cannot use {options.database}: {error.strerror}") from error
    if not locks.try_to_hold(0):
        raise Unusable(f"another indexer is at work on {options.database}")
    status = in_a_child(prepare)
    if status:
        return status
    LOG.info("the index of %s is %s", options.folder, options.database)
    LOG.info("master %d, %d workers", os.getpid(), options.workers)
    Master(options).run()
    return 0


# --- the command line -------------------------------------------------------------------------


def default_database(folder: str) -> str:
    """Return where a folder's index is kept: the same from any working directory."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    digest = hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]
    name = f"{os.path.basename(folder) or 'root'}-{digest}.sqlite3"
    return os.path.join(cache, "cotyledon-indexer", name)


def _parser() -> argparse.ArgumentParser:
    assert __doc__ is not None
    about, _, rest = __doc__.partition("\n\n")
    usage, _, _ = rest.partition("\n\n")
    parser = argparse.ArgumentParser(
        description=f"{about}\n\n{usage}", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("folder", metavar="FOLDER", help="whose files are indexed")
    add("--database", metavar="PATH", help="the index (default: a file in ~/.cache)")
    add("--workers", type=number, default=4, metavar="N", help="(default: 4)")
    add("--search", nargs="+", metavar="WORD", help="print the best files that have all words")
    add("--once", action="store_true", help="end when everything is indexed")
    add(
        "--exclude",
        action="append",
        default=[],
        metavar="PATTERN",
        help="leave out such names, besides hidden ones and __pycache__; repeatable",
    )
    add(
        "--rescan",
        type=seconds,
        default=5,
        metavar="SECONDS",
        help="between two looks for changes (default: 5)",
    )
    add(
        "--pace",
        type=seconds,
        default=0,
        metavar="SECONDS",
        help="that a worker pauses for each file, to leave the machine to others",
    )
    add(
        "--attempts",
        type=whole,
        default=5,
        metavar="N",
        help="give a file up when N workers have died of it (default: 5; 0: never)",
    )
    add("--status-fd", type=int, default=2, help=argparse.SUPPRESS)
    return parser


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Return the options.

    Raises:
        SystemExit: with status 2 when they are wrong.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    options.folder = os.path.realpath(options.folder)
    try:
        if not stat.S_ISDIR(os.stat(options.folder).st_mode):
            parser.error(f"{options.folder} is not a folder")
        with os.scandir(options.folder):
            pass
        os.fstat(options.status_fd)
    except OSError as error:
        about = "--status-fd" if error.filename is None else options.folder
        parser.error(f"{about}: {error.strerror}")
    if options.database is None:
        options.database = default_database(options.folder)
    return options


def main(arguments: list[str] | None = None) -> int:
    """Run the program and return its exit status."""
    options = parse(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    try:
        if options.search is None:
            return index(options)
        return search(os.fsencode(options.database), os.fsencode(options.folder), options.search)
    except Unusable as error:
        print(f"indexer: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
