"""Where a worker process begins.

Responsible for becoming a worker after a fork or in a process that multiprocessing has started,
and for choosing how the service lives: with threads, or in an event loop. Never runs the
master's atexit handlers.

How a worker ends::

    TERM, "stop", end of file  -> terminate() -> 0     sys.exit(n) anywhere -> n
    exception in run/terminate/reload -> 2             exception in __init__ -> 1
    INT, ALRM, the graceful timeout   -> 1, at once    RunAs cannot be applied -> 1
"""

import os
from typing import NoReturn

from cotyledon._posix import stacks
from cotyledon._posix.fork import FORKS
from cotyledon._posix.launch import SentTies, Ties
from cotyledon._posix.marks import mark_worker
from cotyledon._worker import multiprocess
from cotyledon._worker.life import Assignment, Life
from cotyledon._worker.threads import Threads
from cotyledon.service import Service

__all__ = ["Assignment", "main_forked", "main_spawned"]


def main_forked(assignment: Assignment, ties: Ties) -> NoReturn:
    """Be a worker, in a process that was just forked from the master."""
    life = Life(assignment, ties)
    FORKS.unblock()
    if ties.stacks >= 0:
        stacks.unblock()  # the mask that was just restored is the master's
    _detach_stdin()
    multiprocess.adopt(f"{assignment.name}-{assignment.worker_id}")
    _live(life)


def main_spawned(assignment: Assignment, sent: SentTies) -> NoReturn:
    """Be a worker, in a process that multiprocessing has started."""
    try:
        os.setpgid(0, 0)
    except OSError:
        pass
    mark_worker()
    FORKS.watch()
    _live(Life(assignment, sent.arrive()))


def _detach_stdin() -> None:
    null = os.open(os.devnull, os.O_RDONLY)
    if null != 0:
        os.dup2(null, 0)
        os.close(null)


def _live(life: Life) -> NoReturn:
    life.begin()
    life.build()
    if life.base is Service:
        Threads(life).live()
    from cotyledon._worker.loop import Loop  # here: it imports asyncio

    Loop(life).live()
