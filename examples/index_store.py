"""The full-text index and its durable job queue, in one SQLite file.

Responsible for the schema, for every transaction, and for who holds which job. What it relies on
is that a file's text and the mark that its job is done are written in ONE transaction: SIGKILL
at any instant leaves both or neither. Never reads the indexed files, never starts a process.

A job is taken by *claiming* it. A worker that dies leaves its claim behind; others recognise it
by a lock that the kernel has dropped (see :class:`Locks`) and put the job back. A claim that was
lost is noticed when the job is to be finished, so even a wrong guess indexes nothing twice.
"""

import fcntl
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple, Self

from examples.index_files import Document, Found

APPLICATION_ID = 0x636F7479  # tells our databases from those of other programs
VERSION = 1
BATCH = 500
"""How many files a scan writes at a time, so that workers get their turn in between."""

SCHEMA = (
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID",
    """CREATE TABLE jobs (
        id INTEGER PRIMARY KEY,               -- also the rowid of the document
        path BLOB NOT NULL UNIQUE,
        size INTEGER NOT NULL,
        changed_ns INTEGER NOT NULL,
        state TEXT NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'claimed', 'done')),
        claimant INTEGER,                     -- pid, while it is claimed
        worker INTEGER,                       -- worker_id of the last claimant
        attempts INTEGER NOT NULL DEFAULT 0,  -- claims since the file was found or has changed
        indexings INTEGER NOT NULL DEFAULT 0, -- how often it was indexed, ever
        sha256 BLOB,                          -- of what was read; NULL: nothing could be
        note TEXT                             -- why there is no text, or what is odd about it
    )""",
    "CREATE INDEX jobs_by_state ON jobs (state, id)",
    """CREATE VIRTUAL TABLE documents USING fts5(
        path, body, tokenize = "unicode61 tokenchars '_'", prefix = '2 3'
    )""",
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {VERSION}",
)


class Unusable(Exception):
    """There is no usable index, and why."""


class Job(NamedTuple):
    """A claimed job; ``attempt`` tells this claim from any other one of it."""

    id: int
    path: bytes
    attempt: int


class Progress(NamedTuple):
    """How far the index is."""

    done: int
    open: int
    size: int  # bytes of all files


class Changes(NamedTuple):
    """What a scan has found."""

    files: int
    queued: int
    removed: int


class Hit(NamedTuple):
    """One answer to a search; in ``snippet``, U+0002 and U+0003 surround what was found."""

    path: bytes
    line: int
    snippet: str


class Locks:
    """Who is alive, told by the kernel: whoever dies, in whatever way, drops its lock.

    One byte of a file is locked per process, the one at the offset of its pid, and byte 0 by
    the master. Unlike the pids themselves, this cannot take a stranger that has got the pid of
    a dead worker for that worker.

    Args:
        path: the file; it is made when missing. A process must open it once only, since a
            POSIX lock is dropped when *any* descriptor of its file is closed.
    """

    def __init__(self, path: bytes) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)

    def hold(self, byte: int) -> None:
        """Lock a byte until this process ends."""
        fcntl.lockf(self._fd, fcntl.LOCK_EX, 1, byte)

    def try_to_hold(self, byte: int) -> bool:
        """Lock a byte, unless another process has."""
        try:
            fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)
        except (BlockingIOError, PermissionError):
            return False
        return True

    def is_held(self, byte: int) -> bool:
        """Tell whether another process has locked a byte."""
        try:
            fcntl.lockf(self._fd, fcntl.LOCK_SH | fcntl.LOCK_NB, 1, byte)
        except (BlockingIOError, PermissionError):
            return True
        fcntl.lockf(self._fd, fcntl.LOCK_UN, 1, byte)
        return False


def files_of(database: bytes) -> tuple[bytes, ...]:
    """Return the files that a database consists of; the last one is that of the locks."""
    return tuple(database + suffix for suffix in (b"", b"-wal", b"-shm", b"-journal", b"-locks"))


