"""A program made of policies: its services and what its workers do are given by the test.

The first argument is JSON: a list of services, each with ``name``, ``workers``, ``policy`` (an
expression), ``after`` (names) and ``does`` (what its workers do first). ``does-NAME`` files change
that for later workers; SIGUSR1 has the master evaluate the file ``command``.
"""

import ctypes
import json
import multiprocessing
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import cotyledon
from cotyledon.types import WorkerId
from tests.programs.support import DIRECTORY, event, gate, hang, hang_in_c, run

NAMES = {name: getattr(cotyledon, name) for name in cotyledon.__all__}


class Actor(cotyledon.Service):
    """Does what it is told: a list of steps, each a list of a verb and its arguments."""

    def __init__(self, worker_id: int, name: str, does: list[list[Any]]) -> None:
        super().__init__(WorkerId(worker_id))
        self.name = name
        changed = Path(DIRECTORY, f"does-{name}")
        self.does = json.loads(changed.read_text()) if changed.exists() else does
        self.over = threading.Event()
        self.say("init")
        for verb, *args in self.does:
            if verb.startswith("init_"):
                getattr(self, f"do_{verb.removeprefix('init_')}")(*args)

    def say(self, what: str, **fields: Any) -> None:
        event(what, service=self.name, worker=self.worker_id, **fields)

    def run(self) -> None:
        self.say("run")
        for verb, *args in self.does:
            if not verb.startswith("init_"):
                getattr(self, f"do_{verb}")(*args)

    def terminate(self) -> None:
        self.say("terminate")
        self.over.set()

    # Steps

    def do_exit(self, status: int) -> None:
        sys.exit(status)

    def do_die(self, signum: int) -> None:
        os.kill(os.getpid(), signum)
        hang()

    def do_gate(self, name: str) -> None:
        gate(name)

    def do_hang(self) -> None:
        hang()

    def do_hang_in_c(self) -> None:
        self.say("hangs")
        hang_in_c()

    def do_ready(self) -> None:
        self.ready()

    def do_extend(self, seconds: float) -> None:
        self.extend(seconds)

    def do_status(self, *texts: str) -> None:
        for text in texts:
            self.status(text)

    def do_figures(self, text: str, figures: dict[str, float] | None) -> None:
        self.status(text, figures)

    def do_chatter(self, times: int) -> None:
        for number in range(times):
            self.status(f"number {number}")
        self.say("chattered")

    def do_match(self) -> None:
        """Hold the GIL, for ever."""
        self.say("matches")
        re.match(r"(a+)+$", "a" * 60 + "b")

    def do_sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def do_say(self, what: str) -> None:
        self.say(what)

    def do_beat(self, times: int, pause: float) -> None:
        for _ in range(times):
            self.heartbeat()
            self.over.wait(pause)
        self.say("beaten")

    def do_burn(self, seconds: float) -> None:
        """Compute without a pause, and beat while at it."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            sum(range(20_000))
            self.heartbeat()
        self.say("burnt")

    def do_compute(self) -> None:
        """Compute for ever, in ever different frames, without a heartbeat."""
        while True:
            sum(len(str(number)) for number in range(1000))

    def do_execute(self, *command: str) -> None:
        os.execvp(command[0], command)

    def do_grow(self, size: int) -> None:
        self.grown = ctypes.create_string_buffer(b"x" * size)
        self.say("grown")


class Reloading(Actor):
    def reload(self) -> None:
        self.say("reload")


class Looping(cotyledon.AsyncService):
    """Does nothing in an event loop, or blocks the loop."""

    def __init__(self, worker_id: int, name: str, does: list[list[Any]]) -> None:
        super().__init__(WorkerId(worker_id))
        changed = Path(DIRECTORY, f"does-{name}")
        self.does = json.loads(changed.read_text()) if changed.exists() else does

    async def run(self) -> None:
        event("run", worker=self.worker_id)
        if self.does:
            self.block_the_loop()

    def block_the_loop(self) -> None:
        hang()


def told(notice: Any) -> None:
    fields = {k: v for k, v in notice._asdict().items() if k != "service_id"}
    death = fields.get("death")
    if death is not None:
        fields["death"] = death._asdict()
    renamed = {"of": fields.pop("pid", None), "service": fields.pop("name", None)}
    event("notice", kind=type(notice).__name__, **renamed, **fields)


KINDS: dict[str, Any] = {"actor": Actor, "reloading": Reloading, "looping": Looping}


def main() -> None:
    services, settings = json.loads(sys.argv[1])
    method = settings.pop("start_method", None)
    if method:
        settings["mp_context"] = multiprocessing.get_context(method)
    manager = cotyledon.ServiceManager(**settings)
    manager.register_hooks(on_event=told)
    ids: dict[str, Any] = {}
    for service in services:
        name = service["name"]
        kind = KINDS[service.get("kind", "actor")]
        ids[name] = manager.add(
            # A class that is made here does not pickle.
            kind if method else type(name, (kind,), {"name": name}),
            service.get("workers", 1),
            (name, service.get("does", [])),
            policy=eval(service.get("policy", "Policy()"), NAMES),
            after=[ids[one] for one in service.get("after", [])],
        )

    def refused(call: Callable[[], object]) -> str | None:
        try:
            call()
        except (TypeError, ValueError) as error:
            return str(error)
        return None

    def obey(signum: int, frame: FrameType | None) -> None:
        text = Path(DIRECTORY, "command").read_text()
        result = eval(text, {"manager": manager, "refused": refused, **NAMES, **ids})
        event("obeyed", result=result)

    signal.signal(signal.SIGUSR1, obey)
    run(manager)


if __name__ == "__main__":
    main()
