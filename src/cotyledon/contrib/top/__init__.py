"""A screen that shows what a manager does, and from which it can be told what to do.

Responsible for the way in: :func:`main`, behind ``cotyledon top`` and ``python -m
cotyledon.contrib.top``. Everything else is in the modules beside this one, which need Textual
(the extra ``top``). Never speaks to a manager but through :mod:`cotyledon.control`, and never
runs in one.
"""

import os
import sys

from cotyledon import control

# Those of the command.
_STATUSES = {"timeout": 6, "forbidden": 7}
_NO_MANAGER = 4
_TERMINAL_NEEDED = "top needs a terminal; `cotyledon status` prints what it would show"
_TEXTUAL_NEEDED = "top needs Textual: pip install 'cotyledon[top]'"


def main(where: str) -> int:
    """Show the screen until it is quit.

    Args:
        where: the name of the manager, or the path of its control socket, with a slash in it.

    Returns:
        The exit status: 0; 2 where something is missing; 4 if there is no such manager, 6 if it
        does not answer in time, 7 if it may not be spoken to. In all but the first case one line
        on the standard error output says what is wrong.
    """
    try:
        from cotyledon.contrib.top.app import Top
        from cotyledon.contrib.top.terminal import is_light
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in {"textual", "rich"}:
            raise
        return _complain(_TEXTUAL_NEEDED, 2)
    try:
        # The path, so that a manager that comes back is the one that has gone.
        with control.Client(where) as client:
            path = os.path.abspath(client.path)
    except control.ControlError as error:
        return _complain(error.text, _STATUSES.get(error.kind, _NO_MANAGER))
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return _complain(_TERMINAL_NEEDED, 2)
    return Top(path, light=is_light()).run() or 0


def _complain(text: str, status: int) -> int:
    print(f"cotyledon: {text}", file=sys.stderr)
    return status
