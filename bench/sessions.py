"""The sessions: what is done to a run, and which figures come of it.

Responsible for measuring one subject once. Never compares, never repeats.

The first death of a worker is answered at once by every subject, later ones may be delayed on
purpose: this package makes a slot wait that dies twice within 30 s, and 2.2.0 makes everything
wait for 5 s when there are more starts than workers within as many seconds. So each KILL hits
another worker, and 2.2.0 gets one KILL per run.
"""

import os
import signal
import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from bench import proc
from bench.figures import LARGE, Book, Over
from bench.run import SECOND, Run, TimedOut
from bench.subjects import FLAGS, Subject

KILLS = 8
PATIENCE = 60.0  # for what is only a preparation
HEAP = 48  # megabytes
HEAVY = ("multiprocessing", "asyncio", "concurrent.futures")
LOAD = "from cotyledon import Service, ServiceManager"


class Session(NamedTuple):
    """A way to run a subject."""

    text: str
    figures: tuple[str, ...]
    rounds: int
    large: bool
    measure: Callable[[Subject, Book], None]


def sessions(quick: bool) -> list[Session]:
    """Return the sessions of a benchmark.

    Args:
        quick: few rounds, which show that it works and little more.
    """
    seconds = 1.0 if quick else 5.0
    every = [
        Session("import", ("import", "load", "heavy"), 25, False, _import),
        Session(
            "10 workers, KILL one",
            ("kill-one", "cpu", "threads", "descriptors"),
            15,
            False,
            partial(_kill_one, workers=10),
        ),
        Session("10 workers, memory", ("memory",), 3, False, _memory),
        Session(
            "50 workers, idle",
            ("idle-cpu", "idle-switches"),
            1,
            False,
            partial(_idle, seconds=seconds),
        ),
        Session(
            "100 workers, start and TERM",
            ("start", "stop"),
            11,
            False,
            partial(_start_and_stop, workers=100),
        ),
        Session("100 workers, TERM in the middle", ("stop-early",), 11, False, _stop_early),
        Session(
            f"{LARGE} workers, KILL one, TERM",
            ("start", "kill-one", "cpu", "stop", "threads", "descriptors"),
            5,
            True,
            partial(_kill_one, workers=LARGE, stop=True),
        ),
        Session(f"{LARGE} workers, KILL all", ("start", "kill-all"), 5, True, _kill_all),
    ]
    if quick:
        return [
            session._replace(rounds=1 if session.large else min(session.rounds, 2))
            for session in every
        ]
    return every


def _start(run: Run, subject: Subject, book: Book) -> None:
    try:
        took = run.started(PATIENCE)
    except TimedOut as late:
        book.add("start", run.workers, subject.name, Over(late.seconds))
        raise
    book.add("start", run.workers, subject.name, took / SECOND)
    run.rest()


def _stop(run: Run, name: str, subject: Subject, book: Book) -> None:
    patience = book.patience(name, run.workers, subject.name)
    told = time.monotonic_ns()
    os.kill(run.pid, signal.SIGTERM)
    try:
        took = (run.gone(patience) - told) / SECOND
    except TimedOut as late:
        took = Over(late.seconds)
    book.add(name, run.workers, subject.name, took)
    if isinstance(took, Over):
        raise TimedOut(took)


def _start_and_stop(subject: Subject, book: Book, *, workers: int) -> None:
    with Run(subject, workers) as run:
        _start(run, subject, book)
        _stop(run, "stop", subject, book)


def _stop_early(subject: Subject, book: Book) -> None:
    with Run(subject, 100) as run:
        run.some_started(50, PATIENCE)
        _stop(run, "stop-early", subject, book)


def _kill_one(subject: Subject, book: Book, *, workers: int, stop: bool = False) -> None:
    with Run(subject, workers) as run:
        _start(run, subject, book)
        kills = 1 if subject.name == "reference" else KILLS
        patience = book.patience("kill-one", workers, subject.name)
        before = proc.cpu(run.pid)
        for i in range(kills):
            worker_id = i * workers // kills
            killed = time.monotonic_ns()
            os.kill(run.pids[worker_id], signal.SIGKILL)
            try:
                took = run.run_again([worker_id], patience) - killed
            except TimedOut as late:
                book.add("kill-one", workers, subject.name, Over(late.seconds))
                raise
            book.add("kill-one", workers, subject.name, took / SECOND)
            run.rest()
        book.add("cpu", workers, subject.name, (proc.cpu(run.pid) - before) / kills / SECOND)
        for name, count in (("threads", proc.threads), ("descriptors", proc.descriptors)):
            book.add(name, workers, subject.name, max(map(count, run.pids.values())))
        if stop:
            _stop(run, "stop", subject, book)


def _kill_all(subject: Subject, book: Book) -> None:
    with Run(subject, LARGE) as run:
        _start(run, subject, book)
        patience = book.patience("kill-all", LARGE, subject.name)
        pids = list(run.pids.values())
        killed = time.monotonic_ns()
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        try:
            took = (run.run_again(range(LARGE), patience) - killed) / SECOND
        except TimedOut as late:
            book.add("kill-all", LARGE, subject.name, Over(late.seconds))
            raise
        book.add("kill-all", LARGE, subject.name, took)


def _memory(subject: Subject, book: Book) -> None:
    with Run(subject, 10, megabytes=HEAP, collections=3) as run:
        run.started(PATIENCE)
        run.rest()
        for pid in run.pids.values():
            book.add("memory", 10, subject.name, proc.private_memory(pid))


def _idle(subject: Subject, book: Book, *, seconds: float) -> None:
    with Run(subject, 50) as run:
        run.started(PATIENCE)
        run.rest()
        time.sleep(1)
        pids = proc.family(run.pid)
        for name, count in (("idle-cpu", proc.ticks), ("idle-switches", proc.switches)):
            before = sum(map(count, pids))
            time.sleep(seconds)
            book.add(name, 50, subject.name, (sum(map(count, pids)) - before) / seconds)


def _import(subject: Subject, book: Book) -> None:
    if subject.name == "floor":
        return
    if "import" not in {name for name, _ in book.samples}:
        _interpret(subject, LOAD)  # compiles what is not compiled yet
    # In turn, so that both see the same noise; the bare one is that of the same environment.
    bare = _interpret(subject, "pass")
    took = _interpret(subject, "import cotyledon")
    # Less than a tenth of a millisecond cannot be told from the noise.
    book.add("import", 0, subject.name, max(took - bare, 1e-4))
    # Names are loaded when they are used: this is what a program pays.
    book.add("load", 0, subject.name, _interpret(subject, LOAD) - bare)
    code = f"import sys; {LOAD}; sys.exit(sum(name in sys.modules for name in {HEAVY}))"
    _, status = _run_python(subject, code)
    book.add("heavy", 0, subject.name, status)


def _interpret(subject: Subject, code: str) -> float:
    took, status = _run_python(subject, code)
    if status:
        raise RuntimeError(f"{subject.python} cannot run: {code}")
    return took


def _run_python(subject: Subject, code: str) -> tuple[float, int]:
    command = [subject.python, *FLAGS, "-c", code]
    began = time.perf_counter()
    pid = os.posix_spawn(command[0], command, subject.environment)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return time.perf_counter() - began, status
