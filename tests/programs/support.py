"""What the programs under test share: events, gates, and services that say what they do."""

import ctypes
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, NoReturn

import cotyledon
from cotyledon.types import WorkerId

DIRECTORY = os.environ["PROGRAM_DIR"]
_events = os.open(os.path.join(DIRECTORY, "events"), os.O_WRONLY | os.O_CLOEXEC)


def event(name: str, /, **fields: Any) -> None:
    """Tell the test something, in one atomic write."""
    line = {"event": name, "pid": os.getpid(), "at": time.monotonic(), **fields}
    os.write(_events, json.dumps(line, default=str).encode() + b"\n")


def gate(name: str) -> None:
    """Wait until the test opens a gate."""
    path = os.path.join(DIRECTORY, name)
    try:
        os.mkfifo(path)
        os.chmod(path, 0o666)
    except FileExistsError:
        pass
    os.close(os.open(path, os.O_RDONLY))


def hang() -> NoReturn:
    """Do nothing, for ever, in Python."""
    while True:
        time.sleep(1000)


def hang_in_c() -> None:
    """Do nothing, for ever, in C, with the GIL held; no signal interrupts it."""
    library = ctypes.PyDLL(None)
    mutex = ctypes.create_string_buffer(128)
    library.pthread_mutex_lock(mutex)
    library.pthread_mutex_lock(mutex)


def on_signal(signum: int, *actions: Callable[[], Any]) -> None:
    """At the n-th arrival of a signal perform the n-th action, then tell the test."""
    todo = list(actions)

    def handle(signum: int, frame: FrameType | None) -> None:
        todo.pop(0)()
        event("did", signal=signum, left=len(todo))

    signal.signal(signum, handle)


class Talker(cotyledon.Service):
    """Tells the test of each of its methods; restarts on HUP."""

    def __init__(self, worker_id: int) -> None:
        super().__init__(WorkerId(worker_id))
        self.say("init")

    def say(self, name: str, /, **fields: Any) -> None:
        event(name, service=type(self).__name__, worker=self.worker_id, **fields)

    def run(self) -> None:
        self.say("run")

    def terminate(self) -> None:
        self.say("terminate")


class Reloader(Talker):
    """Has a reload() of its own."""

    def reload(self) -> None:
        self.say("reload")


def run(manager: cotyledon.ServiceManager) -> None:
    """Run the manager and tell the test how that ended."""
    try:
        manager.run()
    except BaseException as error:
        kinds = [kind.__name__ for kind in type(error).__mro__]
        event("raised", kinds=kinds, code=getattr(error, "code", None))
        raise
    event("returned")


def main(scenarios: dict[str, Any]) -> None:
    """Perform the scenario that the first argument names."""
    scenarios[sys.argv[1]](*sys.argv[2:])