class Store:
    """One process's connection. Opened after the fork: SQLite's must not cross one.

    Args:
        database: the file.
        create: make it when it is missing.

    Raises:
        Unusable: it cannot be opened, or is something else than an index.
    """

    def __init__(self, database: bytes, *, create: bool = False) -> None:
        self.database = database
        self._pid = os.getpid()
        self._locks: Locks | None = None
        if not create and not os.path.exists(database):
            raise Unusable(f"there is no index {os.fsdecode(database)} yet")
        try:
            self._db = sqlite3.connect(os.fsdecode(database), timeout=30, isolation_level=None)
            # A power cut may lose the last transactions, but whole: the files are done again.
            self._db.execute("PRAGMA synchronous = NORMAL")
        except sqlite3.Error as error:
            raise Unusable(f"cannot open {os.fsdecode(database)}: {error}") from error

    def close(self) -> None:
        """Close the connection."""
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        # IMMEDIATE: the write lock is taken at once, so that what is read stays true.
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    # The database as a whole

    def prepare(self, folder: bytes) -> None:
        """Make the tables of a new database, or check those of an old one, for writing.

        Raises:
            Unusable: it is of another program or folder, cannot be written, or this SQLite has
                no FTS5.
        """
        try:
            self._db.execute("CREATE VIRTUAL TABLE temp.probe USING fts5(body)")
            self._db.execute("DROP TABLE temp.probe")
            mode = self._db.execute("PRAGMA journal_mode = WAL").fetchone()[0]
            if mode != "wal":
                raise Unusable("the file system cannot do what SQLite's WAL mode needs")
            with self._transaction():  # which also tells whether it can be written
                if not self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                    for statement in SCHEMA:
                        self._db.execute(statement)
                    self._db.execute("INSERT INTO meta VALUES ('folder', ?)", [folder])
            self.check(folder)
        except sqlite3.Error as error:
            if "fts5" in str(error):
                raise Unusable("this Python's SQLite was built without FTS5") from error
            raise Unusable(f"cannot use {os.fsdecode(self.database)}: {error}") from error

    def check(self, folder: bytes) -> None:
        """Check that this is an index of a folder.

        Raises:
            Unusable: it is not.
        """
        name = os.fsdecode(self.database)
        try:
            found = self._db.execute("PRAGMA application_id").fetchone()[0]
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            if (found, version) != (APPLICATION_ID, VERSION):
                raise Unusable(f"{name} is a database, but not an index of this program's")
            of = self._db.execute("SELECT value FROM meta WHERE key = 'folder'").fetchone()[0]
        except sqlite3.Error as error:
            raise Unusable(f"cannot use {name}: {error}") from error
        if of != folder:
            raise Unusable(f"{name} is the index of another folder, {os.fsdecode(of)}")

    def progress(self) -> Progress:
        """Return how far the index is."""
        done, still_open, size = self._db.execute(
            "SELECT count(*) FILTER (WHERE state = 'done'),"
            " count(*) FILTER (WHERE state != 'done'), total(size) FROM jobs"
        ).fetchone()
        return Progress(done, still_open, int(size))

    def notes(self) -> list[tuple[str, int]]:
        """Return what there is to be known about files, and of how many each is true."""
        return self._db.execute(
            "SELECT note, count(*) FROM jobs WHERE note IS NOT NULL AND state = 'done'"
            " GROUP BY note ORDER BY 2 DESC"
        ).fetchall()

    # The scanner's side

    def enqueue(self, found: Iterable[Found]) -> Changes:
        """Queue the files that are new or have changed, and forget those that have gone."""
        known = {
            path: (size, changed)
            for path, size, changed in self._db.execute("SELECT path, size, changed_ns FROM jobs")
        }
        files = queued = 0
        batch: list[Found] = []
        for file in found:
            files += 1
            if known.pop(file.path, None) != (file.size, file.changed_ns):
                batch.append(file)
            if len(batch) == BATCH:
                queued += self._queue(batch)
                batch.clear()
        queued += self._queue(batch)
        self._forget(list(known))
        return Changes(files, queued, len(known))

    def _queue(self, batch: list[Found]) -> int:
        if batch:
            with self._transaction():
                # Taking a claim away is safe: see finish().
                self._db.executemany(
                    "INSERT INTO jobs (path, size, changed_ns) VALUES (?, ?, ?)"
                    " ON CONFLICT (path) DO UPDATE SET size = excluded.size,"
                    " changed_ns = excluded.changed_ns, state = 'pending', claimant = NULL,"
                    " attempts = 0",
                    batch,
                )
        return len(batch)

    def _forget(self, paths: list[bytes]) -> None:
        for start in range(0, len(paths), BATCH):
            batch = [(path,) for path in paths[start : start + BATCH]]
            with self._transaction():
                self._db.executemany(
                    "DELETE FROM documents WHERE rowid = (SELECT id FROM jobs WHERE path = ?)",
                    batch,
                )
                self._db.executemany("DELETE FROM jobs WHERE path = ?", batch)

    # The workers' side

    def join(self) -> None:
        """Become a worker: from now on our claims count, until this process ends."""
        self._locks = Locks(files_of(self.database)[-1])
        self._locks.hold(self._pid)
        self._release([self._pid])  # of one that had this pid before us

    def claim(self, worker_id: int) -> Job | None:
        """Take a job; ``None``: there is none."""
        query = "SELECT id, path, attempts FROM jobs WHERE state = 'pending' ORDER BY id LIMIT 1"
        if self._db.execute(query).fetchone() is None:
            return None  # found out without the write lock, which others need
        with self._transaction():
            row = self._db.execute(query).fetchone()
            if row is None:
                return None
            job = Job(row[0], row[1], row[2] + 1)
            self._db.execute(
                "UPDATE jobs SET state = 'claimed', claimant = ?, worker = ?, attempts = ?"
                " WHERE id = ?",
                [self._pid, worker_id, job.attempt, job.id],
            )
        return job

    def release_the_dead(self) -> None:
        """Put the jobs of dead workers back into the queue."""
        assert self._locks is not None, "join() comes first"
        claimants = self._db.execute(
            "SELECT DISTINCT claimant FROM jobs WHERE state = 'claimed' AND claimant != ?",
            [self._pid],
        ).fetchall()
        self._release([pid for (pid,) in claimants if not self._locks.is_held(pid)])

    def _release(self, pids: list[int]) -> None:
        if pids:
            with self._transaction():
                self._db.executemany(
                    "UPDATE jobs SET state = 'pending', claimant = NULL"
                    " WHERE state = 'claimed' AND claimant = ?",
                    [(pid,) for pid in pids],
                )

    def finish(self, job: Job, document: Document) -> bool:
        """Write a document and mark its job done; return whether the claim still held."""
        with self._transaction():
            ours = self._db.execute(
                "UPDATE jobs SET state = 'done', claimant = NULL, indexings = indexings + 1,"
                " size = coalesce(?, size), changed_ns = coalesce(?, changed_ns),"
                " sha256 = ?, note = ?"
                " WHERE id = ? AND state = 'claimed' AND claimant = ? AND attempts = ?",
                [
                    *(document.size, document.changed_ns, document.sha256, document.note),
                    *(job.id, self._pid, job.attempt),
                ],
            ).rowcount
            if ours:
                self._db.execute("DELETE FROM documents WHERE rowid = ?", [job.id])
                self._db.execute(
                    "INSERT INTO documents (rowid, path, body) VALUES (?, ?, ?)",
                    [job.id, job.path.decode(errors="replace"), document.body],
                )
        return bool(ours)

    def drop(self, job: Job) -> None:
        """Forget a file that has vanished since it was queued."""
        with self._transaction():
            ours = self._db.execute(
                "DELETE FROM jobs WHERE id = ? AND state = 'claimed' AND claimant = ?"
                " AND attempts = ?",
                [job.id, self._pid, job.attempt],
            ).rowcount
            if ours:
                self._db.execute("DELETE FROM documents WHERE rowid = ?", [job.id])

    # Searching

    def search(self, words: Iterable[str], most: int) -> tuple[int, list[Hit]]:
        """Return how many files have all the words, and the best of them.

        A word that ends in ``*`` stands for every word that begins like it.
        """
        query = " ".join(
            '"' + word.rstrip("*").replace('"', '""') + '"' + "*" * word.endswith("*")
            for word in words
        )
        count = self._db.execute(
            "SELECT count(*) FROM documents WHERE documents MATCH ?", [query]
        ).fetchone()[0]
        # A word in the file's name counts ten times.
        rows = self._db.execute(
            "SELECT jobs.path, body, snippet(documents, 1, char(2), char(3), '', 12)"
            " FROM documents JOIN jobs ON jobs.id = documents.rowid"
            " WHERE documents MATCH ? ORDER BY bm25(documents, 10.0, 1.0) LIMIT ?",
            [query, most],
        )
        return count, [Hit(path, _line(body, snippet), snippet) for path, body, snippet in rows]


def _line(body: str, snippet: str) -> int:
    """Return the number of the line in which the first word of a snippet was found."""
    before, found, _ = snippet.partition("\x02")
    if not found:
        return 1  # it was found in the name
    start = body.find(snippet.replace("\x02", "").replace("\x03", ""))
    return body.count("\n", 0, max(0, start) + len(before)) + 1
