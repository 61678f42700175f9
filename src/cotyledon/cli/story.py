"""``why``: the whole story of a worker's last deaths, and of the wait for the next start.

Responsible for telling it in words. Never decides what was bad.
"""

import time
from typing import Any

import click

from cotyledon.cli import words
from cotyledon.cli.app import complete_services, for_manager
from cotyledon.cli.client import connect, service_of, split, worker_of
from cotyledon.cli.faults import Exit
from cotyledon.cli.tables import writer
from cotyledon.cli.telling import STYLES, Line

MEANING = {
    "exit": "it ended by itself",
    "signal": "somebody or something sent it a signal",
    "core dump": "it crashed, and left a core dump",
    "out of memory": "the kernel killed it for want of memory",
    "spawn failed": "it could not be started",
    "start timeout": "it was not ready in time, and the manager killed it",
    "watchdog": "it missed its heartbeat, and the manager killed it",
    "stop timeout": "it did not stop in time, and the manager killed it",
    "aborted": "the manager was told to end at once",
    "reload": "a reload replaced it",
    "restart": "a restart replaced it",
    "recycled": "it had grown, or grown old, and was replaced",
    "scaled down": "fewer workers were wanted",
    "stopped": "the manager stopped",
}

STATES = {
    "waiting": "There is no worker; the next one is due.",
    "blocked": "It waits for a service that it comes after to be ready.",
    "done": "It has ended with success, and is not started again.",
    "failed": "It has failed for good: its exit status is one that is not retried. A reload or a "
    "restart tries again.",
    "given up": "The service has failed too often, and nothing is started for it any more. A "
    "reload or a restart tries again.",
}


@click.command()
@click.argument("worker", metavar="SERVICE[/ID]", shell_complete=complete_services)
@for_manager
@click.option(
    "-n", "--last", type=click.IntRange(1, 10), default=3, show_default=True, metavar="N",
    help="How many deaths are told.",
)  # fmt: skip
def why(worker: str, where: str | None, last: int) -> int:
    """Tell why a worker has died, and what it waits for."""
    name, number = split(worker)
    with connect(where) as client:
        status = client.status()
    service = service_of(status, name)
    workers = service["workers"] if number is None else [worker_of(service, number)]
    write = writer()
    for i, one in enumerate(workers):
        if i:
            write("")
        for line in story(service, one, status["manager"]["at"], last):
            write(*line)
    if not workers:
        write(f"{service['name']} has no workers: {service['wanted']} are wanted")
    return Exit.DONE


def story(service: dict[str, Any], worker: dict[str, Any], at: float, last: int) -> list[Line]:
    """Return the lines about a worker.

    Args:
        service: of a status.
        worker: of that service.
        at: the wall clock of the status.
        last: how many deaths are told.
    """
    deaths = worker["deaths"]
    lines: list[Line] = [_now(service, worker)]
    lines += _wait(worker)
    starts = words.many(worker["starts"], "start")
    if not deaths:
        return [*lines, (f"No worker has died in this slot ({starts}).", "")]
    told = deaths[-last:]
    more = "" if len(told) == len(deaths) else f", {len(deaths)} are remembered"
    which = "the last death" if len(told) == 1 else f"the last {len(told)} deaths"
    lines.append((f"{starts}; {which}{more}:", ""))
    for death in reversed(told):
        lines += _death(death, at)
    return lines


def _now(service: dict[str, Any], worker: dict[str, Any]) -> Line:
    state = worker["state"]
    who = f"{service['name']}/{worker['id']} is {state}"
    if worker["pid"] is not None:
        who += f" for {words.duration(worker['since'])}: pid {worker['pid']}"
        who += f", alive for {words.duration(worker['uptime'])}, generation {worker['generation']}"
    if worker.get("status"):
        who += f"; it says: {worker['status']}"
    if worker.get("figures"):
        figures = ", ".join(f"{name} {value:g}" for name, value in worker["figures"].items())
        who += f"; its figures: {figures}"
    return f"{who}.", STYLES.get(state, "")


def _wait(worker: dict[str, Any]) -> list[Line]:
    lines: list[Line] = []
    state, left = worker["state"], worker["next_start_in"]
    if state in STATES:
        lines.append((STATES[state], ""))
    if state == "backing off" or left:
        last = worker["deaths"][-1] if worker["deaths"] else None
        of = ""
        if last is not None and last.get("next_start_in"):
            of = f" of {words.duration(last['next_start_in'])}"
        failure = worker["failures"]
        text = f"The back-off{of} is that of death number {failure} in a row"
        lines.append((f"{text}; the next start is in {words.duration(left)}.", "yellow"))
    elif worker["failures"]:
        text = f"{words.many(worker['failures'], 'death')} in a row would count for a back-off"
        lines.append((f"{text}, until it has been ready for long enough.", ""))
    if worker.get("second_pid") is not None:
        text = f"A second process is {worker['second_state']}: pid {worker['second_pid']}."
        lines.append((text, ""))
    return lines


def _death(death: dict[str, Any], at: float) -> list[Line]:
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at - death["ago"]))
    pid = "" if death.get("pid") is None else f", pid {death['pid']}"
    head = f"  {when} ({words.duration(death['ago'])} ago){pid}: {words.why(death)}"
    lines: list[Line] = [("", ""), (head, "bold")]
    meaning = MEANING.get(death["reason"], death["reason"])
    lines.append((f"    It lived {words.duration(death['uptime'])}; {meaning}.", ""))
    code = death.get("exit_code")
    if code is None:
        lines.append(("    Its exit status is not known.", ""))
    elif code == 78:
        lines.append(("    78 is EX_CONFIG: it says that its configuration is wrong.", ""))
    usage = death.get("usage")
    if usage:
        lines.append((_usage(usage), ""))
    lines.append((_next(death), ""))
    if death.get("stacks"):
        lines.append(("    Its threads, before it was killed:", ""))
        lines += [(f"      {line}", "dim") for line in death["stacks"].rstrip().splitlines()]
    return lines


def _usage(usage: Any) -> str:
    if not isinstance(usage, dict):
        names = ("user", "system", "max_rss", "major_faults")
        usage = dict(zip(names, usage, strict=False))
    faults = usage["major_faults"]
    waited = f"; it waited {words.many(faults, 'time')} for a page from a disk" if faults else ""
    return (
        f"    It used {words.duration(usage['user'])} of CPU in user code and "
        f"{words.duration(usage['system'])} in the kernel, and at most "
        f"{words.size(usage['max_rss'])} of memory{waited}."
    )


def _next(death: dict[str, Any]) -> str:
    wait, failures = death.get("next_start_in"), death.get("failures") or 0
    if wait is None:
        return "    No other was to be started for it then."
    row = f"death number {failures} in a row" if failures > 1 else "the first death"
    if not wait:
        return f"    The next one was started at once ({row})."
    return f"    The next start was put off by {words.duration(wait)} ({row})."
