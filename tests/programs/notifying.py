"""Programs that an init system runs: what they tell it depends on what their workers do."""

import os
import signal
import socket
import subprocess
import sys
import threading
from typing import Any

import cotyledon
from cotyledon import Policy, Rollout, Start
from tests.programs.support import Reloader, Talker, event, gate, hang, main, run

VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID")
"""What the init system gives to the program."""


class Web(Talker):
    """Waits until it is told to end."""

    name = "Web"

    def __init__(self, worker_id: int) -> None:
        super().__init__(worker_id)
        self.over = threading.Event()
        self.say("variables", found=[name for name in VARIABLES if name in os.environ])

    def run(self) -> None:
        self.say("run")
        self.over.wait()

    def terminate(self) -> None:
        self.say("terminate")
        self.over.set()


class SlowToBuild(Web):
    name = "SlowToBuild"
    policy = Policy(start=Start(timeout=600))

    def __init__(self, worker_id: int) -> None:
        super().__init__(worker_id)
        gate(f"build-{worker_id}")


class SlowToEnd(Web):
    name = "SlowToEnd"

    def terminate(self) -> None:
        self.say("terminate")
        gate("end")
        self.over.set()


class SlowToReload(Reloader):
    name = "SlowToReload"
    policy = Policy(rollout=Rollout(progress_deadline=1000))

    def reload(self) -> None:
        self.say("reload")
        gate("reload")


class NeverReloads(Reloader):
    name = "NeverReloads"
    policy = Policy(rollout=Rollout(progress_deadline=0.3))

    def reload(self) -> None:
        self.say("reload")
        hang()


class Mailer(Web):
    """Dies as soon as it is ready, except for the first time."""

    name = "Mailer"
    policy = Policy(backoff=cotyledon.Backoff(initial=12, jitter=0))

    def run(self) -> None:
        self.say("run")
        gate(f"die-{self.worker_id}")
        sys.exit(3)


class Helper(Web):
    """Has a process that has left its group."""

    name = "Helper"

    def run(self) -> None:
        command = ["sleep", "1000"]
        helper = subprocess.Popen(command, start_new_session=True)
        self.say("run", helper=helper.pid)
        self.over.wait()


class Greeter(Web):
    """Says hello to who connects."""

    name = "Greeter"

    def __init__(self, worker_id: int, listener: socket.socket) -> None:
        super().__init__(worker_id)
        self.listener = listener

    def run(self) -> None:
        self.say("run")
        while True:
            connection, _ = self.listener.accept()
            with connection:
                connection.sendall(b"hello")

    def terminate(self) -> None:
        os._exit(0)


class Misconfigured(Web):
    name = "Misconfigured"

    def __init__(self, worker_id: int) -> None:
        super().__init__(worker_id)
        sys.exit(78)


def wait_in_hook() -> None:
    event("hook")
    gate("hook")


def hang_in_hook() -> None:
    event("stuck")
    hang()


def several(*kinds: str) -> None:
    """Run services, each given as NAME*WORKERS; ``hook`` and ``grace=S`` are no services."""
    settings: dict[str, Any] = {}
    hooks: dict[str, Any] = {}
    services = []
    for kind in kinds:
        if kind == "hook":
            hooks["on_reload"] = wait_in_hook
        elif kind == "stuck":
            hooks["on_reload"] = hang_in_hook
        elif kind.startswith("grace="):
            settings["graceful_shutdown_timeout"] = float(kind.partition("=")[2])
        else:
            services.append(kind)
    event("program", found=[name for name in VARIABLES if name in os.environ])
    manager = cotyledon.ServiceManager(**settings)
    manager.register_hooks(**hooks)
    for service in services:
        name, _, workers = service.partition("*")
        manager.add(globals()[name], int(workers or 1))
    run(manager)


def odd_name() -> None:
    """A service whose name would be a line of its own."""
    manager = cotyledon.ServiceManager()
    manager.add(type("a\nWATCHDOG=trigger", (Web,), {"name": "a\nWATCHDOG=trigger" + "x" * 200}))
    run(manager)


def many() -> None:
    """More services than a line names, the last of them paused."""
    manager = cotyledon.ServiceManager()
    ids = [manager.add(type(f"Service{n}", (Web,), {"name": f"Service{n}"})) for n in range(14)]
    manager.reconfigure(ids[-1], 0)
    run(manager)


def reload_one() -> None:
    """USR1 reloads the first service, USR2 restarts it."""
    manager = cotyledon.ServiceManager()
    first = manager.add(SlowToReload)
    manager.add(Web)
    signal.signal(signal.SIGUSR1, lambda *_: manager.reload(first))
    signal.signal(signal.SIGUSR2, lambda *_: manager.restart(first))
    run(manager)


def activated() -> None:
    """Serve the socket that a systemd has opened."""
    assert os.environ["LISTEN_PID"] == str(os.getpid())
    assert os.environ["LISTEN_FDS"] == "1"
    listener = socket.socket(fileno=3)
    manager = cotyledon.ServiceManager()
    manager.add(Greeter, workers=2, args=(listener,))
    run(manager)


if __name__ == "__main__":
    main(
        {
            "several": several,
            "odd_name": odd_name,
            "many": many,
            "reload_one": reload_one,
            "activated": activated,
        }
    )
