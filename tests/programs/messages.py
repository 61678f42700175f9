"""Servers of oslo.messaging under supervision, and their clients, as the test wants them.

The first argument is the scenario, the others are its arguments; ``serve`` is given JSON. The
topic of all of them is the environment's ``TOPIC``.
"""

import json
import os
import sys
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cotyledon
from cotyledon.contrib.oslo_messaging import NotificationService, RPCService
from tests.programs.support import DIRECTORY, event, gate, main, run

warnings.simplefilter("ignore")  # of libraries, about eventlet

TOPIC = os.environ["TOPIC"]


class Calls:
    """What can be called."""

    def echo(self, context: dict[str, Any], n: int) -> int:
        event("echo", n=n)
        return n

    def wait(self, context: dict[str, Any], n: int) -> int:
        event("waits", n=n)
        gate("calls")
        event("waited", n=n)
        return n

    def fail(self, context: dict[str, Any], text: str) -> None:
        raise ValueError(text)

    def leave(self, context: dict[str, Any]) -> None:
        sys.exit(7)

    def pid(self, context: dict[str, Any]) -> int:
        return os.getpid()


class Notes:
    """What is notified: each is told, and done once the test allows it."""

    def info(self, context: Any, publisher: str, kind: str, payload: Any, metadata: Any) -> Any:
        event("note", n=payload, kind=kind)
        if kind == "wait":
            gate("notes")
        if kind == "busy":
            end = time.monotonic() + 9
            while time.monotonic() < end:
                pass
        if kind == "again" and not first(payload):
            return "requeue"
        if kind == "fail" and not first(payload):
            raise ValueError("not yet")
        if kind == "leave" and not first(payload):
            sys.exit(7)
        event("noted", n=payload)
        return None


def first(n: int) -> bool:
    """Tell whether this was seen before, by any worker."""
    try:
        Path(DIRECTORY, f"seen-{n}").touch(exist_ok=False)
    except FileExistsError:
        return True
    return False


def serve(text: str) -> None:
    """Serve: ``calls`` or ``notes`` are arguments of the services, as JSON."""
    wanted = json.loads(text)
    for kind in ("calls", "notes"):
        if wanted.get(kind, {}).pop("own_conf", False):
            from oslo_config import cfg

            wanted[kind]["conf"] = cfg.ConfigOpts()
    manager = cotyledon.ServiceManager(**wanted.get("manager", {}))
    if "calls" in wanted:
        kwargs = {"topic": TOPIC, "endpoints": [Calls], **wanted["calls"]}
        manager.add(RPCService, workers=wanted["workers"], kwargs=kwargs)
    if "notes" in wanted:
        kwargs = {"topics": [TOPIC], "endpoints": [Notes], **wanted["notes"]}
        manager.add(NotificationService, workers=wanted["workers"], kwargs=kwargs)
    manager.register_hooks(on_event=lambda notice: event(type(notice).__name__))
    event("up", oslo="oslo_messaging" in sys.modules)
    run(manager)


def _client(url: str, timeout: float) -> Any:
    import oslo_messaging
    from oslo_config import cfg

    transport = oslo_messaging.get_rpc_transport(cfg.CONF, url)
    target = oslo_messaging.Target(topic=TOPIC, server=os.environ.get("SERVER"))
    return oslo_messaging.get_rpc_client(transport, target, timeout=timeout)


def call(url: str, method: str, arguments: str, timeout: str = "20") -> None:
    """Call once, and tell the answer or the error."""
    client = _client(url, float(timeout))
    try:
        event("answer", value=client.call({}, method, **json.loads(arguments)))
    except Exception as error:
        event("error", kind=type(error).__name__, text=str(error))
    os._exit(0)


def cast(url: str, method: str, count: str) -> None:
    """Cast so many, and tell that they are sent."""
    client = _client(url, 20)
    for n in range(int(count)):
        client.cast({}, method, n=n)
    event("sent")
    os._exit(0)


def stream(url: str, threads: str, timeout: str = "20") -> None:
    """Call without a pause until the test says enough; tell how many were answered and failed."""
    client = _client(url, float(timeout))
    enough = threading.Event()
    failures: list[str] = []

    def one(start: int) -> int:
        n = start
        while not enough.is_set():
            try:
                answer = client.call({}, "echo", n=n)
                if answer != n:
                    failures.append(f"{answer} for {n}")
            except Exception as error:
                failures.append(repr(error))
            n += 1
        return n - start

    with ThreadPoolExecutor(int(threads)) as pool:
        counts = [pool.submit(one, 1_000_000 * k) for k in range(int(threads))]
        event("streaming")
        gate("enough")
        enough.set()
        event("streamed", calls=sum(c.result() for c in counts), failures=failures)
    os._exit(0)


def notify(url: str, kind: str, count: str, start: str = "0") -> None:
    """Send so many notifications; tell of each that the broker has confirmed."""
    import oslo_messaging
    from oslo_config import cfg

    transport = oslo_messaging.get_notification_transport(cfg.CONF, url)
    notifier = oslo_messaging.Notifier(
        transport, "tests", driver="messagingv2", topics=[TOPIC], retry=-1
    )
    for n in range(int(start), int(start) + int(count)):
        notifier.info({}, kind, n)
        event("sent", n=n)
    event("all_sent")
    os._exit(0)


if __name__ == "__main__":
    main({"serve": serve, "call": call, "cast": cast, "stream": stream, "notify": notify})
