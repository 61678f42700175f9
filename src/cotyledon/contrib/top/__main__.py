"""``python -m cotyledon.contrib.top WHERE``: the screen without the command ``cotyledon``.

Responsible for the arguments. Never does more than :func:`cotyledon.contrib.top.main`.
"""

import sys

from cotyledon.contrib.top import main

if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        print("usage: python -m cotyledon.contrib.top NAME|SOCKET", file=sys.stderr)
        sys.exit(2)
    sys.exit(main(sys.argv[1]))
