"""The words: of durations, sizes, ends and events.

Responsible for turning what the manager says into text for people. Never trusts it: control
characters are made visible, so that nothing reaches the terminal but text.
"""

import signal
import time
from collections.abc import Iterable
from typing import Any

_BARS = "▁▂▃▄▅▆▇█"
_UNITS = ((86400, "d"), (3600, "h"), (60, "m"))
BAD = "bad"
WARN = "warn"
GOOD = "good"
DIM = "dim"
PLAIN = ""


def clean(text: object) -> str:
    """Return a text as one line in which nothing can move a cursor or change a colour."""
    return "".join(
        char if char.isprintable() else " " if char in "\n\t" else "\N{REPLACEMENT CHARACTER}"
        for char in str(text)
    )


def duration(seconds: float | None) -> str:
    """Return at most two units: ``0.4 s``, ``12 s``, ``3m 20s``, ``2d 4h``."""
    if seconds is None:
        return ""
    if seconds < 9.95:
        return f"{max(0.0, seconds):.1f}s"
    whole = int(seconds)
    if whole < 60:
        return f"{whole}s"
    for index, (size, unit) in enumerate(_UNITS):
        if whole >= size:
            small, name = (*_UNITS, (1, "s"))[index + 1]
            return f"{whole // size}{unit} {whole % size // small:02}{name}"
    raise AssertionError("a minute is left")


def size(count: float | None) -> str:
    """Return bytes with three digits: ``12.3M``."""
    if count is None:
        return ""
    for unit in "BKMGT":
        if count < 999.5 or unit == "T":
            return f"{count:.0f}{unit}" if count >= 99.95 or unit == "B" else f"{count:.1f}{unit}"
        count /= 1024
    raise AssertionError("a unit is left")


def percent(value: float | None) -> str:
    """Return percents of a CPU."""
    if value is None:
        return ""
    return f"{value:.1f}%" if value < 99.95 else f"{value:.0f}%"


