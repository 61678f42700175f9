"""The page of each subject says what the code does: its examples, its tables, its numbers."""

import inspect
import math
import re
import signal
import sys
import types
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

import cotyledon
from cotyledon import Backoff, Intensity, Policy, Recycle, Rollout, RunAs, notices
from cotyledon._core import backoff, health
from cotyledon._core import events as ev
from cotyledon._core.effects import (
    GaveUp,
    MeasureMemory,
    ReadBeat,
    Reason,
    RolloutFinished,
    Terminate,
)
from cotyledon._core.machine import IN_ORDER
from cotyledon._core.state import Ending, Phase
from tests.test_docs import examples
from tests.test_what_happens_when import World

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
SUBJECTS = (
    "asyncio",
    "containers",
    "events",
    "ordering",
    "readiness",
    "recycling",
    "reloading",
    "restarting",
    "running-as",
    "tooz",
    "watchdog",
)
PAGES = sorted(
    str(page.relative_to(ROOT))
    for page in (*ROOT.glob("*.md"), *DOCS.glob("*.md"), *ROOT.glob("examples/*.md"))
)
SECOND = 1_000_000_000


def read(page: str) -> str:
    return (DOCS / f"{page}.md").read_text()


def table(page: str, heading: str) -> list[list[str]]:
    """Return the rows of the table whose first column has this heading."""
    lines = iter(read(page).splitlines())
    for line in lines:
        if line.startswith(f"| {heading} |"):
            break
    else:
        raise AssertionError(f"{page} has no table {heading!r}")
    next(lines)
    rows = []
    for line in lines:
        if not line.startswith("|"):
            break
        rows.append([cell.strip().strip("`") for cell in line.strip("|").split("|")])
    return rows


# The form


@pytest.mark.parametrize("page", SUBJECTS)
def test_a_page_opens_with_its_contract(page: str) -> None:
    """The first paragraph is three sentences, and the page is shorter than 150 lines."""
    text = read(page)
    title, contract, _ = text.split("\n\n", 2)
    assert title.startswith("# ")
    assert len(re.findall(r"\.(?=\s|$)", contract)) == 3
    assert len(text.splitlines()) < 150
    assert "\n## What it does not do\n" in text
    assert "\n## Decisions\n" in text


@pytest.mark.parametrize("page", PAGES)
def test_prose_keeps_to_its_width(page: str) -> None:
    """No line is longer than 100 characters, but for what cannot be broken."""
    text = re.sub(r"^( *)```.*?^\1```$", "", (ROOT / page).read_text(), flags=re.M | re.S)
    drawn = "load average"  # a line of a table's, which a program has written
    wide = [line for line in text.splitlines() if len(line) > 100 and drawn not in line]
    assert not [line for line in wide if " " in line and not line.startswith(("|", "    "))]


def test_every_page_is_in_the_index() -> None:
    """The index has each page once in its contents, and with a line of what it is about."""
    text, contents = read("index").split("```{toctree}", 1)
    for page in DOCS.glob("*.md"):
        if page.stem != "index":
            assert len(re.findall(rf"^{re.escape(page.stem)}$", contents, re.M)) == 1, page.stem
            assert text.count(f"({page.stem}.md)") == 1, page.stem


# The examples


@pytest.fixture
def fresh() -> Iterator[Callable[[], None]]:
    """Let examples make managers, one after another, that do not run."""
    handlers = {s: signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGHUP, signal.SIGALRM)}

    def reset() -> None:
        cotyledon.ServiceManager._process_runner_already_created = False

    uvloop = types.SimpleNamespace(new_event_loop=lambda: None)
    with (
        mock.patch.object(cotyledon.ServiceManager, "_process_runner_already_created", False),
        mock.patch.object(cotyledon.ServiceManager, "run"),
        mock.patch.dict(sys.modules, {"uvloop": uvloop}),
    ):
        yield reset
    for signum, handler in handlers.items():
        signal.signal(signum, handler)


