"""The command ``cotyledon``, as the script that pip makes of its entry point."""

from cotyledon.cli import main

if __name__ == "__main__":
    main()
