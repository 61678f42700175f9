"""Commands that change something: ``scale``, ``reload``, ``restart``, ``stop``, ``signal``.

Responsible for telling what has come of it, by words and by the exit status. Never says that
something has happened that was not seen.
"""

from collections.abc import Callable
from typing import Any

import click

from cotyledon.cli.app import complete_services, for_manager
from cotyledon.cli.client import connect, split
from cotyledon.cli.faults import Exit, Fault
from cotyledon.cli.words import many
from cotyledon.control import Outcome

TIMEOUT = 120.0


_STATUSES = {
    "failed": Exit.BAD,
    "conflict": Exit.CONFLICT,
    "gone": Exit.NO_MANAGER,
    "timeout": Exit.TIMEOUT,
}


def waiting(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options ``--wait`` and ``--timeout``."""
    command = click.option(
        "--timeout", type=click.FloatRange(0, min_open=True), default=TIMEOUT, show_default=True,
        metavar="SECONDS", help="How long --wait waits.",
    )(command)  # fmt: skip
    return click.option(
        "--wait/--no-wait", default=False, help="Wait for the outcome, and end with its status."
    )(command)


def _tell(outcome: Outcome) -> int:
    if outcome.ok:
        click.echo(outcome.text)
        return Exit.DONE
    raise Fault(_STATUSES[outcome.why], outcome.text)


@click.command()
@click.argument("service", shell_complete=complete_services)
@click.argument("workers", metavar="N", type=click.IntRange(0))
@for_manager
@waiting
def scale(service: str, workers: int, where: str | None, wait: bool, timeout: float) -> int:
    """Have N workers of SERVICE (0: pause it)."""
    with connect(where) as client:
        outcome = client.scale(service, workers, wait=timeout if wait else None)
    if outcome.ok and not wait:
        before = outcome.answer["before"]
        click.echo(f"{service}: {many(workers, 'worker')} wanted, {before} before")
        return Exit.DONE
    return _tell(outcome)


@click.command()
@click.argument("service", required=False, shell_complete=complete_services)
@for_manager
@waiting
def reload(service: str | None, where: str | None, wait: bool, timeout: float) -> int:
    """Reload SERVICE, or all of them, as SIGHUP does."""
    with connect(where) as client:
        outcome = client.reload(service, wait=timeout if wait else None)
    if outcome.ok and not wait:
        click.echo("the reload has begun; --wait would wait for its end")
        return Exit.DONE
    return _tell(outcome)


@click.command(short_help="Replace workers, a few at a time, or one at once.")
@click.argument("service", metavar="SERVICE[/ID]", shell_complete=complete_services)
@for_manager
@waiting
def restart(service: str, where: str | None, wait: bool, timeout: float) -> int:
    """Replace the workers of SERVICE a few at a time, or one of them at once."""
    name, worker = split(service)
    with connect(where) as client:
        outcome = client.restart(name, worker, wait=timeout if wait else None)
    if outcome.ok and not wait:
        click.echo("the restart has begun; --wait would wait for its end")
        return Exit.DONE
    return _tell(outcome)


@click.command()
@for_manager
@waiting
def stop(where: str | None, wait: bool, timeout: float) -> int:
    """Stop the manager and everything below it, gracefully."""
    with connect(where) as client:
        outcome = client.stop(wait=timeout if wait else None)
    if outcome.ok and not wait:
        click.echo("the stop has begun; --wait would wait for its end")
        return Exit.DONE
    return _tell(outcome)


@click.command(short_help="Send a signal to workers.")
@click.argument("service", metavar="SERVICE[/ID]", shell_complete=complete_services)
@click.argument("signal", metavar="SIGNAL")
@for_manager
def signal(service: str, signal: str, where: str | None) -> int:
    """Send SIGNAL, such as USR1 or 10, to the workers of SERVICE or to one."""
    name, worker = split(service)
    with connect(where) as client:
        answer = client.request("signal", service=name, worker=worker, signal=_signal(signal))
    pids = answer["pids"]
    if not pids:
        raise Fault(Exit.BAD, f"{service} has no process at the moment: nothing was sent")
    click.echo(f"sent to {many(len(pids), 'worker')}: pid {', '.join(map(str, pids))}")
    return Exit.DONE


def _signal(text: str) -> str | int:
    import signal as signals

    if text.isascii() and text.isdigit():
        number = int(text)
        if number in signals.valid_signals():
            return number
    else:
        name = text.upper().removeprefix("SIG")
        if f"SIG{name}" in signals.Signals.__members__:
            return name
    raise Fault(Exit.USAGE, f"there is no signal {text!r}: a name such as USR1, or a number")