@pytest.mark.parametrize("page", SUBJECTS)
def test_the_examples_run(page: str, fresh: Callable[[], None]) -> None:
    """The pieces of the page are valid, fit together, and use names and values that exist."""
    names: dict[str, Any] = {}
    found = examples(f"docs/{page}.md")
    assert found
    for example in found:
        code = compile(example, f"docs/{page}.md", "exec")
        fresh()
        if is_supported(example):
            exec(code, names)


def is_supported(example: str) -> bool:
    """Tell whether this version has what the example is about; if not, it is only compiled."""
    if "subreaper" in example:
        return "subreaper" in inspect.signature(cotyledon.ServiceManager).parameters
    return True


def test_the_example_of_events_counts(fresh: Callable[[], None]) -> None:
    """The hook of the page takes every kind of notice."""
    fresh()
    names: dict[str, Any] = {}
    exec(compile(examples("docs/events.md")[0], "docs/events.md", "exec"), names)
    death = cotyledon.Death("signal", -9, 1.0, 0.0)
    names["on_event"](notices.WorkerDied(None, "web", 0, death, False))  # type: ignore[arg-type]
    names["on_event"](notices.AllReady())
    assert names["counts"] == {("web", "signal"): 1}


# Restarting


def test_the_waits_of_the_back_off() -> None:
    """The table of waits is what the core computes, without jitter and with all of it."""
    policy = Backoff()
    since = 0.0
    rows = table("restarting", "deaths in a row")
    assert len(rows) >= 9
    for deaths, wait, least, total in rows:
        longest = backoff.delay(int(deaths), policy, 0.0) / SECOND
        since += longest
        assert float(wait) == longest
        assert float(least) == pytest.approx(backoff.delay(int(deaths), policy, 1.0) / SECOND)
        assert float(total) == since
    assert "After 5 deaths and a life of 65 s" in " ".join(read("restarting").split())
    assert backoff.count(5, 65 * SECOND, policy) == 4
    assert backoff.delay(4, policy, 0.0) == 2 * SECOND


def gives_up(workers: int, intensity: Intensity) -> str:
    """Return after how many seconds workers that die at once are too many failures."""
    world = World()
    world.add(workers, Policy(intensity=intensity))
    while world.seconds < 3600:
        for worker in list(world.core.workers.values()):
            world.exit(worker)
        if world.when(GaveUp):
            return f"{world.when(GaveUp)[0]:g}"
        due = world.core.next_deadline()
        world.now = world.now + 1 if due is None else due
        world.tell()
    return "never"


@pytest.mark.parametrize("row", table("restarting", "workers"), ids=" ".join)
def test_the_numbers_of_intensity(row: list[str]) -> None:
    """Workers that die at once are too many failures after the time that the table says."""
    workers, intensity, after = row
    found = re.fullmatch(r"Intensity\((\d+), (\d+)\)", intensity)
    assert found
    assert gives_up(int(workers), Intensity(int(found[1]), int(found[2]))) == after


def world_of(status: int | None, **policy: Any) -> World:
    """Return a world whose one worker has ended; ``None``: it was killed for being silent."""
    world = World()
    world.up(1, Policy(watchdog=1, **policy))
    if status is None:
        world.run(1)
        world.tell(ev.Heartbeat(world.worker().key, 0))
        world.run(1)
        world.tell(ev.Heartbeat(world.worker().key, 0))
        world.obey()
    else:
        world.exit(world.worker(), status)
    return world


def outcome(world: World) -> str:
    if world.alive():
        return "again"
    ending = world.ending()
    return ending.value if ending else "waits"


@pytest.mark.parametrize("column", [1, 2, 3])
def test_which_ends_are_followed_by_a_new_worker(column: int) -> None:
    """Each cell of the table is what the core decides."""
    restart = ("always", "on-failure", "never")[column - 1]
    cells = [row[column] for row in table("restarting", "end")]
    asked = World()
    asked.up(1, Policy(restart=restart))
    asked.tell(ev.ReloadRequested())
    asked.obey()
    refused = World()
    refused.add(1, Policy(restart=restart))
    refused.tell(ev.SpawnFailed(refused.worker().key))
    worlds = [
        world_of(0, restart=restart),
        world_of(-9, restart=restart),
        world_of(None, restart=restart),
        world_of(78, restart=restart),
        asked,
        refused,
    ]
    assert cells == [outcome(world) for world in worlds]


