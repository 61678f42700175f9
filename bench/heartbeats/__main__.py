"""The command line: ``python -m bench.heartbeats``.

Responsible for the servers, and for the order of the rounds: each job by each subject in turn.
When it ends, by Ctrl-C too, no process and no file of it is left but the results.
"""

import argparse
import logging
import os
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType

from bench import report as bench_report
from bench.heartbeats import report
from bench.heartbeats.figures import Book, Cell
from bench.heartbeats.plan import BURST, JOBS, PAUSE, SERVERS
from bench.heartbeats.run import Failed, Round, kill
from bench.heartbeats.subjects import Subject, subjects
from bench.run import prepare
from tests.servers import Etcd, RabbitMQ, Redis, Server

BURSTS = 5
KINDS: dict[str, type[Server]] = {"redis": Redis, "etcd": Etcd}
CHECKED = {"ours", "plain"}
QUICK_SUBJECTS = ("plain", "ours")
QUICK_JOBS = ("compute", "hold")


def main() -> int:
    """Measure, print, and return the exit status."""
    options = _options()
    floor, *others = _subjects(options)
    jobs = options.job or (QUICK_JOBS if options.quick else JOBS)
    rounds = [(subject, job) for job in jobs for subject in others]
    servers = options.server or SERVERS
    bursts = 1 if options.quick else BURSTS
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, _end)
    prepare()
    # What fails is what is counted.
    logging.getLogger("oslo.messaging").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", r"\s*Eventlet is deprecated")
    cells: list[Cell] = []
    try:
        with _serving(servers) as (running, broker):
            for number, (subject, job) in enumerate(rounds, 1):
                _tell(f"{number} of {len(rounds)}: {subject.name}, {job}")
                with Round(subject, floor, job, running, broker) as one:
                    cells.extend(one.measure(bursts))
    except (Failed, AssertionError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    finally:
        _tell("")
    book = Book(_circumstances(bursts), cells)
    print(report.text(book))
    missed = book.missed()
    if {subject.name for subject in others} >= CHECKED:
        print("", *(missed or ["all that must hold does"]), sep="\n")
    if options.json is not None:
        book.save(options.json)
    return 1 if missed and options.check else 0


def _subjects(options: argparse.Namespace) -> list[Subject]:
    """Return the floor and what else is to be measured."""
    there = subjects(sys.executable, options.reference, options.eventlet, options.threading)
    names = options.subject or (QUICK_SUBJECTS if options.quick else [s.name for s in there])
    if unknown := set(names) - {subject.name for subject in there}:
        raise SystemExit(f"bench: no interpreter was given for: {', '.join(sorted(unknown))}")
    if options.check and not set(names) >= CHECKED:
        raise SystemExit(f"bench: --check compares these: {', '.join(sorted(CHECKED))}")
    return [there[0], *(subject for subject in there[1:] if subject.name in names)]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.heartbeats",
        description="Beat against real servers while the main job is busy.",
    )
    for name, what in (
        ("reference", "cotyledon 2.2.0"),
        ("eventlet", "oslo.service"),
        ("threading", "oslo.service and cotyledon 2.2.0"),
    ):
        parser.add_argument(
            f"--{name}",
            metavar="PYTHON",
            help=f"the interpreter of an environment with {what}, tooz and oslo.messaging",
        )
    for name, choices in (
        ("subject", tuple(report.SUBJECTS)[1:]),
        ("job", JOBS),
        ("server", SERVERS),
    ):
        parser.add_argument(
            f"--{name}",
            metavar=name.upper(),
            action="append",
            choices=choices,
            help=f"measure this one only (repeatable): {', '.join(choices)}",
        )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="one burst, this package and a plain process, two jobs: a smoke test",
    )
    parser.add_argument("--json", metavar="FILE", type=Path, help="write every sample there")
    parser.add_argument(
        "--check", action="store_true", help="exit with status 1 if what must hold does not"
    )
    return parser.parse_args()


@contextmanager
def _serving(names: Sequence[str]) -> Iterator[tuple[dict[str, Server], RabbitMQ]]:
    """Start the servers, and end them."""
    with ExitStack() as stack:
        # All files are in there, those of the servers too.
        tempfile.tempdir = stack.enter_context(TemporaryDirectory(prefix="heartbeats-"))
        stack.callback(kill)  # whatever is left by an end that was interrupted
        servers = {name: KINDS[name]() for name in names}
        broker = RabbitMQ()
        for server in (*servers.values(), broker):
            if missing := server.missing():
                raise Failed(missing)
            stack.callback(server.close)
            _tell(f"starting {server.PROGRAM}")
            server.start()
        yield servers, broker


def _circumstances(bursts: int) -> str:
    bursts_text = "one burst" if bursts == 1 else f"{bursts} bursts"
    return (
        f"{bench_report.circumstances()}, load average {os.getloadavg()[2]:.1f} at the end; "
        f"{bursts_text} of {BURST:g} s for each cell, {PAUSE:g} s between them"
    )


def _tell(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
    elif text:
        print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def _end(signum: int, frame: FrameType | None) -> None:
    """Leave by an exception, so that all is cleared away; what comes then does not disturb it."""
    for other in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(other, signal.SIG_IGN)
    sys.exit(128 + signum)


if __name__ == "__main__":
    sys.exit(main())
