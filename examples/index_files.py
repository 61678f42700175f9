"""The files that the indexer reads.

Responsible for which files of a folder are indexed, and for turning whatever a file holds into
text, or into the reason why there is none. Never writes, never follows a symbolic link, and
never fails because of what it finds.
"""

import hashlib
import logging
import os
import stat
from collections.abc import Collection, Iterator
from fnmatch import fnmatchcase
from typing import NamedTuple

ALWAYS_EXCLUDED = (".*", "__pycache__")
LARGEST = 32 << 20
"""Bytes of the largest file that is read as text: a stop waits for the file in hand."""

LOG = logging.getLogger("indexer")


class Found(NamedTuple):
    """A file of the folder."""

    path: bytes  # relative to the folder; bytes, since a file's name need not be text
    size: int
    changed_ns: int


class Document(NamedTuple):
    """What was read from a file."""

    body: str
    note: str | None  # why the body is empty, or what is to be known about it
    sha256: bytes | None  # of all of its bytes; None: they could not be read
    size: int | None = None  # at the time of reading
    changed_ns: int | None = None


def walk(
    folder: bytes, exclude: Collection[str] = (), never: Collection[bytes] = ()
) -> Iterator[Found]:
    """Yield the regular files below a folder.

    Symbolic links are not followed, so no loop can be met and nothing is found twice.

    Args:
        folder: where to begin.
        exclude: patterns of the names of files and folders to leave out, besides
            ``ALWAYS_EXCLUDED``.
        never: the full paths of files to leave out.

    Raises:
        OSError: the folder itself cannot be read. One below it is logged and left out.
    """
    patterns = (*ALWAYS_EXCLUDED, *exclude)
    waiting = [b""]
    while waiting:
        inside = waiting.pop()
        try:
            with os.scandir(os.path.join(folder, inside)) as entries:
                listed = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            if not inside:
                raise
            LOG.warning("left out: %s", error)
            continue
        folders = []
        for entry in listed:
            if entry.path in never or _matches(entry.name, patterns):
                continue
            path = os.path.join(inside, entry.name)
            try:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(path)
                elif entry.is_file(follow_symlinks=False):
                    is_now = entry.stat(follow_symlinks=False)
                    yield Found(path, is_now.st_size, changed_ns(is_now))
            except FileNotFoundError:
                pass  # it has gone since the folder was listed
        waiting.extend(reversed(folders))


def _matches(name: bytes, patterns: Collection[str]) -> bool:
    return any(fnmatchcase(os.fsdecode(name), pattern) for pattern in patterns)


def changed_ns(status: os.stat_result) -> int:
    """Tell when a file last changed.

    The inode's time and not the content's: it also moves when the permissions do, so that an
    unreadable file is tried again, and no tool can set it back.
    """
    return status.st_ctime_ns


def read(path: bytes) -> Document | None:
    """Read a file; ``None``: there is no such regular file (any more)."""
    try:
        # O_NONBLOCK: a pipe that has taken the file's place must not hold the worker up.
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        return _explain(path, error)
    is_now = os.fstat(fd)
    if not stat.S_ISREG(is_now.st_mode):
        os.close(fd)
        return None
    with open(fd, "rb") as file:
        try:
            if is_now.st_size > LARGEST:
                digest = hashlib.file_digest(file, "sha256").digest()
                body, note = "", f"larger than {LARGEST >> 20} MiB"
            else:
                data = file.read()
                digest = hashlib.sha256(data).digest()
                body, note = decode(data)
        except OSError as error:
            body, note, digest = "", f"unreadable: {error.strerror}", None
    # Taken before reading: what changes meanwhile is seen as a change by the next scan.
    return Document(body, note or None, digest, is_now.st_size, changed_ns(is_now))


def _explain(path: bytes, error: OSError) -> Document | None:
    try:
        if stat.S_ISREG(os.lstat(path).st_mode):
            return Document("", f"unreadable: {error.strerror}", None)
    except OSError:
        pass
    return None


def decode(data: bytes) -> tuple[str, str]:
    """Return the text in some bytes, and a note (empty: there is nothing to note)."""
    if not data:
        return "", "empty"
    if b"\0" in data:
        return "", "binary"
    try:
        return data.decode("utf-8-sig"), ""
    except UnicodeDecodeError:
        return data.decode("latin-1"), "not UTF-8, read as Latin-1"
