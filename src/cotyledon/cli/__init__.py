"""The command ``cotyledon``.

Responsible for where it begins: whether its extra is installed, and the short way for ``health``.
Never imports click, rich or msgspec itself: workers that are spawned come by here.
"""

import sys
from collections.abc import Sequence
from typing import NoReturn

NEEDS = ("click", "rich", "msgspec")


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Run the command, and end the process with its exit status.

    Args:
        args: the command line without the program's name (default: ``sys.argv[1:]``).
    """
    given = sys.argv[1:] if args is None else list(args)
    if given[:1] == ["health"]:
        from cotyledon.cli import health

        asked = health.read(given[1:])
        if asked is not None:
            sys.exit(health.probe(*asked))
    missing = [name for name in NEEDS if not _installed(name)]
    if missing:
        print(
            f"cotyledon: the command needs {', '.join(missing)}: pip install 'cotyledon[cli]'",
            file=sys.stderr,
        )
        sys.exit(2)
    from cotyledon.cli.app import call

    sys.exit(call(given))


def _installed(name: str) -> bool:
    from importlib.util import find_spec

    return find_spec(name) is not None
