"""The bench of heartbeats: its arithmetic, its verdicts, its page, and a run against servers."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

import cotyledon
from bench.heartbeats import figures, inside, report
from bench.heartbeats.figures import Book, Cell, Rpc
from bench.heartbeats.outside import SECOND, closed, lateness
from bench.heartbeats.plan import APART, MAIN
from tests import harness
from tests.servers import RabbitMQ, Redis
from tests.test_docs import examples

ROOT = Path(__file__).resolve().parents[1]
HALF = SECOND // 2


def at(*seconds: float) -> list[int]:
    return [round(each * SECOND) for each in seconds]


# --- how late -----------------------------------------------------------------------------


def test_beats_in_time_are_not_late() -> None:
    """A beat that comes when it is due, or a little early, is late by nothing, and counted."""
    assert lateness(at(0, 0.5, 0.99, 1.49), 0, 2 * SECOND - HALF) == [0, 0, 0]


def test_a_gap_is_every_beat_that_was_due_in_it() -> None:
    """Five seconds without a beat are nine late beats: the first is the latest one."""
    found = lateness(at(0, 5), 0, 5 * SECOND)
    assert found == [4.5, 4.0, 3.5, 3.0, 2.5, 2.0, 1.5, 1.0, 0.5]


def test_what_has_not_come_at_the_end_is_late() -> None:
    """A program that has stopped beating does not look better for it."""
    assert lateness(at(0, 0.5), 0, 2 * SECOND) == [0, 1.0, 0.5]


def test_only_what_was_due_within_the_time_counts() -> None:
    """The beats of the start and of the end belong to no measurement."""
    assert lateness(at(0, 3, 3.5, 4.0, 9), 3 * SECOND, 4 * SECOND) == [0]


def test_a_beat_is_written_down_when_it_was_taken(tmp_path: Path) -> None:
    """Recording returns what the driver returns, and writes nothing for a beat that failed."""
    beats = os.open(tmp_path / "beats", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def heartbeat(driver: str) -> float:
        if driver == "down":
            raise ConnectionError
        return 30.0

    recorded = inside._recorded(heartbeat, beats)
    assert recorded("up") == 30.0
    with pytest.raises(ConnectionError):
        recorded("down")
    os.close(beats)
    assert len((tmp_path / "beats").read_text().splitlines()) == 1


def test_closed_connections_are_those_of_the_process(tmp_path: Path) -> None:
    """Only connections of the given processes count, and only for want of heartbeats."""
    log = tmp_path / "log"
    name = "<0.67{}.0> (127.0.0.1:1 -> 127.0.0.1:2 - {}, vhost: '/', user: 'guest'):"
    missed = "2026-01-01 00:00:00 [error] <0.671.0> missed heartbeats from client, timeout: 1s\n"
    gone = "2026-01-01 00:00:00 [warning] <0.672.0> client unexpectedly closed TCP connection\n"
    begins = "2026-01-01 00:00:00 [error] <0.671.0> closing AMQP connection "
    log.write_text(
        f"{begins}{name.format(1, 'ours.py:17:aa-bb')}\n{missed}"
        f"{begins}{name.format(2, 'ours.py:17:cc-dd')}\033[0m\n{gone}"
        f"{begins}{name.format(3, 'plain.py:18:ee-ff')}\033[0m\n{missed}"
        f"{begins}<0.674.0> (127.0.0.1:1 -> 127.0.0.1:2):\n{missed}"
    )
    assert closed(log, [17]) == 1
    assert closed(log, [17, 18]) == 2
    assert closed(log, [1, 2, 127]) == 0


# --- verdicts -----------------------------------------------------------------------------


def cell(subject: str, *late: float, missing: float = 0.0) -> Cell:
    return Cell(subject, "hold", "redis", list(late), missing, {MAIN: Rpc(12, 8, 2)})


def test_a_lost_membership_is_missed() -> None:
    """A membership of this package that was lost is a failure; that of another one is a figure."""
    assert Book("", [cell("ours", 0, 0)]).missed() == []
    assert Book("", [cell("reference", 0, 0, missing=0.5)]).missed() == []
    (line,) = Book("", [cell("ours", 0, 0, missing=0.5)]).missed()
    assert line == "hold, redis: the membership was lost for 50% of the time"


def test_twice_the_lateness_of_a_plain_process_is_missed() -> None:
    """Up to twice a plain process's lateness is good, and what the machine alone may cause is."""
    floor = cell("floor", 0.001, 0.001)._replace(beside="ours")
    plain = cell("plain", 0.1, 0.1)
    assert Book("", [floor, plain, cell("ours", 0.2, 0.2)]).missed() == []
    assert len(Book("", [floor, plain, cell("ours", 0.21, 0.21)]).missed()) == 2
    quick = cell("plain", 0, 0)
    assert Book("", [floor, quick, cell("ours", 0.009, 0.009)]).missed() == []
    assert len(Book("", [floor, quick, cell("ours", 0.011, 0.011)]).missed()) == 2


def test_what_the_machine_did_to_everybody_is_not_missed() -> None:
    """The floor beside this package is what counts, and not that beside another subject."""
    plain, ours = cell("plain", 0, 0), cell("ours", 0.2, 0.2)
    floor = cell("floor", 0.1, 0.1)
    assert Book("", [floor._replace(beside="ours"), plain, ours]).missed() == []
    beside = [floor._replace(beside="plain"), cell("floor", 0, 0)._replace(beside="ours")]
    assert len(Book("", [*beside, plain, ours]).missed()) == 2


