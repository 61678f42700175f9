"""Numbers on the examples' command lines.

Responsible for refusing those that make no sense, in words that help.
"""

from argparse import ArgumentTypeError


def whole(text: str, least: int = 0) -> int:
    """Return a whole number of at least 0."""
    try:
        value = int(text)
    except ValueError:
        value = least - 1
    if value < least:
        raise ArgumentTypeError(f"must be a whole number of at least {least}, not: {text}")
    return value


def number(text: str) -> int:
    """Return a whole number of at least 1."""
    return whole(text, 1)


def seconds(text: str) -> float:
    """Return a time that a program may well wait."""
    try:
        value = float(text)
    except ValueError:
        value = -1
    if not 0 <= value < 1e6:
        raise ArgumentTypeError(f"must be a number of seconds of at least 0, not: {text}")
    return value
