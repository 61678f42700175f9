#!/usr/bin/env python3
"""Watch cotyledon keep a program alive whose workers are killed all the time.

Starts examples/indexer.py on a folder (the sources of Python's standard library, unless you
name another). While its workers build a full-text index, this program kills them with SIGKILL at
random, sends SIGHUP, and scales them up and down. At the end it stops the indexer, and proves
that every file was indexed exactly once and that no process was left behind.

Responsible for the course of events and for what is said about it. Knows the indexer as any other
program does: by its command line, its signals, its status lines and its database.
"""

import argparse
import errno
import os
import random
import select
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from examples.demo_chaos import Chaos, Snapshot, look
from examples.demo_indexer import Indexer, Service, Worker, indexer_command
from examples.demo_proof import Failed, Proved, files_in, prove
from examples.demo_screen import Row, Screen, View
from examples.option_types import number, whole

EXCLUDED = ("site-packages", "dist-packages")
"""What others have installed is not the standard library, and may be huge."""
TICK = 0.1
PATIENCE = 60
"""Seconds without any progress after which the demo has failed."""
SLOWEST = 0.25
"""Seconds that a worker pauses for a file at most, however few files there are."""


class Ended(BaseException):
    """Somebody wants the demo to end; with what exit status."""


class Director:
    """One performance.

    Args:
        options: from the command line.
        files: how many files there are.
        database: where the index is to be.
        screen: where it is shown.
        indexer: the program, already started.
        chance: the one source of chance.
    """

    def __init__(
        self,
        options: argparse.Namespace,
        files: int,
        database: str,
        screen: Screen,
        indexer: Indexer,
        chance: random.Random,
    ) -> None:
        self._files = files
        self._database = database
        self._screen = screen
        self._indexer = indexer
        self.chaos = Chaos(indexer, options.workers, options.kills, chance, screen.event)

    def direct(self) -> None:
        """Disturb the indexer until all the work is done and it has got over everything.

        Raises:
            Failed: it has not.
        """
        services = self._indexer.read_status()
        seen: tuple[int, ...] = ()
        seen_at = time.monotonic()
        while True:
            snapshot = look(self._database)
            chaos = self.chaos
            chaos.go_on(services, snapshot, snapshot.done / self._files)
            finished = snapshot.done >= self._files and chaos.over
            self._screen.show(self._view(services, snapshot), last=finished)
            if finished:
                return
            now = (snapshot.done, chaos.kills, chaos.survived, chaos.reloads, chaos.scalings)
            if now != seen:
                seen, seen_at = now, time.monotonic()
            elif time.monotonic() - seen_at > PATIENCE:
                raise Failed(f"no progress for {PATIENCE} s\n{self._indexer.last_words()}")
            select.select([self._indexer.pidfd], [], [], TICK)  # a pause, unless it ends
            services = self._indexer.status()

    def _view(self, services: Sequence[Service], snapshot: Snapshot) -> View:
        chaos = self.chaos
        return View(
            [_row(worker, snapshot) for service in services for worker in service.workers],
            sum(service.ready for service in services),
            sum(service.wanted for service in services),
            snapshot.done,
            self._files,
            f"kills {chaos.kills}   survived {chaos.survived}   reloads {chaos.reloads}"
            f"   rescaled {chaos.scalings}",
        )


def _row(worker: Worker, snapshot: Snapshot) -> Row:
    files = snapshot.by_worker.get(worker.id, 0) if worker.service == "indexer" else None
    if worker.next_start_in:
        remark = f"next start in {worker.next_start_in:.1f} s, after {worker.last_death}"
    elif worker.pid in snapshot.in_hand:
        remark = snapshot.in_hand[worker.pid]
    else:
        remark = ""
    return Row(
        f"{worker.service} {worker.id}",
        worker.state,
        worker.pid,
        worker.generation,
        max(0, worker.starts - 1),
        files,
        "".join(char if char.isprintable() else "?" for char in remark),
    )


# --- the performance --------------------------------------------------------------------------


def perform(options: argparse.Namespace, database: str, log: str) -> None:
    """Run the indexer, disturb it, stop it, and prove that it did its work.

    Raises:
        Failed: it has not.
    """
    chance = random.Random(options.seed)
    files = len(files_in(options.folder, EXCLUDED))
    pace = min(SLOWEST, options.seconds * options.workers / files)
    screen = Screen(
        sys.stdout,
        f"{options.workers} workers index {files:,} files in {options.folder}"
        f" (seed {options.seed})",
    )
    command = indexer_command(
        options.folder,
        f"--database={database}",
        f"--workers={options.workers}",
        f"--pace={pace:.4f}",
        "--attempts=0",  # it is us of whom they die, not the files
        *(f"--exclude={name}" for name in EXCLUDED),
    )
    with ExitStack() as stack:
        with signals_held():  # so that no Ctrl-C finds an indexer that we would not end
            indexer = Indexer(command, log)
            stack.callback(indexer.close)
        stack.callback(screen.close)
        screen.event(f"started the indexer (pid {indexer.pid}), paced to {pace:.3f} s a file")
        director = Director(options, files, database, screen, indexer, chance)
        director.direct()
        took = screen.elapsed
        stopped = indexer.stop()
        processes = indexer.check_that_nothing_is_left()
    proved = prove(options.folder, EXCLUDED, database, chance)
    report(proved, director.chaos, took, stopped, processes)
    words = options.search or ([proved.word] if proved.word else [])
    if words:
        answer_a_search(options.folder, database, words)


