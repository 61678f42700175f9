"""Being a child in the eyes of the standard library's multiprocessing.

Responsible for what multiprocessing does in a child that it has forked itself, so that its
queues, locks, events, values and managers work in a worker that we have forked: they are
re-armed after the fork, and what was put on a queue is delivered before the worker ends. Never
imports multiprocessing: where the program has not, there is nothing to do.
"""

import itertools
import os
import sys
from typing import Any


def adopt(name: str) -> None:
    """Make this forked process a proper child process of multiprocessing."""
    process: Any = sys.modules.get("multiprocessing.process")
    if process is None:
        return
    current = process.BaseProcess(name=name)
    current._parent_pid = os.getppid()
    process._current_process = current
    process._process_counter = itertools.count(1)
    process._children = set()
    util: Any = sys.modules.get("multiprocessing.util")
    if util is not None:
        # The finalizers are those of the master's objects.
        util._finalizer_registry.clear()
        util._run_after_forkers()


def finish() -> None:
    """Deliver what is on queues, and end this worker's own multiprocessing children."""
    util: Any = sys.modules.get("multiprocessing.util")
    if util is not None:
        util._exit_function()
