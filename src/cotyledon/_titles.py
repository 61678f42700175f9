"""Process titles.

Responsible for what ``ps`` shows. Never fails: a title is a help, not a need.
"""

import os
import sys

import setproctitle


def program() -> str:
    """Return the name of the program, for titles."""
    return os.path.basename(sys.argv[0]) if sys.argv and sys.argv[0] else "python"


def set_title(text: str) -> None:
    """Set the title of this process."""
    try:
        setproctitle.setproctitle(text)
    except Exception:  # for instance a lone surrogate in an argument
        pass
