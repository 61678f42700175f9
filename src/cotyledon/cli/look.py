"""Commands that look and change nothing: ``status``, ``events``, ``stacks``, ``trace``.

Responsible for asking, and for choosing between people and machines as readers.
"""

import json
import time
from collections.abc import Iterable, Iterator
from typing import Any

import click

from cotyledon.cli import tables
from cotyledon.cli.app import complete_services, for_manager
from cotyledon.cli.client import connect, one_worker, service_of
from cotyledon.cli.faults import Exit
from cotyledon.cli.telling import event_line
from cotyledon.control import Events

FEW = 12
"""So many workers in all are shown without being asked for."""


@click.command()
@click.argument("service", required=False, shell_complete=complete_services)
@for_manager
@click.option(
    "--workers/--no-workers", default=None, help="Show each worker (default: if there are few)."
)
@click.option("--json", "as_json", is_flag=True, help="As JSON, with the memory of each worker.")
def status(service: str | None, where: str | None, workers: bool | None, as_json: bool) -> int:
    """Show the manager, its services and its workers."""
    with connect(where) as client:
        found = client.status()
    if service is not None:
        found["services"] = [service_of(found, service)]
    tables.add_memory(found)
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return Exit.DONE
    count = sum(len(one["workers"]) for one in found["services"])
    tables.show_status(found, count <= FEW if workers is None else workers)
    return Exit.DONE


@click.command()
@for_manager
@click.option(
    "-n", "--last", type=click.IntRange(0), default=10, show_default=True, metavar="N",
    help="How many past events come first.",
)  # fmt: skip
@click.option("--no-follow", is_flag=True, help="Show the past ones, and end.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def events(where: str | None, last: int, no_follow: bool, as_json: bool) -> int:
    """Follow what happens, until the manager ends or Ctrl-C."""
    write = tables.writer()
    ended = False
    with connect(where) as client:
        stream: Iterable[dict[str, Any]]
        if no_follow:
            newest = client.request("events", last=last)["newest"]
            stream = _past(Events(client), newest)
        else:
            stream = client.events(last)
        for event in stream:
            if as_json:
                click.echo(json.dumps(event))
            else:
                write(*event_line(event))
            ended = event["kind"] == "exit"
    if not ended and not no_follow:
        write("the manager has gone without a word", "red")
        return Exit.NO_MANAGER
    return Exit.DONE


def _past(events: Events, newest: int) -> Iterator[dict[str, Any]]:
    """Yield the events of before the answer, the last of which has the number ``newest``."""
    for event in events if newest else ():
        yield event
        if event["seq"] >= newest:
            return


@click.command()
@click.argument("worker", metavar="SERVICE/ID", shell_complete=complete_services)
@for_manager
def stacks(worker: str, where: str | None) -> int:
    """Show the stacks of all threads of a worker, now."""
    name, number = one_worker(worker)
    with connect(where) as client:
        answer = client.request("stacks", service=name, worker=number)
    click.echo(f"{name}/{number}, pid {answer['pid']}:")
    click.echo(answer["stacks"].rstrip())
    return Exit.DONE


@click.command()
@for_manager
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def trace(where: str | None, as_json: bool) -> int:
    """Show the last decisions of the manager, for a report of a bug."""
    with connect(where) as client:
        steps = client.request("trace")["steps"]
    if as_json:
        click.echo(json.dumps(steps, indent=2))
        return Exit.DONE
    for step in steps:
        clock = time.strftime("%H:%M:%S", time.localtime(step["at"]))
        click.echo(f"{clock}.{int(step['at'] % 1 * 1000):03d}")
        for text in step["events"]:
            click.echo(f"  <- {text}")
        for text in step["effects"]:
            click.echo(f"  -> {text}")
    return Exit.DONE
