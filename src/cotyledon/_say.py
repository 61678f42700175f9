"""Log lines that cannot hurt.

Responsible for handing a line to the ``cotyledon`` logger. Never lets a broken handler, a
closed stderr or a bad format end supervision: what a handler raises is dropped.
"""

import logging
from typing import Any

LOG = logging.getLogger("cotyledon")


def say(level: int, text: str, *args: Any, exc_info: Any = None) -> None:
    """Log one line; drop every ``Exception`` that a handler raises."""
    try:
        LOG.log(level, text, *args, exc_info=exc_info)
    except Exception:  # there is nobody left to tell
        pass
