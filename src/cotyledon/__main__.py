"""``python -m cotyledon``: the same as the command ``cotyledon``.

Responsible for nothing else. Never does anything when it is imported, as spawned workers do.
"""

from cotyledon.cli import main

if __name__ == "__main__":
    main()
