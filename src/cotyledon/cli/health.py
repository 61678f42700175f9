"""The probe for containers: is the manager healthy, or all of it ready?

Responsible for an answer in a few milliseconds, with few imports. Never needs the extra.
"""

import os
import sys
from collections.abc import Sequence
from typing import Any

from cotyledon.cli.faults import Exit, Fault


def read(args: Sequence[str]) -> tuple[str | None, bool, float] | None:
    """Read a plain command line; ``None``: it needs the real parser, or is wrong."""
    where, ready, timeout = None, False, 5.0
    todo = list(args)
    while todo:
        name, equals, value = todo.pop(0).partition("=")
        if name == "--ready" and not equals:
            ready = True
            continue
        if name not in ("-m", "--manager", "--timeout") or not (equals or todo):
            return None
        value = value if equals else todo.pop(0)
        if name == "--timeout":
            try:
                timeout = float(value)
            except ValueError:
                return None
            if not 0 < timeout < 1e6:
                return None
        else:
            where = value
    return where, ready, timeout


def probe(where: str | None, ready: bool, timeout: float) -> int:
    """Print one line, and return the exit status: 0 or 1."""
    from cotyledon.cli.client import connect

    try:
        with connect(where, timeout=timeout) as client:
            status = client.status()
    except Fault as fault:
        print(f"cotyledon: {fault.text}", file=sys.stderr)
        # A probe knows two answers; a wrong command line is neither.
        return Exit.USAGE if fault.status == Exit.USAGE else Exit.BAD
    except Exception as error:
        print(f"cotyledon: {error}", file=sys.stderr)
        return Exit.BAD
    troubles = _unready(status) if ready else _unhealthy(status)
    try:
        print("; ".join(troubles) or ("ready" if ready else "healthy"), flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return Exit.BAD if troubles else Exit.DONE


def _unhealthy(status: dict[str, Any]) -> list[str]:
    state = status["manager"]["state"]
    found = [] if state == "running" else [f"the manager is {state}"]
    for service in status["services"]:
        if service["gave_up"]:
            found.append(f"{service['name']} was given up")
    return found


def _unready(status: dict[str, Any]) -> list[str]:
    found = _unhealthy(status)
    for service in status["services"]:
        done = sum(worker["state"] == "done" for worker in service["workers"])
        if service["ready"] + done < service["wanted"]:
            found.append(f"{service['name']} has {service['ready']} of {service['wanted']} ready")
    return found