@pytest.mark.parametrize("row", table("restarting", "asked by"), ids=lambda row: row[0])
def test_what_clears_it(row: list[str]) -> None:
    """Each cell of the table is what the core does when it is asked."""
    request: ev.Event = ev.ReloadRequested()
    if "reconfigure" in row[0]:
        request = ev.ScaleRequested(0, 1)
    elif "restart" in row[0]:
        request = ev.RestartRequested(0)
    waits = World()
    waits.up(1)
    for _ in range(2):
        waits.exit(waits.worker())
    gave_up = World()
    gave_up.up(1, Policy(intensity=Intensity(0, 60)))
    gave_up.exit(gave_up.worker())
    failed = World()
    failed.up(1)
    failed.exit(failed.worker(), 78)
    done = World()
    done.up(1, Policy(restart="never"))
    done.exit(done.worker(), 0)
    for world, cell in zip((waits, gave_up, failed, done), row[1:], strict=True):
        assert not world.alive()
        world.tell(request)
        assert bool(world.alive()) == (cell in {"cleared", "start again"}), cell


# Reloading


@pytest.mark.parametrize("row", table("reloading", "workers"), ids=" ".join)
def test_the_arithmetic_of_capacity(row: list[str]) -> None:
    """A rollout keeps as many at work, has as many processes, and takes as long as it says."""
    unavailable, surge = (
        cell.strip('"') if "%" in cell else int(cell) for cell in (row[1], row[2])
    )
    world = World()
    world.up(int(row[0]), Policy(rollout=Rollout(unavailable, surge)))
    while world.running() < int(row[0]):
        world.run(0.001)
        world.ready()
    began = world.now
    known = set(world.core.workers)
    happens: list[tuple[int, ev.Event]] = []
    at_work, processes = int(row[0]), 0
    told: set[int] = set()
    world.tell(ev.ReloadRequested())
    while not world.when(RolloutFinished):
        for worker in world.core.workers.values():
            if worker.key not in known:
                known.add(worker.key)
                happens.append((world.now + 5 * SECOND, ev.Ready(worker.key, False, None)))
            elif worker.phase is Phase.STOPPING and worker.key not in told:
                told.add(worker.key)
                happens.append((world.now + SECOND, ev.Exited(worker.key, 0)))
        at_work = min(at_work, world.running())
        processes = max(processes, world.alive())
        deadline = world.core.next_deadline()
        assert deadline is not None  # that of the rollout's progress, at the latest
        world.now = min([deadline, *(when for when, _ in happens)])
        now = [event for when, event in happens if when <= world.now]
        happens = [(when, event) for when, event in happens if when > world.now]
        world.tell(*now)
    assert [at_work, processes] == [int(row[3]), int(row[4])]
    assert round((world.now - began) / SECOND) == int(row[5])


# Recycling


def test_the_numbers_of_recycling() -> None:
    """The bounds of lifetimes and of the first look at the memory are those of the core."""

    def when(kind: type, recycle: Recycle) -> tuple[float, float]:
        found = []
        for chance in (1.0, 0.0):
            world = World(chance=chance)
            world.up(1, Policy(recycle=recycle))
            world.run(4000)
            found.append(world.when(kind)[0])
        return found[0], found[1]

    expected = [
        when(Terminate, Recycle(lifetime=3600)),
        when(Terminate, Recycle(lifetime=3600, jitter=0.5)),
        when(MeasureMemory, Recycle(memory="1M")),
        when(MeasureMemory, Recycle(memory="1M", min_life=0)),
    ]
    assert [(float(a), float(b)) for _, a, b in table("recycling", "what")] == expected


# Order


def test_the_share_of_an_ordered_stop() -> None:
    """Services wait for those after them as long as the table says."""
    assert IN_ORDER == (3, 4)
    for grace, until in table("ordering", "graceful timeout, s"):
        world = World(grace=float(grace))
        world.up()
        world.up(after=(0,))
        world.tell(ev.StopRequested())
        world.run(60)
        told = world.when(Terminate)
        assert told[1:] == ([] if until == "never" else [float(until)])