# --- the page -----------------------------------------------------------------------------


def test_what_was_measured_is_read_back(tmp_path: Path) -> None:
    """The file has all that the table is drawn from."""
    book = Book("a machine", [cell("plain", 0.1, 4.75, missing=0.5), cell("ours", 0.001, 0.002)])
    book.save(tmp_path / "results")
    assert figures.load(tmp_path / "results") == book
    table = report.tables(book)
    assert table.startswith("### The main job blocks in C, the GIL held\n")
    rows = [line.split(" | ") for line in table.splitlines()[4:]]
    assert [cell.strip("| ") for cell in rows[0]][1:] == [
        report.LATE.join(("2425", "4704", "4750")), "lost", "8 of 12", "2"
    ]  # fmt: skip
    assert [cell.strip("| ") for cell in rows[1]][1:3] == [
        report.LATE.join(("1.5", "2.0", "2.0")), "kept"
    ]  # fmt: skip
    assert rows[2][0].strip("| ") == report.OWN_RPC


def test_the_page_shows_what_was_measured() -> None:
    """The table is the one of the file; if this fails: `python -m bench.heartbeats.report`."""
    page = report.PAGE.read_text(encoding="utf-8")
    assert report.fill(page, report.text(figures.load(report.RESULTS))) == page


def test_what_is_shown_holds() -> None:
    """The run on the page has lost no membership of this package, with every job and server."""
    book = figures.load(report.RESULTS)
    assert book.missed() == []
    ours = {(found.job, found.server) for found in book.cells if found.subject == "ours"}
    assert len(ours) == 8


def test_the_example_is_a_program() -> None:
    """What the page advises can be built: a beat, the job and the RPC server are services."""
    (example,) = examples("docs/heartbeats.md")
    names: dict[str, Any] = {}
    manager = cotyledon.ServiceManager
    with (
        mock.patch.object(manager, "_process_runner_already_created", False),
        mock.patch.object(manager, "run") as run,
    ):
        exec(compile(example, "docs/heartbeats.md", "exec"), names)
    run.assert_called_once_with()
    services = names["manager"].status().services
    assert [service.name for service in services][1:] == ["Indexer", "RPCService"]


# --- a run --------------------------------------------------------------------------------


def bench(folder: Path, *args: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "bench.heartbeats", *args],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(folder), "PYTHONPATH": str(ROOT / "src")},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


ONE = ("--quick", "--subject", "ours", "--job", "hold", "--server", "redis")


@pytest.mark.parametrize(
    ("args", "complaint"),
    [
        (("--subject", "reference"), "no interpreter was given for: reference"),
        (("--check", "--subject", "ours"), "--check compares these: ours, plain"),
    ],
)
def test_what_would_measure_nothing_is_refused(
    tmp_path: Path, args: tuple[str, ...], complaint: str
) -> None:
    """No run says that all is well if it has not looked."""
    run = bench(tmp_path, *args)
    _, complaints = run.communicate(timeout=60)
    assert run.returncode == 1
    assert complaint in complaints


@pytest.mark.real
@pytest.mark.servers
@pytest.mark.once
@pytest.mark.skipif(bool(Redis.missing()), reason=Redis.missing())
@pytest.mark.skipif(bool(RabbitMQ.missing()), reason=RabbitMQ.missing())
def test_a_worker_that_holds_the_gil_does_not_cost_the_membership(tmp_path: Path) -> None:
    """Five seconds with the GIL held lose no membership of three, and no connection apart."""
    folder = tmp_path / "of-the-bench"
    folder.mkdir()
    results = tmp_path / "results.json"
    run = bench(folder, *ONE, "--json", str(results))
    said, complaints = run.communicate(timeout=150)
    assert run.returncode == 0, complaints
    found, floor = figures.load(results).cells
    assert not found.lost, said
    assert (floor.subject, floor.beside) == ("floor", "ours")
    # Those who hold the GIL themselves answer nothing: this is what the service apart is for.
    assert found.rpc[MAIN].failed > 0
    assert found.rpc[APART].sent > 0
    assert found.rpc[APART].closed == 0
    assert "blocks in C, the GIL held" in said
    assert json.loads(results.read_text())["circumstances"] in said
    assert list(folder.iterdir()) == []


@pytest.mark.real
@pytest.mark.servers
@pytest.mark.once
@pytest.mark.skipif(bool(Redis.missing()), reason=Redis.missing())
@pytest.mark.skipif(bool(RabbitMQ.missing()), reason=RabbitMQ.missing())
def test_an_interrupted_run_leaves_nothing(tmp_path: Path) -> None:
    """Ctrl-C in the middle of a round ends subjects and servers, and removes their files."""
    harness.become_subreaper()
    before = set(harness.descendants(os.getpid()))
    run = bench(tmp_path, *ONE)
    assert run.stderr is not None
    while "1 of 1" not in (line := run.stderr.readline()):
        assert line, "it has ended"
    run.send_signal(signal.SIGINT)
    run.communicate(timeout=60)
    assert run.returncode == 128 + signal.SIGINT

    def nothing_is_left() -> bool:
        left = set(harness.descendants(os.getpid())) - before
        for pid in left:
            harness.reap(pid)
        return not any(harness.alive(pid) for pid in left)

    harness.until(nothing_is_left, "nothing is left")
    assert list(tmp_path.iterdir()) == []