def report(proved: Proved, chaos: Chaos, took: float, stopped: float, processes: int) -> None:
    """Say what was proved."""
    notes = "; ".join(f"{files:,} {note}" for note, files in proved.notes)
    files = f"{proved.files:,}"
    found = f"  {proved.found} files, chosen at random, are found by a word of their own"
    print(f"""
Proved:
  {files} files on the disk = {files} jobs = {files} rows in the full-text index
  each path is there once, and each job was done exactly once, although {chaos.kills} workers
    were killed, {proved.begun_again} of them in the middle of a file
  the SHA-256 of each file ({proved.size / 1e6:,.1f} MB in all) is that in the database
  each text in the index is that of its file{f" ({notes})" if notes else ""}
{found if proved.found else "  no file has a word to search for"}
  SQLite's integrity_check and FTS5's integrity-check have no complaint
  SIGTERM ended the indexer with exit status 0 after {stopped:.2f} s
  none of the {processes} processes that it has had is left

{took:.1f} s, {chaos.kills} kills, {chaos.reloads} reloads, {chaos.scalings} changes of scale
""")


def answer_a_search(folder: str, database: str, words: Sequence[str]) -> None:
    """Have the indexer answer a search.

    Raises:
        Failed: it finds nothing.
    """
    print(f"$ indexer.py {folder} --search {' '.join(words)}", flush=True)
    command = indexer_command(folder, "--database", database, "--search", *words)
    status = subprocess.run(command, check=False).returncode
    if status:
        raise Failed(f"the search has ended with status {status}")


# --- the command line -------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(
        description=__doc__.rpartition("\n\n")[0],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("folder", nargs="?", metavar="FOLDER", help="(default: the standard library)")
    add("--workers", type=number, default=4, metavar="N", help="(default: 4)")
    add("--kills", type=whole, default=12, metavar="N", help="(default: 12)")
    add("--seed", type=whole, metavar="N", help="repeat what chance has decided")
    add(
        "--seconds",
        type=whole,
        default=10,
        metavar="N",
        help="how long the indexing is to take at least (default: 10)",
    )
    add("--search", nargs="+", metavar="WORD", help="what to search for at the end")
    add("--keep", metavar="DATABASE", help="keep the index, in this new file")
    return parser


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Return the options.

    Raises:
        SystemExit: with status 2 when they are wrong.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.folder is None:
        options.folder = sysconfig.get_path("stdlib")
        options.search = options.search or ["waitpid", "signal"]
    options.folder = os.path.realpath(options.folder)
    if not os.path.isdir(options.folder):
        parser.error(f"{options.folder} is not a folder")
    if not files_in(options.folder, EXCLUDED):
        parser.error(f"there are no files in {options.folder}")
    if options.keep is not None:
        if os.path.lexists(options.keep):
            parser.error(f"{options.keep} exists already, and what is in it would prove nothing")
        if Path(options.keep).resolve().is_relative_to(options.folder):
            parser.error(f"{options.keep} would be one of the files that are indexed")
    if options.seed is None:
        options.seed = random.SystemRandom().randrange(10_000)
    return options


HELD = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def signals_held() -> Iterator[None]:
    """Let the signals that end the demo wait."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, HELD)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end(signum: int, frame: FrameType | None) -> None:
    raise Ended(128 + signum)


def main(arguments: list[str] | None = None) -> int:
    """Run the demo and return its exit status."""
    options = parse(arguments)
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")  # names of files may be anything
    for signum in HELD:
        if signal.getsignal(signum) is not signal.SIG_IGN:  # as under nohup
            signal.signal(signum, _end)
    try:
        # Hidden, so that it is not indexed, whichever folder is.
        with tempfile.TemporaryDirectory(prefix=".cotyledon-demo-") as folder:
            database = os.path.abspath(options.keep or os.path.join(folder, "index.sqlite3"))
            perform(options, database, os.path.join(folder, "indexer.log"))
            if options.keep:
                os.unlink(f"{database}-locks")
                print(f"\nThe index is in {options.keep}")
    except Failed as error:
        print(f"\nFAILED: {error}", file=sys.stderr)
        return 1
    except Ended as ended:
        print("\nended before the end; the indexer was stopped", file=sys.stderr)
        return int(ended.args[0])
    except OSError as error:
        if error.errno not in (errno.EPIPE, errno.EIO):
            raise
        # Nobody reads this any more; nor must the interpreter try at its exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
