"""Durations, sizes and deaths in words.

Responsible for how figures are written for people. Never prints.
"""

import signal
from typing import Any

_LONG = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))


def duration(seconds: float | None) -> str:
    """Return a duration in its two largest units; ``-`` if there is none."""
    if seconds is None:
        return "-"
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f}ms"
    if seconds < 9.95:
        return f"{seconds:.1f}s"
    left = round(seconds)
    parts: list[str] = []
    for unit, size in _LONG:
        count, left = divmod(left, size)
        if count or parts:
            parts.append(f"{count}{unit}")
    return " ".join(part for part in parts[:2] if part[0] != "0")


def size(count: int | None) -> str:
    """Return bytes in a unit of which there is at least one; ``-`` if there are none."""
    if count is None:
        return "-"
    value, unit = float(count), "B"
    for larger in "KMGT":
        if value < 1024:
            break
        value, unit = value / 1024, larger
    return f"{value:.0f}{unit}" if value >= 100 or unit == "B" else f"{value:.1f}{unit}"


def signal_name(number: int) -> str:
    """Return the name of a signal."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def how(death: dict[str, Any]) -> str:
    """Return how a worker ended, by its exit status."""
    code = death.get("exit_code")
    if code is None:
        return "no exit status"
    return f"exit status {code}" if code >= 0 else signal_name(-code)


def why(death: dict[str, Any]) -> str:
    """Return how and why a worker ended, in a few words."""
    reason = death["reason"]
    if reason in ("exit", "signal"):
        return how(death)
    return f"{reason} ({how(death)})"


def many(count: int, one: str, more: str | None = None) -> str:
    """Return a count and its word, in the right number."""
    return f"{count} {one if count == 1 else more or one + 's'}"


def listed(names: list[str]) -> str:
    """Return names for the end of a sentence; ``none`` without any."""
    return ", ".join(names) if names else "none"


def close_to(name: str, known: list[str]) -> str:
    """Return a hint for a name that was probably meant, or nothing."""
    import difflib

    found = difflib.get_close_matches(name, known, 1)
    return f" (did you mean {found[0]!r}?)" if found else ""