# Heartbeats


def test_a_silent_worker_has_one_more_second() -> None:
    """The pages say a second, and that is what the core leaves."""
    assert health.STACKS == SECOND
    for page in ("watchdog", "readiness"):
        seconds = [row[0] for row in table(page, "second")]
        least, last = float(seconds[0]), float(seconds[-1])
        assert last - least == 1


@pytest.mark.parametrize("pause", [0.1, 1, 10, 14, 16, 27])
def test_the_cost_of_heartbeats(pause: float) -> None:
    """A hundred workers cost the master as many look-ups in a second as the page says."""
    assert "three to seven look-ups in a second" in " ".join(read("watchdog").split())
    world = World()
    world.up(1, Policy(watchdog=30))
    began = world.now
    while world.seconds < 3000:
        due = world.core.next_deadline()
        assert due is not None
        world.now = due
        assert world.tell() == [ReadBeat(world.worker().key)]
        beats = (world.now - began) // round(pause * SECOND)
        assert not world.tell(
            ev.Heartbeat(world.worker().key, began + beats * round(pause * SECOND))
        )
    assert 3 <= 100 * len(world.when(ReadBeat)) / world.seconds <= 7


# Events


def test_every_kind_of_notice_is_on_the_page() -> None:
    """The table has each kind with its fields, in the order of the module."""
    who = ("service_id", "name", "worker_id")
    expected = {}
    for kind in typing.get_args(notices.Notice):
        fields = kind._fields
        if fields[:3] == who:
            fields = ("who", *fields[3:])
        elif fields[:2] == who[:2]:
            fields = ("service", *fields[2:])
        expected[kind.__name__] = fields
    found = {
        row[0]: tuple(field.strip(" `") for field in row[1].split(",") if field.strip())
        for row in table("events", "kind")
    }
    assert list(found.items()) == list(expected.items())


# What can be chosen


def test_every_field_of_run_as_is_on_the_page() -> None:
    """The table has each field of ``RunAs``, in its order."""
    fields = [row[0] for row in table("running-as", "field")]
    assert fields == list(inspect.signature(RunAs).parameters)


@pytest.mark.parametrize(
    ("page", "name"),
    [
        ("restarting", "restart"),
        ("restarting", "success"),
        ("restarting", "no_retry"),
        ("restarting", "significant"),
        ("restarting", "backoff"),
        ("restarting", "intensity"),
        ("readiness", "start"),
        ("watchdog", "watchdog"),
        ("reloading", "rollout"),
        ("recycling", "recycle"),
        ("running-as", "run_as"),
    ],
)
def test_every_policy_has_a_page(page: str, name: str) -> None:
    """Each parameter of ``Policy`` is used on the page of its subject."""
    assert f"{name}=" in read(page)
    assert name in inspect.signature(Policy).parameters


def test_the_defaults_that_pages_name() -> None:
    """Numbers that the pages call defaults are the defaults."""
    assert (Backoff().cap, Backoff().initial, Backoff().jitter, Backoff().forgive) == (
        *(30, 0.5, 0.2),
        30,
    )
    assert Policy().no_retry == (78,)
    assert Policy().success == (0,)
    rollout = Rollout()
    assert (rollout.max_unavailable, rollout.max_surge, rollout.progress_deadline) == (
        *("25%", 0),
        600,
    )
    assert Recycle().min_life == 60
    assert Recycle().every == 30
    assert math.isclose(Recycle().jitter, 0.1)
    assert Ending.DONE.value == "done"
    assert Reason.RECYCLED.value == "recycled"


@pytest.mark.parametrize("part", [".", "_core", "_posix", "_worker"])
def test_every_module_is_in_the_architecture(part: str) -> None:
    """The picture of the layers has each module, but for the smallest ones."""
    words = read("architecture").split("```")[1].split()
    package = Path(inspect.getfile(cotyledon)).parent / part
    modules = {path.stem for path in package.glob("*.py")} - {"__init__"}
    assert len(modules) > 5
    assert not modules - set(words) - {"_say", "_titles", "_values"}
