"""The examples: the indexer does its work, whatever happens to it, and the demo proves it.

Responsible for running them as a user does, on a small folder. Never looks inside the manager.
"""

import json
import os
import pty
import random
import re
import select
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from examples import demo_proof, index_files
from examples.index_store import Store

pytestmark = [pytest.mark.real, pytest.mark.once]

ROOT = Path(__file__).resolve().parent.parent
INDEXER = [sys.executable, "-W", "error", str(ROOT / "examples" / "indexer.py")]
DEMO = [sys.executable, "-W", "error", str(ROOT / "examples" / "demo.py")]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "TERM": "xterm"}
ENVIRONMENT.pop("NO_COLOR", None)
LIMIT = 20


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "folder"
    for number in range(40):
        path = folder / f"part{number % 4}" / f"file{number}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            f"first line\n\nonly_{chr(97 + number // 26)}{chr(97 + number % 26)} here\n"
        )
    return folder


@pytest.fixture
def database(tmp_path):
    return tmp_path / "index.sqlite3"


def run(command, *arguments, env=ENVIRONMENT):
    return subprocess.run(
        [*command, *map(str, arguments)],
        check=False,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )


def index_once(folder, database, *arguments):
    done = run(INDEXER, folder, "--database", database, "--once", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stderr


def query(database, text, *values):
    with closing(sqlite3.connect(database)) as db, db:
        return db.execute(text, values).fetchall()


def jobs(database):
    """Return path -> (indexings, note)."""
    rows = query(database, "SELECT path, state, indexings, note FROM jobs")
    assert {state for _, state, _, _ in rows} <= {"done"}
    return {path.decode(errors="replace"): (times, note) for path, _, times, note in rows}


class Lines:
    """What a program writes to a descriptor, line by line, each within a time."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._data = b""

    def next(self) -> str:
        deadline = time.monotonic() + LIMIT
        while b"\n" not in self._data:
            ready, _, _ = select.select([self._fd], [], [], max(0, deadline - time.monotonic()))
            assert ready, f"no line came, only {self._data!r}"
            try:
                data = os.read(self._fd, 4096)
            except OSError:  # EIO: a terminal that everybody has left
                data = b""
            assert data, f"it has ended, after {self._data!r}"
            self._data += data
        line, _, self._data = self._data.partition(b"\n")
        return line.decode(errors="replace")

    def until(self, pattern: str) -> str:
        while not re.search(pattern, line := self.next()):
            pass
        return line


@contextmanager
def started(command, *arguments, **options) -> Iterator[subprocess.Popen]:
    process = subprocess.Popen(
        [*command, *map(str, arguments)], env=ENVIRONMENT, stdin=subprocess.DEVNULL, **options
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait(LIMIT)
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()


@contextmanager
def watching(folder, database, *arguments) -> Iterator[tuple[subprocess.Popen, Lines]]:
    """Run an indexer that goes on; yield it and what it says."""
    with started(
        INDEXER, folder, "--database", database, *arguments, stderr=subprocess.PIPE
    ) as process:
        assert process.stderr is not None
        yield process, Lines(process.stderr.fileno())


# --- the indexer --------------------------------------------------------------------------


def test_once(folder, database):
    """With --once, each file is indexed exactly once, and the program ends with status 0."""
    said = index_once(folder, database)
    assert "all 40 files" in said
    assert jobs(database) == {
        f"part{number % 4}/file{number}.txt": (1, None) for number in range(40)
    }
    assert len(query(database, "SELECT path FROM documents")) == 40
    demo_proof.prove(str(folder), (), str(database), random.Random(1))


def test_search(folder, database):
    """A search prints the file, the line and the words that were found; a word may end in *."""
    index_once(folder, database)
    found = run(INDEXER, folder, "--database", database, "--search", "only_bc", "here")
    assert (found.returncode, found.stdout.splitlines()) == (
        0,
        [
            "part0/file28.txt:3: first line [only_bc] [here]",
            "1 file found in 40",
        ],
    )
    found = run(INDEXER, folder, "--database", database, "--search", "only_b*")
    assert found.stdout.endswith("the best 10 of 14 files found in 40\n")
    nothing = run(INDEXER, folder, "--database", database, "--search", 'no"such (word')
    assert (nothing.returncode, nothing.stdout) == (1, "0 files found in 40\n")


def test_only_changes_are_indexed_again(folder, database):
    """A second run indexes what is new or has changed, forgets what has gone, and no more."""
    index_once(folder, database)
    (folder / "part0" / "file0.txt").write_text("something else")
    (folder / "part1" / "file1.txt").unlink()
    (folder / "new.txt").write_text("fresh")
    said = index_once(folder, database)
    assert "found 40 files: 2 new or changed, 1 removed" in said
    times = {path: times for path, (times, _) in jobs(database).items()}
    assert times.pop("part0/file0.txt") == 2
    assert "part1/file1.txt" not in times
    assert set(times.values()) == {1}
    assert len(query(database, "SELECT path FROM documents")) == 40
    found = run(INDEXER, folder, "--database", database, "--search", "something")
    assert found.stdout.startswith("part0/file0.txt:1: [something] else\n")


def test_files_that_are_no_text(tmp_path, database):
    """A file without readable text is recorded with the reason; what is no file is left out."""
    folder = tmp_path / "odd"
    folder.mkdir()
    (folder / "empty").touch()
    (folder / "binary").write_bytes(b"ab\0cd")
    (folder / "latin").write_bytes(b"caf\xe9")
    (folder / "marked").write_bytes(b"\xef\xbb\xbfmarked")
    with open(os.fsencode(folder) + b"/na\xffme", "w") as file:
        file.write("named")
    with open(folder / "large", "wb") as file:
        file.truncate(index_files.LARGEST + 1)
    (folder / "loop").symlink_to(".")
    (folder / "nowhere").symlink_to("nothing")
    (folder / ".hidden").touch()
    os.mkfifo(folder / "pipe")
    index_once(folder, database)
    assert jobs(database) == {
        "empty": (1, "empty"),
        "binary": (1, "binary"),
        "latin": (1, "not UTF-8, read as Latin-1"),
        "marked": (1, None),
        "na\ufffdme": (1, None),
        "large": (1, "larger than 32 MiB"),
    }
    demo_proof.prove(str(folder), (), str(database), random.Random(1))
    for word in ("café", "marked", "named", "binary"):  # the last one by its name
        found = run(INDEXER, folder, "--database", database, "--search", word)
        assert found.stdout.endswith("1 file found in 6\n"), word


def test_read_of_what_cannot_be_read(tmp_path):
    """Reading tells an unreadable file, with its reason, from one that is not there any more."""
    unreadable = index_files.read(b"/proc/self/mem")
    assert unreadable is not None
    assert unreadable.note == "unreadable: Input/output error"
    assert unreadable.sha256 is None
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/etc/passwd")
    for name in ("gone", "pipe", "link", "gone/further", "."):
        assert index_files.read(os.fsencode(tmp_path / name)) is None


def test_watching(folder, database):
    """Without --once it goes on: SIGHUP makes it look at once, SIGTERM ends it with status 0."""
    with watching(folder, database, "--rescan", 1000) as (indexer, lines):
        lines.until("all 40 files")
        (folder / "new.txt").write_text("fresh")
        os.kill(indexer.pid, signal.SIGHUP)
        lines.until("1 new or changed")
        lines.until("all 41 files")
        found = run(INDEXER, folder, "--database", database, "--search", "fresh")
        assert found.stdout.startswith("new.txt:1: [fresh]\n")
        indexer.terminate()
        assert indexer.wait(LIMIT) == 0


def test_a_change_is_noticed(folder, database):
    """Without a signal, too, a change is noticed."""
    with watching(folder, database, "--rescan", 0.05) as (_, lines):
        lines.until("all 40 files")
        (folder / "new.txt").write_text("fresh")
        lines.until("all 41 files")


def test_signals_to_the_master(folder, database):
    """TTIN and TTOU change the number of workers, and USR1 has it write its status."""
    ours, theirs = os.pipe()
    try:
        status = Lines(ours)
        with started(
            INDEXER,
            *(folder, "--database", database, "--workers", 1, "--status-fd", theirs),
            pass_fds=[theirs],
            stderr=subprocess.PIPE,
        ) as indexer:
            assert indexer.stderr is not None
            lines = Lines(indexer.stderr.fileno())
            assert json.loads(status.next())["state"] == "idle"
            lines.until("every worker is ready")
            for signum, workers, event in (
                (signal.SIGTTIN, 2, r"indexer worker\(1\): ready"),
                (signal.SIGTTOU, 1, r"indexer worker\(1\): ended .* \(scaled down\)"),
            ):
                os.kill(indexer.pid, signum)
                lines.until(event)
                os.kill(indexer.pid, signal.SIGUSR1)
                scanner, indexers = json.loads(status.next())["services"]
                assert (scanner["name"], scanner["wanted"]) == ("scanner", 1)
                assert (indexers["name"], indexers["wanted"]) == ("indexer", workers)
                assert indexers["ready"] == workers
            indexer.terminate()
            assert indexer.wait(LIMIT) == 0
    finally:
        os.close(ours)
        os.close(theirs)


def test_one_indexer_per_index(folder, database):
    """A second indexer on the same index is refused; once the first was killed, it is not."""
    with watching(folder, database) as (indexer, lines):
        lines.until("all 40 files")
        refused = run(INDEXER, folder, "--database", database)
        assert (refused.returncode, refused.stderr) == (
            2,
            f"indexer: another indexer is at work on {database}\n",
        )
        indexer.kill()
        indexer.wait(LIMIT)
        index_once(folder, database)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["{tmp}/none"], "No such file or directory"),
        (["{tmp}/file"], "{tmp}/file is not a folder"),
        (["{tmp}", "--workers", "0"], "must be a whole number of at least 1, not: 0"),
        (["{tmp}", "--pace", "nan"], "must be a number of seconds of at least 0, not: nan"),
        (["{tmp}", "--status-fd", "99"], "--status-fd: Bad file descriptor"),
        (["{tmp}", "--database", "/proc/index"], "cannot use /proc/index"),
        (["{tmp}", "--database", "{tmp}/sub"], "cannot open {tmp}/sub: unable to open"),
        (["{tmp}", "--database", "{tmp}/file"], "{tmp}/file: file is not a database"),
        (["{tmp}", "--database", "{tmp}/other"], "{tmp}/other is a database, but not an index"),
        (["{tmp}/sub", "--database", "{tmp}/ours"], "is the index of another folder, {tmp}"),
        (["{tmp}", "--search", "word"], "there is no index"),
        (["{tmp}", "--database", "{tmp}/ours", "--search", " "], "no words to search for"),
    ],
)
def test_bad_input(tmp_path, arguments, says):
    """What cannot work is said in one line, without a traceback, and the status is 2."""
    (tmp_path / "file").write_text("this is not a database, but a text\n" * 40)
    (tmp_path / "sub").mkdir()
    query(tmp_path / "other", "CREATE TABLE anything (a)")
    with Store(os.fsencode(tmp_path / "ours"), create=True) as store:
        store.prepare(os.fsencode(tmp_path))
    done = run(
        INDEXER,
        *(argument.format(tmp=tmp_path) for argument in arguments),
        env={**ENVIRONMENT, "XDG_CACHE_HOME": str(tmp_path / "cache")},
    )
    assert done.returncode == 2
    assert says.format(tmp=tmp_path) in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


# --- the queue ----------------------------------------------------------------------------


CLAIM = """
import sys
sys.path[:0] = sys.argv[1:2]
from examples.index_store import Store
store = Store(sys.argv[2].encode())
store.join()
print(store.claim(7), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def store(folder, database):
    with Store(os.fsencode(database), create=True) as store:
        store.prepare(os.fsencode(folder))
        store.enqueue(index_files.walk(os.fsencode(folder)))
        store.join()
        yield store


def test_the_job_of_a_dead_worker(store, database):
    """A job stays with a worker that lives, and is put back into the queue when it has died."""
    with subprocess.Popen(
        [sys.executable, "-c", CLAIM, str(ROOT), str(database)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as other:
        assert other.stdout is not None
        assert "attempt=1" in Lines(other.stdout.fileno()).next()
        store.release_the_dead()
        assert query(database, "SELECT claimant FROM jobs WHERE state = 'claimed'") == [
            (other.pid,)
        ]
        other.kill()
        other.wait(LIMIT)
    store.release_the_dead()
    assert query(database, "SELECT count(*) FROM jobs WHERE state = 'claimed'") == [(0,)]
    assert store.claim(0).attempt == 2


def test_a_claim_that_was_lost(store, folder, database):
    """Work on a file that has changed meanwhile is thrown away, and done again."""
    job = store.claim(0)
    old = index_files.read(os.path.join(os.fsencode(folder), job.path))
    (folder / os.fsdecode(job.path)).write_text("changed in the meantime")
    assert store.enqueue(index_files.walk(os.fsencode(folder))).queued == 1
    assert not store.finish(job, old)
    assert query(database, "SELECT count(*) FROM documents") == [(0,)]
    again = store.claim(0)
    assert again == job
    assert store.finish(again, index_files.read(os.path.join(os.fsencode(folder), job.path)))
    assert not store.finish(again, old)
    assert query(database, "SELECT body FROM documents") == [("changed in the meantime",)]


def test_a_file_that_kills_workers(folder, database):
    """A file of which one worker after the other has died is given up, and that is recorded."""
    index_once(folder, database)
    query(
        database,
        "UPDATE jobs SET state = 'pending', attempts = ? WHERE path = ?",
        *(5, b"part0/file0.txt"),
    )
    assert "given up" in index_once(folder, database)
    assert jobs(database)["part0/file0.txt"] == (2, "5 workers died of it")


# --- the demo -----------------------------------------------------------------------------


def test_demo(folder, database):
    """Workers that are killed, reloaded and rescaled index every file exactly once."""
    done = run(
        DEMO, folder, "--workers", 3, "--kills", 5, "--seed", 1, "--seconds", 2, "--keep", database
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "40 files on the disk = 40 jobs = 40 rows" in done.stdout
    assert "5 kills, 2 reloads, 3 changes of scale" in done.stdout
    assert "\x1b" not in done.stdout
    assert all(times == 1 for times, _ in jobs(database).values())


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        ("DELETE FROM jobs WHERE id = 1", "1 files have no job"),
        ("UPDATE jobs SET path = x'21' WHERE id = 1", "files have no job"),
        ("INSERT INTO jobs (path, size, changed_ns) VALUES (x'21', 0, 0)", "jobs have no file"),
        ("DELETE FROM documents WHERE rowid = 1", "39 rows in the full-text index for 40"),
        ("INSERT INTO documents SELECT path, body FROM documents LIMIT 1", "41 rows"),
        ("UPDATE documents SET path = '!' WHERE rowid = 1", "is in the index as '!'"),
        ("UPDATE documents SET body = 'x' WHERE rowid = 1", "the text in the index is not that"),
        ("UPDATE documents_content SET c1 = 'x' WHERE id = 1", "FTS5's integrity-check says"),
        ("UPDATE jobs SET state = 'pending' WHERE id = 1", "1 files were not indexed, such as"),
        ("UPDATE jobs SET indexings = 2 WHERE id = 1", "1 files were not indexed exactly once"),
        ("UPDATE jobs SET sha256 = x'00' WHERE id = 1", "hash in the database is not that"),
        ("UPDATE jobs SET sha256 = NULL WHERE id = 1", "hash in the database is not that"),
    ],
)
def test_the_proof_fails(store, folder, database, damage, says):
    """The demo's proof fails, and says why, whatever is not as it must be."""
    while (job := store.claim(0)) is not None:
        store.finish(job, index_files.read(os.path.join(os.fsencode(folder), job.path)))
    arguments = (str(folder), (), str(database), random.Random(1))
    demo_proof.prove(*arguments)
    query(database, damage)
    with pytest.raises(demo_proof.Failed, match=re.escape(says)):
        demo_proof.prove(*arguments)


@pytest.mark.parametrize("colours", [True, False])
def test_ctrl_c_ends_the_demo_and_the_indexer(folder, colours):
    """On a terminal it draws, with colours if wanted; Ctrl-C ends it and all that it started."""
    terminal, inner = pty.openpty()
    try:
        environment = {**ENVIRONMENT, **({} if colours else {"NO_COLOR": "1"})}
        demo = subprocess.Popen(
            [*DEMO, str(folder), "--seconds", "60"],
            env=environment,
            stdin=inner,
            stdout=inner,
            stderr=inner,
            start_new_session=True,
        )
    finally:
        os.close(inner)
    try:
        lines = Lines(terminal)
        started_line = lines.until("started the indexer")
        indexer = os.pidfd_open(int(re.findall(r"pid (\d+)", started_line)[0]))
        assert bool(re.search(r"\x1b\[32mready", line := lines.until("ready {3}"))) == colours, (
            line
        )
        demo.send_signal(signal.SIGINT)
        lines.until("ended before the end")
        assert demo.wait(LIMIT) == 130
        assert select.select([indexer], [], [], 0)[0], "the indexer is still there"
        os.close(indexer)
    finally:
        demo.kill()
        demo.wait(LIMIT)
        os.close(terminal)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["{folder}/none"], "is not a folder"),
        (["{folder}/../empty"], "there are no files in"),
        (["{folder}", "--kills", "-1"], "must be a whole number of at least 0, not: -1"),
        (["{folder}", "--keep", "{folder}/part0/file0.txt"], "exists already"),
        (["{folder}", "--keep", "{folder}/index"], "would be one of the files"),
    ],
)
def test_bad_input_of_the_demo(folder, arguments, says):
    """The demo refuses, with status 2, what it could not prove anything with."""
    (folder.parent / "empty").mkdir()
    done = run(DEMO, *(argument.format(folder=folder) for argument in arguments))
    assert done.returncode == 2
    assert says in done.stderr
