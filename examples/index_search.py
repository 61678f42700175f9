"""Answers to searches, as people read them.

Responsible for printing what was found. Never lets a file speak to the terminal: control
characters in names and texts are replaced.
"""

import os
import sys
from collections.abc import Sequence

from examples.index_store import Hit, Store, Unusable

MOST = 10
"""How many answers are shown."""


def search(database: bytes, folder: bytes, words: Sequence[str]) -> int:
    """Print the best answers; return 0, or 1 if there is none.

    Raises:
        Unusable: there is no index, or nothing to search for.
    """
    words = [word for argument in words for word in argument.split()]
    if not words:
        raise Unusable("no words to search for")
    with Store(database) as store:
        store.check(folder)
        count, hits = store.search(words, MOST)
        progress = store.progress()
    begin, end = "[", "]"
    if sys.stdout.isatty() and not os.environ.get("NO_COLOR"):
        begin, end = "\x1b[1m", "\x1b[0m"
    for hit in hits:
        print(_answer(hit, begin, end))
    first = f"the best {len(hits)} of " if count > len(hits) else ""
    queued = f", {progress.open:,} more are in the queue" if progress.open else ""
    print(
        f"{first}{count:,} file{'' if count == 1 else 's'} found in {progress.done:,}{queued}",
        flush=True,
    )
    return 0 if count else 1


def _answer(hit: Hit, begin: str, end: str) -> str:
    text = printable(" ".join(hit.snippet.split()), keep="\x02\x03")
    text = text.replace("\x02", begin).replace("\x03", end)
    return f"{printable(hit.path)}:{hit.line}: {text}"


def printable(text: str | bytes, keep: str = "") -> str:
    """Replace what a file might say to the terminal instead of to the reader."""
    if isinstance(text, bytes):
        text = text.decode(errors="replace")
    return "".join(char if char.isprintable() or char in keep else "?" for char in text)
