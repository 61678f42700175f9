"""What the demo proves, once the indexer has ended.

Responsible for comparing the database with the folder, with code of its own: nothing here is
shared with the indexer, whose mistakes would otherwise be made twice. Never repairs anything.
"""

import hashlib
import os
import random
import re
import sqlite3
import stat
from collections.abc import Iterable
from contextlib import closing
from fnmatch import fnmatchcase
from typing import NamedTuple
from urllib.parse import quote

HIDDEN = (".*", "__pycache__")
SAMPLE = 200
"""How many files must be found by a word of their own."""
WORD = re.compile(r"(?<![\w\x80-\U0010ffff])[A-Za-z_]{4,40}(?![\w\x80-\U0010ffff])")
"""Words that are words to any tokenizer: plain, and with nothing but punctuation around."""


class Failed(Exception):
    """Something is not as it must be, and what."""


class Proved(NamedTuple):
    """The numbers of a proof."""

    files: int
    size: int
    begun_again: int  # files of which a worker was killed in the middle
    notes: list[tuple[str, int]]
    found: int
    word: str  # one that is in some file


def files_in(folder: str, exclude: Iterable[str]) -> dict[bytes, bytes]:
    """Return the regular files below a folder: path in it -> full path."""
    patterns = (*HIDDEN, *exclude)

    def wanted(name: bytes) -> bool:
        return not any(fnmatchcase(os.fsdecode(name), pattern) for pattern in patterns)

    top = os.fsencode(folder)
    files = {}
    for parent, folders, names in os.walk(top):
        folders[:] = filter(wanted, folders)
        for name in filter(wanted, names):
            path = os.path.join(parent, name)
            if stat.S_ISREG(os.lstat(path).st_mode):
                files[os.path.relpath(path, top)] = path
    return files


def connect(database: str) -> sqlite3.Connection:
    """Open a database without being able to change it."""
    return sqlite3.connect(f"file:{quote(database)}?mode=ro", uri=True, timeout=30)


def prove(folder: str, exclude: Iterable[str], database: str, chance: random.Random) -> Proved:
    """Prove that each file is indexed exactly once, as it is on the disk, and is found.

    Raises:
        Failed: it is not so.
    """
    files = files_in(folder, exclude)
    with closing(sqlite3.connect(database, timeout=30)) as db:
        _check_structure(db)
    with closing(connect(database)) as db:
        _check_paths(db, files)
        size = _check_contents(db, files)
        found, word = _check_search(db, chance)
        begun_again = _one(db, "SELECT count(*) FROM jobs WHERE attempts > 1")
        notes = db.execute(
            "SELECT note, count(*) FROM jobs WHERE note IS NOT NULL GROUP BY 1 ORDER BY 2 DESC"
        ).fetchall()
    return Proved(len(files), size, begun_again, notes, found, word)


def _one(db: sqlite3.Connection, query: str) -> int:
    return int(db.execute(query).fetchone()[0])


def _demand(holds: bool, text: str) -> None:
    if not holds:
        raise Failed(text)


def _check_structure(db: sqlite3.Connection) -> None:
    answer = db.execute("PRAGMA integrity_check").fetchall()
    _demand(answer == [("ok",)], f"PRAGMA integrity_check says {answer[:3]}")
    try:
        # It compares the full-text index with the texts, word by word; and it is an INSERT.
        db.execute("INSERT INTO documents (documents) VALUES ('integrity-check')")
        db.rollback()
    except sqlite3.DatabaseError as error:
        raise Failed(f"FTS5's integrity-check says: {error}") from error


def _check_paths(db: sqlite3.Connection, files: dict[bytes, bytes]) -> None:
    jobs = [path for (path,) in db.execute("SELECT path FROM jobs")]
    lost, extra = files.keys() - set(jobs), set(jobs) - files.keys()
    _demand(not lost, f"{len(lost)} files have no job, such as {_some(lost)}")
    _demand(not extra, f"{len(extra)} jobs have no file, such as {_some(extra)}")
    _demand(len(jobs) == len(files), f"{len(jobs)} jobs for {len(files)} files")
    rows = _one(db, "SELECT count(*) FROM documents")
    _demand(rows == len(files), f"{rows} rows in the full-text index for {len(files)} files")
    strays = _one(db, "SELECT count(*) FROM documents WHERE rowid NOT IN (SELECT id FROM jobs)")
    _demand(not strays, f"{strays} rows in the full-text index belong to no job")
    bad = {path for (path,) in db.execute("SELECT path FROM jobs WHERE state != 'done'")}
    _demand(not bad, f"{len(bad)} files were not indexed, such as {_some(bad)}")
    bad = {path for (path,) in db.execute("SELECT path FROM jobs WHERE indexings != 1")}
    text = "files were not indexed exactly once, or have changed meanwhile, such as"
    _demand(not bad, f"{len(bad)} {text} {_some(bad)}")


def _check_contents(db: sqlite3.Connection, files: dict[bytes, bytes]) -> int:
    """Compare hashes, and texts, with what is on the disk now; return the number of bytes."""
    size = 0
    query = "SELECT jobs.path, documents.path, body, sha256, note FROM jobs JOIN documents"
    for path, name, body, digest, note in db.execute(f"{query} ON documents.rowid = jobs.id"):
        shown = _some([path])
        _demand(name == path.decode(errors="replace"), f"{shown} is in the index as {name!r}")
        try:
            with open(files[path], "rb") as file:
                data = file.read()
        except OSError as error:
            _demand(digest is None, f"{shown} cannot be read ({error}), but has a hash")
            continue
        size += len(data)
        same = digest == hashlib.sha256(data).digest()
        _demand(same, f"{shown}: the hash in the database is not that of the file ({note})")
        if note is None:
            same = body == data.decode("utf-8-sig")
            _demand(same, f"{shown}: the text in the index is not that of the file")
    return size


def _check_search(db: sqlite3.Connection, chance: random.Random) -> tuple[int, str]:
    """Search files by a word of their own; return how many were, and one of the words."""
    ids = [rowid for (rowid,) in db.execute("SELECT rowid FROM documents WHERE body != ''")]
    found, word = 0, ""
    for rowid in chance.sample(ids, min(SAMPLE, len(ids))):
        query = "SELECT path, body FROM documents WHERE rowid = ?"
        path, body = db.execute(query, [rowid]).fetchone()
        words = WORD.findall(body[:20_000])
        if not words:
            continue
        word = max(words, key=len)
        query = "SELECT count(*) FROM documents WHERE documents MATCH ? AND rowid = ?"
        hits = db.execute(query, [f'"{word}"', rowid]).fetchone()[0]
        _demand(hits == 1, f"a search for {word!r} finds {path} {hits} times")
        found += 1
    return found, word


def _some(paths: Iterable[bytes]) -> str:
    return min(paths, default=b"").decode(errors="replace")
