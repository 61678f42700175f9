"""What the terminal looks like.

Responsible for finding out whether its background is light, before Textual takes it over. Never
changes anything in it; one that does not answer is dark.
"""

import os
import re
import select
import sys
import termios
import time
import tty

_PATIENCE = 1.0
"""Seconds, for slow lines: an answer that comes later would be taken for keys."""
# The colour of the background; then "who are you?", which every terminal answers.
_QUESTION = b"\x1b]11;?\x1b\\\x1b[c"
_ANSWER = re.compile(rb"\]11;rgba?:([0-9a-fA-F]+)/([0-9a-fA-F]+)/([0-9a-fA-F]+)")
_LAST = re.compile(rb"\x1b\[\?[0-9;]*c")


def is_light() -> bool:
    """Tell whether the terminal has a light background."""
    said = _ask()
    if said is not None:
        return bright(said)
    # Set by some terminals: "foreground;background", of the sixteen colours.
    return os.environ.get("COLORFGBG", "").rpartition(";")[2] in {"7", "15"}


def bright(said: bytes) -> bool:
    """Tell whether the colour in a terminal's answer is light."""
    found = _ANSWER.search(said)
    if found is None:
        return False
    red, green, blue = (int(part, 16) / (16 ** len(part) - 1) for part in found.groups())
    light: float = 0.299 * red + 0.587 * green + 0.114 * blue
    return light > 0.5


def _ask() -> bytes | None:
    """Ask the terminal; return what it has said of its background."""
    fd = sys.stdin.fileno()
    before = termios.tcgetattr(fd)
    said = b""
    try:
        tty.setcbreak(fd)
        os.write(sys.stdout.fileno(), _QUESTION)
        end = time.monotonic() + _PATIENCE
        while not _LAST.search(said):
            left = end - time.monotonic()
            if left <= 0 or not select.select([fd], [], [], left)[0]:
                break
            said += os.read(fd, 1024)
    except OSError:
        return None
    finally:
        termios.tcsetattr(fd, termios.TCSANOW, before)
    return said if _ANSWER.search(said) else None
