"""The words of the page.

Responsible for numbers, durations and events as people read them. Never makes HTML: what these
functions return is text, and may hold whatever a service is called.
"""

import signal
import time
from typing import Any

GOOD, BAD, WARN, PLAIN = "good", "bad", "warn", "plain"
NOTHING = "\N{EN DASH}"
_ASKED = {"reload", "restart", "recycled", "scaled down", "stopped"}
_REMEMBERED = 10
"""Deaths of a worker that the manager remembers."""


def restarts(deaths: list[dict[str, Any]]) -> str:
    """Return how many of the remembered deaths nobody had asked for."""
    count = sum(death["reason"] not in _ASKED for death in deaths)
    return f"{count}+" if count == _REMEMBERED else str(count)


def span(seconds: float | None) -> str:
    """Return a duration, in its two largest units."""
    if seconds is None:
        return NOTHING
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 10 and isinstance(seconds, float):
        return f"{seconds:.1f} s"
    left, parts = round(seconds), []
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count} {unit}")
        elif parts:
            break
    return " ".join(parts[:2])


def ago(seconds: float | None) -> str:
    """Return how long ago something was."""
    return "just now" if seconds is None or seconds < 1 else f"{span(int(seconds))} ago"


def size(count: float | None) -> str:
    """Return a number of bytes."""
    if count is None:
        return NOTHING
    value = count / 1024
    for unit in ("KiB", "MiB", "GiB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if value >= 100 else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def percent(share: float | None) -> str:
    """Return a share of a CPU."""
    if share is None:
        return NOTHING
    value = share * 100
    return f"{value:.1f} %" if value < 9.95 else f"{value:.0f} %"


def clock(at: float | None) -> str:
    """Return the time of the day, in UTC."""
    return time.strftime("%H:%M:%S", time.gmtime(at)) if at is not None else ""


def plural(count: int, one: str) -> str:
    """Return a number of things."""
    return f"{count} {one}" if count == 1 else f"{count} {one}s"


def why_dead(death: dict[str, Any]) -> str:
    """Return why a worker has ended."""
    reason, code = str(death.get("reason")), death.get("exit_code")
    if reason in _ASKED or code is None:
        return reason
    if code >= 0:
        return f"exit status {code}" if reason == "exit" else f"{reason}, status {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return name if reason == "signal" else f"{reason} ({name})"


def is_bad(death: dict[str, Any]) -> bool:
    """Return whether nobody has asked for this end, and it is no success."""
    success = death.get("reason") == "exit" and death.get("exit_code") == 0
    return not success and death.get("reason") not in _ASKED


def who(event: dict[str, Any]) -> str:
    """Return whom an event is about."""
    if "name" not in event:
        return "manager"
    worker = event.get("worker")
    return f"{event['name']}" if worker is None else f"{event['name']}/{worker}"


def _died(event: dict[str, Any]) -> tuple[str, str]:
    death = event.get("death") or {}
    text = f"died: {why_dead(death)} (pid {death.get('pid')}, after {span(death.get('uptime'))})"
    return (BAD if is_bad(death) else PLAIN), text


def _about_worker(event: dict[str, Any]) -> tuple[str, str] | None:
    pid = event.get("pid")
    match event.get("kind"):
        case "worker-started":
            return PLAIN, f"started: {event.get('reason')} (pid {pid})"
        case "worker-ready":
            return GOOD, f"ready after {span(event.get('took'))} (pid {pid})"
        case "worker-died":
            return _died(event)
        case "backing-off":
            failures = plural(event.get("failures") or 0, "failure")
            return WARN, f"backs off for {span(event.get('seconds'))} after {failures}"
        case "worker-silent":
            silent = f"silent for {span(event.get('silent_for'))}"
            return BAD, f"{silent} ({event.get('reason')}, pid {pid}): killed in a second"
        case "worker-recovered":
            return GOOD, f"heard again (pid {pid})"
        case "worker-status":
            return PLAIN, f"says: {event.get('status')}"
        case "unkillable":
            return BAD, f"cannot be killed (pid {pid}): it hangs in the kernel"
        case _:
            return None


def sentence(event: dict[str, Any]) -> tuple[str, str]:
    """Return how good an event is, and what it says."""
    about = _about_worker(event)
    if about is not None:
        return about
    match event.get("kind"):
        case "gave-up":
            return BAD, "is given up: it has failed too often"
        case "all-ready":
            return GOOD, "every worker is ready"
        case "rollout-finished":
            return GOOD, f"rollout {event.get('generation')} has reached every worker"
        case "rollout-failed":
            behind = plural(event.get("behind") or 0, "worker")
            generation = event.get("generation")
            return BAD, f"rollout {generation} has failed, {behind} behind: {event.get('why')}"
        case "stopping":
            return WARN, f"is stopping: {event.get('why')}"
        case "scaled":
            return PLAIN, f"scaled from {event.get('before')} to {event.get('workers')}"
        case "exit":
            status = event.get("status")
            return (PLAIN if status == 0 else BAD), f"has ended with status {status}"
        case "lost":
            return WARN, f"{plural(event.get('count') or 0, 'event')} lost: too many at a time"
        case kind:
            return PLAIN, str(kind)