def sparkline(values: Iterable[float | None], width: int, top: float) -> str:
    """Return values as bars, the newest at the right, each for as many of them as it takes.

    Args:
        values: what is shown: all of it.
        width: how many bars, at most.
        top: what a full one stands for.
    """
    last = list(values)
    each = max(1, -(-len(last) // width))
    groups = [last[max(0, end - each) : end] for end in range(len(last), 0, -each)]
    return "".join(_bar(group, top) for group in reversed(groups)).rjust(width)


def _bar(group: list[float | None], top: float) -> str:
    known = [value for value in group if value is not None]
    if not known:
        return " "
    share = sum(known) / len(known) / top if top > 0 else 0.0
    return _BARS[min(7, max(0, round(7 * share)))]


def end(death: dict[str, Any]) -> str:
    """Return what an end was: ``SIGKILL``, ``exit 3``, ``watchdog``."""
    reason, code = clean(death.get("reason", "?")), death.get("exit_code")
    if reason == "signal" and isinstance(code, int):
        return signal_name(-code)
    if reason == "exit" and code is not None:
        return f"exit {clean(code)}"
    return reason


def signal_name(number: int) -> str:
    """Return the name of a signal."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


ASKED_FOR = frozenset({"reload", "restart", "recycled", "scaled down", "stopped"})
"""The reasons of ends that were asked for."""
_REMEMBERED = 10
"""Deaths of a worker that the manager remembers."""


def restarts_of(worker: dict[str, Any]) -> str:
    """Return how many of the remembered deaths nobody had asked for; empty: none."""
    deaths = worker.get("deaths") or ()
    count = sum(death.get("reason") not in ASKED_FOR for death in deaths)
    return f"{count}+" if count == _REMEMBERED else str(count or "")


def restarts_of_service(service: dict[str, Any]) -> int:
    """Return how many deaths nobody had asked for since the manager began."""
    deaths = (service.get("totals") or {}).get("deaths") or {}
    return sum(count for reason, count in deaths.items() if reason not in ASKED_FOR)


def death_story(death: dict[str, Any]) -> list[str]:
    """Return one death in words, a line each, without its stacks."""
    ago = duration(death.get("ago"))
    lived = duration(death.get("uptime"))
    pid = "" if death.get("pid") is None else f" (pid {clean(death['pid'])})"
    lines = [f"{ago} ago: the worker{pid} ended after {lived}: {_how(death)}"]
    usage = death.get("usage")
    if isinstance(usage, dict):
        cpu = duration(usage.get("user", 0) + usage.get("system", 0))
        lines.append(f"it had used {cpu} of CPU and {size(usage.get('max_rss'))} at its largest")
    wait, failures = death.get("next_start_in"), death.get("failures")
    if wait is None:
        lines.append("no other was wanted in its place")
    elif wait <= 0:
        lines.append("the next one was started at once")
    else:
        lines.append(f"the next one waited {duration(wait)}: {failures} deaths in a row")
    return lines


def _how(death: dict[str, Any]) -> str:
    reason, code = clean(death.get("reason", "?")), death.get("exit_code")
    if code is None:
        how = "its exit status is not known"
    elif code < 0:
        how = f"killed by {signal_name(-code)}"
    else:
        how = f"exit status {code}"
    why = {
        "exit": "",
        "signal": "",
        "watchdog": "its heartbeat was missing",
        "start timeout": "it was not ready in time",
        "stop timeout": "it did not stop in time",
        "out of memory": "the kernel had no memory left for it",
    }.get(reason, "told to end: " + reason if reason in ASKED_FOR else reason)
    return f"{why} ({how})" if why else how


def event(said: dict[str, Any]) -> tuple[str, str, str, str]:
    """Return when, who, what, and how serious: one line of the log."""
    at = said.get("at")
    when = time.strftime("%H:%M:%S", time.localtime(at)) if isinstance(at, int | float) else ""
    who = clean(said.get("name") or "")
    if who and said.get("worker") is not None:
        who = f"{who}/{clean(said['worker'])}"
    what, tone = _event(str(said.get("kind")), said)
    return when, who or "manager", clean(what), tone


def _event(kind: str, said: dict[str, Any]) -> tuple[str, str]:
    get = said.get
    pid = f"pid {get('pid')}"
    match kind:
        case "worker-started":
            reason = {"wanted": "", "respawn": ", again", "successor": ", as successor"}
            return f"started, {pid}{reason.get(str(get('reason')), '')}", PLAIN
        case "worker-ready":
            return f"ready after {duration(get('took'))}", GOOD
        case "worker-died":
            return _died(said)
        case "backing-off":
            wait, count = duration(get("seconds")), get("failures")
            return f"waits {wait} for its next start: {count} deaths in a row", WARN
        case "worker-silent":
            missed = "no heartbeat" if get("reason") == "watchdog" else "not ready"
            return f"{missed} for {duration(get('silent_for'))}: it will be killed", BAD
        case "worker-recovered":
            return "heard after all", WARN
        case "gave-up":
            return "given up: nothing is started until a reload or restart", BAD
        case "all-ready":
            return "every worker is ready", GOOD
        case "rollout-finished":
            return f"rollout {get('generation')} has reached every worker", GOOD
        case "rollout-failed":
            why, behind = get("why"), get("behind")
            return f"rollout {get('generation')} has failed: {why}; {behind} still run old", BAD
        case "unkillable":
            return f"still there after SIGKILL: it hangs in the kernel ({pid})", BAD
        case "stopping":
            return f"stopping: {get('why')}", WARN
        case "scaled":
            return f"scaled from {get('before')} to {get('workers')}", GOOD
        case "lost":
            return f"{get('count')} events were lost: this screen was too slow", WARN
        case "exit":
            return f"ends with exit status {get('status')}", WARN if get("status") == 0 else BAD
        case _:
            # A kind of a newer manager: its name says something at least.
            return kind.replace("-", " "), PLAIN


def _died(said: dict[str, Any]) -> tuple[str, str]:
    death = said.get("death")
    death = death if isinstance(death, dict) else said
    asked = said.get("stopping") or death.get("reason") in ASKED_FOR
    text = f"ended after {duration(death.get('uptime'))}: {end(death)}"
    return text, PLAIN if asked else BAD
