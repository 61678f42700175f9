"""The rows of the table: what is in each cell, and in which tone.

Responsible for what is shown of a picture. Never draws, never reads a clock or a process.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from cotyledon.contrib.top import words
from cotyledon.contrib.top.procfs import Usage
from cotyledon.contrib.top.words import BAD, DIM, GOOD, PLAIN, WARN, clean


class Cell(NamedTuple):
    """A text and its tone."""

    text: str
    tone: str = PLAIN
    values: tuple[float | None, ...] = ()
    """Shown as a line of bars, as long as there is room."""
    top: float = 0.0
    """What a full bar stands for."""


class Row(NamedTuple):
    """A service, or a worker of one."""

    service: str
    """Its id."""
    name: str
    worker: int | None
    """``None``: the service itself."""
    cells: dict[str, Cell]
    detail: str
    """One line with everything that a narrow terminal leaves out."""
    folded: bool = False

    @property
    def title(self) -> str:
        """What people call it."""
        return self.name if self.worker is None else f"{self.name}/{self.worker}"


class Asked(NamedTuple):
    """What the user wants to see."""

    filter: str = ""
    folded: frozenset[str] = frozenset()


def rows(
    status: dict[str, Any], usages: dict[int, Usage], later: float, asked: Asked
) -> list[Row]:
    """Return the rows of a status.

    Args:
        status: as the manager told it.
        usages: of the processes.
        later: seconds since the status was told: what lasts has lasted that much longer.
        asked: what is left out.
    """
    found: list[Row] = []
    for service in status.get("services", ()):
        found += _service_rows(service, usages, later, asked)
    return found


def _service_rows(
    service: dict[str, Any], usages: dict[int, Usage], later: float, asked: Asked
) -> Iterator[Row]:
    name, known = clean(service.get("name")), str(service.get("id"))
    folded = known in asked.folded and not asked.filter
    workers = service.get("workers", ())
    scale = _memory_scale(workers, usages)
    below = [
        _worker_row(service, worker, usages, later, scale, last=index == len(workers) - 1)
        for index, worker in enumerate(workers)
    ]
    wanted = asked.filter.casefold()
    if wanted and wanted not in name.casefold():
        below = [row for row in below if wanted in _searched(row)]
        if not below:
            return
    yield _service_row(service, known, name, usages, folded)
    if not folded:
        yield from below


def _searched(row: Row) -> str:
    return f"{row.title} {row.detail}".casefold()


def _service_row(
    service: dict[str, Any], known: str, name: str, usages: dict[int, Usage], folded: bool
) -> Row:
    workers = service.get("workers", ())
    state = service_state(service)
    memory = _total(workers, usages, "memory")
    cpu = _total(workers, usages, "cpu")
    again = words.restarts_of_service(service)
    generation = service.get("generation", 0)
    after = service.get("after") or ()
    notes = [f"reload {generation}" if generation else "", f"after {len(after)}" if after else ""]
    cells = {
        "name": Cell(f"{'▸' if folded else '▾'} {name}", "service"),
        "state": state,
        "memory": Cell(words.size(memory)),
        "cpu": Cell(words.percent(cpu)),
        "restarts": Cell(f"{again or '':>3}".rstrip(), PLAIN),
        "generation": Cell(f"{generation}" if generation else "", PLAIN),
        "status": Cell(clean(service.get("status") or ""), PLAIN),
    }
    policy = service.get("restart")
    parts = [f"{name}: {state.text}", *notes, f"restarts {again}" if again else ""]
    parts.append(f"restarted {clean(policy).replace('-', ' ')}" if policy else "")
    parts.append(clean(service.get("status") or ""))
    return Row(known, name, None, cells, " · ".join(part for part in parts if part), folded)


def service_state(service: dict[str, Any]) -> Cell:
    """Return the state of a service in words."""
    ready, wanted = service.get("ready", 0), service.get("wanted", 0)
    count = f"{ready}/{wanted} ready"
    if service.get("gave_up"):
        return Cell(f"{ready}/{wanted} given up", BAD)
    if service.get("rollout_failed"):
        return Cell(f"{ready}/{wanted} reload failed", BAD)
    if service.get("reloading"):
        new = service.get("generation", 0)
        workers = service.get("workers", ())
        done = sum(1 for worker in workers if (worker.get("generation") or 0) >= new)
        return Cell(f"{ready}/{wanted} reload {done}/{len(workers)}", WARN)
    if not wanted:
        return Cell("paused", DIM)
    if all(worker.get("state") == "done" for worker in service.get("workers", ())):
        return Cell("done", GOOD)
    return Cell(count, GOOD if ready >= wanted else WARN if ready else BAD)


def _worker_row(
    service: dict[str, Any],
    worker: dict[str, Any],
    usages: dict[int, Usage],
    later: float,
    scale: float,
    *,
    last: bool,
) -> Row:
    number, pid = worker.get("id", 0), worker.get("pid")
    name = clean(service.get("name"))
    usage = usages.get(pid) if isinstance(pid, int) else None
    state = worker_state(worker, later)
    life = worker.get("uptime")
    uptime = words.duration(life + later) if pid and life is not None else ""
    again = words.restarts_of(worker)
    reason = last_reason(worker, later)
    said = clean(worker.get("status") or "")
    cells = {
        "name": Cell(f"{'└' if last else '├'} {number}", "worker"),
        "state": state,
        "pid": Cell("" if pid is None else str(pid)),
        "uptime": Cell(uptime),
        **_usage_cells(usage, scale),
        "beat": _beat(service, worker, later),
        "restarts": Cell(f"{again:>3}  {reason.text}".rstrip(), reason.tone),
        "generation": _generation(service, worker),
        "status": Cell(said),
    }
    parts = [
        f"{name}/{number}: {state.text}",
        f"pid {pid}" if pid else "",
        f"up {uptime}" if uptime else "",
        f"beat {cells['beat'].text} ago" if cells["beat"].text else "",
        f"restarts {again}" if again else "",
        f"last: {reason.text}" if reason.text else "",
        said,
    ]
    known = str(service.get("id"))
    return Row(known, name, number, cells, " · ".join(part for part in parts if part))


def _usage_cells(usage: Usage | None, scale: float) -> dict[str, Cell]:
    if usage is None:
        return {}
    memory = usage.memory[-1] if usage.memory else None
    cpu = usage.cpu[-1] if usage.cpu else None
    # Bars against a tenth of a CPU at least: an idle worker shall not look busy.
    full = max([10.0, *(value for value in usage.cpu if value is not None)])
    return {
        "memory": Cell(words.size(memory)),
        "memory_line": Cell("", "memory", tuple(usage.memory), scale),
        "cpu": Cell(words.percent(cpu), WARN if cpu is not None and cpu >= 90 else PLAIN),
        "cpu_line": Cell("", "cpu", tuple(usage.cpu), full),
    }


_TONES = {
    "ready": GOOD,
    "starting": WARN,
    "waiting": WARN,
    "blocked": WARN,
    "backing off": BAD,
    "stopping": WARN,
    "killed": BAD,
    "failed": BAD,
    "given up": BAD,
    "done": DIM,
}


def worker_state(worker: dict[str, Any], later: float) -> Cell:
    """Return the state of a worker in words."""
    state = clean(worker.get("state", "?"))
    tone = _TONES.get(state, PLAIN)
    wait = worker.get("next_start_in")
    if wait is not None and state in {"waiting", "backing off"}:
        return Cell(f"{state} {words.duration(max(0.0, wait - later))}", tone)
    second = worker.get("second_state")
    if second is not None:
        return Cell(f"{state}, {'old' if second == 'stopping' else 'new'} {clean(second)}", tone)
    return Cell(state, tone)


def _beat(service: dict[str, Any], worker: dict[str, Any], later: float) -> Cell:
    age, limit = worker.get("heartbeat_age"), service.get("watchdog")
    if age is None:
        return Cell("")
    tone = WARN if isinstance(limit, int | float) and limit and age > 0.7 * limit else PLAIN
    # The age itself, not what it may have become: a heartbeat since then is not known.
    return Cell(words.duration(age), tone)


def _generation(service: dict[str, Any], worker: dict[str, Any]) -> Cell:
    mine, newest = worker.get("generation"), service.get("generation", 0)
    if mine is None or not newest:
        return Cell("")
    return Cell(str(mine), WARN if mine < newest else PLAIN)


def last_reason(worker: dict[str, Any], later: float) -> Cell:
    """Return why and when the last worker of a slot ended."""
    deaths = worker.get("deaths") or ()
    if not deaths:
        return Cell("")
    death = deaths[-1]
    fine = death.get("reason") in words.ASKED_FOR or death.get("exit_code") == 0
    tone = PLAIN if fine else BAD
    ago = death.get("ago")
    when = "" if ago is None else f" {words.duration(ago + later)}"
    return Cell(words.end(death) + when, tone)


def usages_of(workers: Sequence[dict[str, Any]], usages: dict[int, Usage]) -> Iterator[Usage]:
    """Yield the usages of the processes of workers, successors included."""
    for worker in workers:
        for pid in (worker.get("pid"), worker.get("second_pid")):
            usage = usages.get(pid) if isinstance(pid, int) else None
            if usage is not None:
                yield usage


def _total(workers: Sequence[dict[str, Any]], usages: dict[int, Usage], what: str) -> float | None:
    values = [
        series[-1]
        for usage in usages_of(workers, usages)
        if (series := getattr(usage, what)) and series[-1] is not None
    ]
    return sum(values) if values else None


def _memory_scale(workers: Sequence[dict[str, Any]], usages: dict[int, Usage]) -> float:
    """Return the most that a worker of a service has used lately: a full bar for all of them."""
    used = [
        value
        for usage in usages_of(workers, usages)
        for value in usage.memory
        if value is not None
    ]
    return max(used, default=0.0)
