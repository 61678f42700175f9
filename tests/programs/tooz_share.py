"""A manager whose workers share sixty keys with others: ``tooz_share.py URL HOST [OPTION=...]``.

Each worker tells which keys it owns whenever that may have changed.
"""

import logging
import multiprocessing
import os
import signal
import sys
import threading
from types import FrameType
from typing import Any

import cotyledon
from cotyledon.contrib import tooz
from cotyledon.types import WorkerId
from tests.programs.support import DIRECTORY, event, run

KEYS = [f"key {number}" for number in range(60)]


class Poller(cotyledon.Service):
    """Says what it owns."""

    says = "owns"

    def __init__(self, worker_id: int, share: tooz.Share) -> None:
        super().__init__(WorkerId(worker_id))
        self.partition = share.partition(worker_id)
        self.over = threading.Event()
        event("init", host=share.host, worker=worker_id, member=self.partition.member)
        self.host = share.host

    def run(self) -> None:
        self.partition.on_change(self.say)
        self.say()
        self.over.wait()

    def say(self) -> None:
        owned = [number for number, key in enumerate(KEYS) if self.partition.owns(key)]
        event(self.says, host=self.host, worker=self.worker_id, keys=owned)

    def terminate(self) -> None:
        self.over.set()


class Other(Poller):
    """Another service of the same group."""

    name = "Other, one/two"
    says = "others own"


def on_event(notice: Any) -> None:
    """Tell what the beat says of itself."""
    if isinstance(notice, cotyledon.notices.WorkerStatus):
        event("status", text=notice.status, service=notice.name)
    if isinstance(notice, cotyledon.notices.WorkerReady | cotyledon.notices.WorkerDied):
        event(type(notice).__name__, service=notice.name, worker=notice.worker_id)


def main(url: str, host: str, *options: str) -> None:
    """Run the manager."""
    logging.basicConfig(level=logging.INFO)
    given: dict[str, Any] = dict(option.split("=", 1) for option in options)
    method = given.pop("method", "fork")
    workers = int(given.pop("workers", 3))
    others = int(given.pop("others", 0))
    policy = eval(
        given.pop("policy", "None"), {name: getattr(cotyledon, name) for name in cotyledon.__all__}
    )
    manager = cotyledon.ServiceManager(graceful_shutdown_timeout=20)
    if method != "fork":
        manager.mp_context = multiprocessing.get_context(method)
    manager.register_hooks(on_event=on_event)
    on_lost = given.pop("on_lost", "stop")
    given = {name: float(value) for name, value in {"membership_timeout": 3, **given}.items()}
    group = tooz.Group(manager, url, "pollers", host=host, on_lost=on_lost, **given)
    poller = group.add(Poller, workers=workers, policy=policy)
    if others:
        group.add(Other, workers=others)

    def scale(signum: int, frame: FrameType | None) -> None:
        with open(os.path.join(DIRECTORY, "scale")) as wanted:
            manager.reconfigure(poller, int(wanted.read()))

    signal.signal(signal.SIGUSR1, scale)
    run(manager)


if __name__ == "__main__":
    main(*sys.argv[1:])
