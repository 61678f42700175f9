"""Events and states in words, with a colour that says how bad they are.

Responsible for one line for each kind of event. Never prints.
"""

import time
from collections.abc import Callable
from typing import Any

from cotyledon.cli import words

Line = tuple[str, str]
"""A text, and a style of rich's, or nothing."""

BAD_REASONS = frozenset(
    {
        "exit",
        "signal",
        "core dump",
        "out of memory",
        "spawn failed",
        "start timeout",
        "watchdog",
        "stop timeout",
    }
)


def event_line(event: dict[str, Any]) -> Line:
    """Return an event as a line with the time and the worker in front."""
    clock = time.strftime("%H:%M:%S", time.localtime(event["at"]))
    who = str(event.get("name") or "")
    if who and event.get("worker") is not None:
        who = f"{who}/{event['worker']}"
    tell = _TELL.get(event["kind"])
    text, style = tell(event) if tell else (_other(event), "")
    return f"{clock}  {who or '-':<14} {text}", style


def _died(event: dict[str, Any]) -> Line:
    death = event["death"]
    text = f"ended after {words.duration(death['uptime'])}: {words.why(death)}"
    wait = death.get("next_start_in")
    if wait is not None:
        text += ", respawned " + (f"in {words.duration(wait)}" if wait else "at once")
    bad = death["reason"] in BAD_REASONS and death["exit_code"] != 0 and not event["stopping"]
    return text, "yellow" if bad else ""


def _started(event: dict[str, Any]) -> Line:
    reason = {"wanted": "", "respawn": " again", "successor": " as a successor"}
    return f"started{reason.get(event['reason'], '')}, pid {event['pid']}", ""


def _gave_up(event: dict[str, Any]) -> Line:
    if event.get("worker") is None:
        return "given up: too many failures, nothing is started until a reload", "bold red"
    return f"not started again until a reload: exit status {event['exit_code']}", "bold red"


def _other(event: dict[str, Any]) -> str:
    known = {"seq", "at", "kind", "service", "name", "worker"}
    rest = ", ".join(f"{key} {value}" for key, value in event.items() if key not in known)
    return str(event["kind"]).replace("-", " ") + (f": {rest}" if rest else "")


_TELL: dict[str, Callable[[dict[str, Any]], Line]] = {
    "worker-started": _started,
    "worker-ready": lambda e: (f"ready after {words.duration(e['took'])}", "green"),
    "worker-died": _died,
    "backing-off": lambda e: (
        f"waits {words.duration(e['seconds'])}: {words.many(e['failures'], 'death')} in a row",
        "yellow",
    ),
    "worker-silent": lambda e: (
        f"{e['reason']}: silent for {words.duration(e['silent_for'])}, killed in a second",
        "red",
    ),
    "worker-recovered": lambda e: ("heard after all", "green"),
    "gave-up": _gave_up,
    "all-ready": lambda e: ("every worker is ready", "bold green"),
    "rollout-finished": lambda e: (
        f"rollout {e['generation']} has reached every worker",
        "bold green",
    ),
    "rollout-failed": lambda e: (
        f"rollout {e['generation']} has failed, {e['why']}; {e['behind']} behind",
        "bold red",
    ),
    "unkillable": lambda e: ("still there after SIGKILL: it hangs in the kernel", "bold red"),
    "service-gone": lambda e: ("removed, and nothing of it is left", "bold"),
    "stopping": lambda e: (f"the manager stops because of {e['why']}", "bold"),
    "scaled": lambda e: (f"{e['workers']} workers are wanted, {e['before']} were", "bold"),
    "worker-status": lambda e: (f"says: {e['status']}", "dim"),
    "lost": lambda e: (f"{words.many(e['count'], 'event')} lost: this reader is too slow", "red"),
    "exit": lambda e: (f"the manager has ended with exit status {e['status']}", "bold"),
}

STYLES = {
    "ready": "green",
    "done": "dim",
    "paused": "dim",
    "starting": "cyan",
    "stopping": "cyan",
    "reloading": "cyan",
    "waiting": "cyan",
    "blocked": "yellow",
    "degraded": "yellow",
    "backing off": "yellow",
    "killed": "red",
    "failed": "bold red",
    "given up": "bold red",
    "rollout failed": "bold red",
}
"""How states look."""


def state_of(service: dict[str, Any]) -> str:
    """Return the state of a service in a word or two: the worst that is true of it."""
    states = [worker["state"] for worker in service["workers"]]
    if service["gave_up"]:
        return "given up"
    for bad in ("failed", "backing off"):
        if bad in states:
            return bad
    if service["rollout_failed"]:
        return "rollout failed"
    if service["reloading"]:
        return "reloading"
    if not service["wanted"]:
        return "stopping" if states else "paused"
    if states and all(state == "done" for state in states):
        return "done"
    if service["ready"] >= service["wanted"]:
        return "ready"
    for state in ("blocked", "starting", "stopping"):
        if states and all(one == state for one in states):
            return state
    if "starting" in states:
        return "starting"
    return "degraded"
