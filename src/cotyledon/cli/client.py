"""Which manager a command speaks to, and what its errors mean for the exit status.

Responsible for finding the one manager that is meant, and for turning refusals into
:class:`Fault`. Never prints, never imports click, rich or msgspec.
"""

import os
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from cotyledon.cli.faults import Exit, Fault
from cotyledon.control import Client, ControlError, managers

VARIABLE = "COTYLEDON_MANAGER"

_STATUSES = {
    "no-manager": Exit.NO_MANAGER,
    "gone": Exit.NO_MANAGER,
    "protocol": Exit.NO_MANAGER,
    "busy": Exit.NO_MANAGER,
    "timeout": Exit.TIMEOUT,
    "forbidden": Exit.FORBIDDEN,
    "unknown-service": Exit.UNKNOWN,
    "unknown-worker": Exit.UNKNOWN,
    "ambiguous": Exit.UNKNOWN,
    "no-worker": Exit.BAD,
    "no-answer": Exit.BAD,
    "refused": Exit.BAD,
    "stopping": Exit.CONFLICT,
    "bad-request": Exit.USAGE,
    "too-long": Exit.USAGE,
}


def fault_of(error: ControlError) -> Fault:
    """Return what a refusal means for the command."""
    return Fault(_STATUSES.get(error.kind, Exit.BAD), error.text)


@contextmanager
def connect(where: str | None, *, timeout: float = 5.0) -> Generator[Client]:
    """Connect to the manager that is meant.

    Args:
        where: its name, or the path of its socket (default: that in ``COTYLEDON_MANAGER``, or
            the only one that runs).
        timeout: seconds that it may take for an answer.

    Raises:
        Fault: there is none, or it refuses what it is asked for within the block.
    """
    try:
        with _open(where or os.environ.get(VARIABLE), timeout) as client:
            yield client
    except ControlError as error:
        raise fault_of(error) from None


def _open(where: str | None, timeout: float) -> Client:
    if where:
        return Client(where, timeout=timeout)
    found: list[Client] = []
    names: list[str] = []
    refused: list[ControlError] = []
    for name in managers():
        try:
            found.append(Client(name, timeout=timeout))
        except ControlError as error:
            refused.append(error)
            if error.kind == "no-manager":
                continue
        # One that does not answer now may be the one that is meant.
        names.append(name)
    if len(found) == len(names) == 1:
        return found[0]
    for client in found:
        client.close()
    if len(names) > 1:
        text = f"several managers run: {', '.join(names)}: choose one with -m NAME"
        raise Fault(Exit.USAGE, text)
    if refused:
        raise min(refused, key=lambda error: error.kind == "no-manager")
    raise Fault(
        Exit.NO_MANAGER,
        "no manager runs here: start one with 'cotyledon run', or give the path of its socket "
        "with -m PATH",
    )


def service_of(status: dict[str, Any], name: str) -> dict[str, Any]:
    """Return a service of a status, by its name, its id, or the beginning of that.

    Raises:
        Fault: there is none, or there are several.
    """
    services = status["services"]
    found = [one for one in services if name in (one["name"], one["id"])]
    found = [one for one in found if not one.get("removed")] or found
    if not found and name:
        found = [one for one in services if one["id"].startswith(name)]
    if len(found) == 1:
        return dict(found[0])
    if found:
        ids = ", ".join(one["id"][:8] for one in found)
        raise Fault(Exit.UNKNOWN, f"several services are called {name!r}: use the id: {ids}")
    known = ", ".join(one["name"] for one in services) or "none"
    raise Fault(Exit.UNKNOWN, f"there is no service {name!r}: there are {known}")


def worker_of(service: dict[str, Any], worker_id: int) -> dict[str, Any]:
    """Return a worker of a service.

    Raises:
        Fault: there is none.
    """
    for one in service["workers"]:
        if one["id"] == worker_id:
            return dict(one)
    count = len(service["workers"])
    text = f"it has 0 to {count - 1}" if count else "it has none"
    raise Fault(Exit.UNKNOWN, f"{service['name']} has no worker {worker_id}: {text}")


def split(text: str) -> tuple[str, int | None]:
    """Return the two parts of ``SERVICE/ID``; the second is ``None`` if it is not there.

    Raises:
        Fault: what comes after the slash is no number.
    """
    name, slash, number = text.rpartition("/")
    if not slash:
        return text, None
    if not (number.isascii() and number.isdigit()) or not name:
        raise Fault(Exit.USAGE, f"expected SERVICE or SERVICE/ID, such as web/2, got {text!r}")
    return name, int(number)


def one_worker(text: str) -> tuple[str, int]:
    """Return the two parts of ``SERVICE/ID``, both of which must be there.

    Raises:
        Fault: they are not.
    """
    name, number = split(text)
    if number is None:
        raise Fault(Exit.USAGE, f"expected SERVICE/ID, such as {name}/0, got {text!r}")
    return name, number
