"""The command line: ``python -m bench``.

Responsible for the order of the measurements: every round takes each subject in turn, so that
noise that lasts falls on all of them. Never measures itself.
"""

import argparse
import signal
import sys
from pathlib import Path

from bench import report
from bench.figures import NAMES, Book
from bench.run import TimedOut, prepare
from bench.sessions import Session, sessions
from bench.subjects import Subject, subjects


def main() -> int:
    """Measure, print, and return the exit status."""
    options = _options()
    everyone = subjects(sys.executable, options.reference)
    chosen = [
        session
        for session in sessions(options.quick)
        if not options.only or set(options.only) & set(session.figures)
    ]
    # So that what was started is cleared away then, too.
    signal.signal(signal.SIGTERM, lambda signum, frame: sys.exit(128 + signum))
    prepare()
    book = Book()
    _measure(chosen, everyone, book, options.quick)
    rows = report.rows(book)
    if options.only:
        rows = [row for row in rows if row.figure.name in options.only]
    print(report.circumstances())
    print()
    print(report.table(rows))
    missed = sum(bool(row.missed()) for row in rows)
    print()
    print(f"{missed} of {len(rows)} figures missed" if missed else "every target is met")
    if options.json is not None:
        options.json.write_text(report.to_json(book, rows) + "\n")
    return 1 if missed and options.check else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measure this package against a bare fork loop and against cotyledon 2.2.0.",
    )
    parser.add_argument(
        "--reference",
        metavar="PYTHON",
        help="the interpreter of an environment in which cotyledon 2.2.0 is installed",
    )
    parser.add_argument(
        "--only",
        metavar="FIGURE",
        action="append",
        choices=NAMES,
        help=f"measure this one only (repeatable): {', '.join(NAMES)}",
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="few rounds, and 2.2.0 with few workers only: a smoke test, no measurement",
    )
    parser.add_argument("--json", metavar="FILE", type=Path, help="write every sample there")
    parser.add_argument(
        "--check", action="store_true", help="exit with status 1 if a target is missed"
    )
    return parser.parse_args()


def _measure(chosen: list[Session], everyone: list[Subject], book: Book, quick: bool) -> None:
    given_up: set[tuple[str, str]] = set()
    for number in range(max(session.rounds for session in chosen)):
        for session in chosen:
            for subject in everyone:
                reference = subject.name == "reference"
                if (
                    number >= session.rounds
                    or (session.text, subject.name) in given_up
                    or (reference and quick and session.large)
                ):
                    continue
                print(
                    f"\r\033[Kround {number + 1}: {subject.name}, {session.text}",
                    end="",
                    file=sys.stderr,
                    flush=True,
                )
                try:
                    session.measure(subject, book)
                except TimedOut:
                    given_up.add((session.text, subject.name))  # once shows it
    print("\r\033[K", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
