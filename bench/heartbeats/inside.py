"""What all subjects have in common: the main job, the beats by hand, and the RPC server.

Responsible for doing the same in each subject, and for writing down when the driver has beaten.
Runs in the subject's process, on its interpreter; imports neither cotyledon nor oslo.service, and
nothing of the bench but the plan.
"""

import ctypes
import os
import sys
import threading
import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

from bench.heartbeats.plan import INTERVAL, MAIN, MEMBERSHIP, PAUSE, Task


def told() -> Task:
    """Return what this subject is to do."""
    return Task.from_json(sys.argv[1])


# --- the main job -------------------------------------------------------------------------


def compute(seconds: float) -> None:
    """Compute in pure Python."""
    end = time.monotonic() + seconds
    number = 1
    while time.monotonic() < end:
        for _ in range(1000):
            number = number * 1103515245 + 12345 & 0x7FFFFFFF


def release(seconds: float) -> None:
    """Block in C with the GIL released, as the library of a database does while it waits."""
    ctypes.CDLL(None).poll(None, 0, round(seconds * 1000))


def hold(seconds: float) -> None:
    """Block in C with the GIL held, as an extension does that has forgotten to release it."""
    ctypes.PyDLL(None).poll(None, 0, round(seconds * 1000))


JOBS: dict[str, Callable[[float], None]] = {
    "compute": compute,
    "release": release,
    "hold": hold,
    "sleep": time.sleep,  # that of eventlet, if it has replaced it before this is imported
}


def work(task: Task) -> None:
    """Do the main job: wait for the word, then a burst, a pause, a burst, until killed."""
    go = Path(task.folder, "go")
    while not go.exists():
        time.sleep(0.02)
    while True:
        if task.job:
            JOBS[task.job](task.burst)
        time.sleep(PAUSE)


# --- the beats ----------------------------------------------------------------------------


def record(task: Task) -> None:
    """Have tooz's drivers write down when the server has taken a beat; nothing else changes."""
    from tooz.drivers.etcd3gw import Etcd3Driver
    from tooz.drivers.redis import RedisDriver

    beats = os.open(Path(task.folder, "beats"), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    for driver in (Etcd3Driver, RedisDriver):
        setattr(driver, "heartbeat", _recorded(driver.heartbeat, beats))  # noqa: B010


def _recorded(heartbeat: Callable[[Any], Any], beats: int) -> Callable[[Any], Any]:
    @wraps(heartbeat)
    def beat(driver: Any) -> Any:
        found = heartbeat(driver)
        os.write(beats, b"%d\n" % time.monotonic_ns())
        return found

    return beat


def join(task: Task) -> Any:
    """Join the group by hand; return the coordinator."""
    from tooz.coordination import get_coordinator

    # The member is called as its group: redis takes a beat as one in each group of the member.
    name = task.group.encode()
    coordinator = get_coordinator(task.url, name, membership_timeout=MEMBERSHIP)
    coordinator.start()
    coordinator.join_group_create(name)
    return coordinator


def beat(coordinator: Any) -> None:
    """Beat by hand, as users write it: forever, and whatever happens."""
    while True:
        began = time.monotonic()
        try:
            coordinator.heartbeat()
        except Exception as error:
            print(f"no heartbeat: {error}", file=sys.stderr)
        time.sleep(max(0.0, INTERVAL - (time.monotonic() - began)))


def beat_in_thread(task: Task) -> None:
    """Join, and start a thread that beats."""
    threading.Thread(target=beat, args=(join(task),), daemon=True).start()


# --- RPC ----------------------------------------------------------------------------------


class Pinged:
    """The endpoint."""

    def ping(self, context: object) -> int:
        """Return which process has answered."""
        return os.getpid()


def serve(task: Task, where: str = MAIN) -> Any:
    """Start an RPC server with the settings that oslo.messaging has; return it."""
    import oslo_messaging
    from oslo_config import cfg

    # oslo.messaging looks for some of its options nowhere else.
    cfg.CONF([], project="heartbeats", default_config_files=[])
    server = oslo_messaging.get_rpc_server(
        oslo_messaging.get_rpc_transport(cfg.CONF, url=task.broker),
        oslo_messaging.Target(topic=f"{task.group}-{where}", server="one"),
        [Pinged()],
    )
    declare(task, where)
    server.start()
    return server


def declare(task: Task, where: str) -> None:
    """Write down which process the RPC server is in: the broker names connections so."""
    with open(Path(task.folder, "rpc"), "a") as file:
        file.write(f"{where} {os.getpid()}\n")
