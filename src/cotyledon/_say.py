"""Log lines that cannot hurt.

Responsible for handing a line to the ``cotyledon`` logger. Never lets a broken handler, a
closed stderr or a bad format end supervision: what a handler raises is dropped.
"""

import logging
import sys
from typing import Any

LOG = logging.getLogger("cotyledon")


def say(level: int, text: str, *args: Any, exc_info: Any = None) -> None:
    """Log one line; drop every ``Exception`` that a handler raises."""
    try:
        if exc_info or LOG.hasHandlers():
            LOG.log(level, text, *args, exc_info=exc_info)
        elif level >= logging.WARNING and LOG.isEnabledFor(level) and logging.lastResort:
            # The program has not set up logging: what logging.lastResort would write, without
            # the machinery, whose memory each master and worker would have to copy for it.
            sys.stderr.write(f"{text % args}\n")
            sys.stderr.flush()
    except Exception:  # there is nobody left to tell
        pass
