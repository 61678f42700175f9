"""One worker without a manager: what it writes and sends to a master that only looks."""

import errno
import multiprocessing
import os
import re
import resource
import select
import signal
import sys
import threading
import time
import uuid

import cotyledon
from cotyledon._posix import channel, stacks
from cotyledon._posix.fork import FORKS
from cotyledon._posix.launch import ContextLauncher, ForkLauncher, Launcher, Order
from cotyledon._posix.limits import Descriptors
from cotyledon._posix.table import Table
from cotyledon._worker.runtime import Assignment, main_forked, main_spawned
from cotyledon.types import ServiceId, WorkerId
from tests.programs.support import Talker, event, gate, hang, hang_in_c, main, on_signal

# --- services -----------------------------------------------------------------------------


class Sleeper(Talker):
    """Waits in Python, in two threads."""

    def run(self) -> None:
        threading.Thread(target=self.wait_elsewhere, daemon=True).start()
        self.say("run")
        hang()

    def wait_elsewhere(self) -> None:
        hang()


class Stuck(Talker):
    """Holds the GIL in C."""

    def run(self) -> None:
        threading.Thread(target=self.wait_elsewhere, daemon=True).start()
        self.say("run")
        hang_in_c()

    def wait_elsewhere(self) -> None:
        hang()


class Matching(Talker):
    """Holds the GIL in a regular expression."""

    def run(self) -> None:
        threading.Thread(target=self.wait_elsewhere, daemon=True).start()
        self.say("run")
        re.match(r"(a+)+$", "a" * 60 + "b")

    def wait_elsewhere(self) -> None:
        hang()


class Silenced(Sleeper):
    """Has a standard error that nobody reads."""

    def run(self) -> None:
        reader, writer = os.pipe2(os.O_NONBLOCK)
        try:
            while True:
                os.write(writer, b"x" * 4096)
        except BlockingIOError:
            pass
        os.set_blocking(writer, True)
        os.dup2(writer, 2)
        self.reader = reader
        super().run()


class StuckInInit(Talker):
    """Does not get built."""

    def __init__(self, worker_id: int) -> None:
        super().__init__(worker_id)
        hang_in_c()


class Forking(Talker):
    """Forks a child of its own, which beats and says that it is ready."""

    def run(self) -> None:
        pid = os.fork()
        if not pid:
            self.heartbeat()
            self.ready()
            self.extend(1)
            os._exit(0)
        os.waitpid(pid, 0)
        self.say("run")


class Beater(Talker):
    """Beats when it is told to, in a thread."""

    def run(self) -> None:
        self.say("run")
        for number in range(2):
            gate(f"beat-{number}")
            before = time.monotonic_ns()
            self.heartbeat()
            self.say("beaten", after=before, before=time.monotonic_ns())


class Hidden(Talker):
    """Uses the names for itself; never calls the base class."""

    ready = True  # type: ignore[assignment]
    heartbeat = None  # type: ignore[assignment]
    extend = ()  # type: ignore[assignment]
    status = "idle"  # type: ignore[assignment]

    def __init__(self, worker_id: int) -> None:
        self.worker_id = WorkerId(worker_id)
        self._lock = self.queue = self.channel = None


class Duck:
    """Is no Service at all."""

    def __init__(self, worker_id: int) -> None:
        pass

    def run(self) -> None:
        event("run", nofile=resource.getrlimit(resource.RLIMIT_NOFILE))

    def terminate(self) -> None:
        event("terminate")

    def reload(self) -> None:
        pass


class Telling(Talker):
    """Says that it is ready when it may, twice."""

    def run(self) -> None:
        self.say("run")
        gate("ready")
        self.ready()
        self.ready()
        self.extend(5)
        self.say("told")


class TellingInInit(Talker):
    """Says so before it is built, under a name that it takes later."""

    def __init__(self, worker_id: int) -> None:
        self.extend(1.5)
        self.ready()
        super().__init__(worker_id)
        self.name = "later"
        gate("built")


class TellingElsewhere(Talker):
    """Says so in a thread of its own."""

    def __init__(self, worker_id: int) -> None:
        super().__init__(worker_id)
        threading.Thread(target=self.work, daemon=True).start()

    def work(self) -> None:
        self.extend("2m")  # type: ignore[arg-type]
        gate("ready")
        self.ready()


class Eager(Talker):
    """Asks for more time than the channel has room for, then says that it is ready."""

    def run(self) -> None:
        for _ in range(5000):
            self.extend(1)
        self.say("asked")
        self.ready()
        self.say("told")


class AsyncBeater(cotyledon.AsyncService):
    """Lets its loop beat; blocks it when it is told to."""

    async def run(self) -> None:
        event("run", worker=self.worker_id)

    async def reload(self) -> None:
        event("blocked", now=time.monotonic_ns())
        gate("unblock")


def refuse_flags(pidfd: int, signum: int, siginfo: None = None, flags: int = 0) -> None:
    """Behave as kernels that know no flags."""
    if flags:
        raise OSError(errno.EINVAL, "no flags")
    _send(pidfd, signum)


_send = signal.pidfd_send_signal

# --- the master ---------------------------------------------------------------------------


def lone(method: str, service: str, *options: str) -> None:
    """Start a worker, and tell all that it says; USR1: its stacks, USR2: its heartbeat."""
    table = Table()
    if "low" in options:
        resource.setrlimit(resource.RLIMIT_NOFILE, (100, 400))
    limits = Descriptors()
    limits.raise_limit()
    event("master", nofile=resource.getrlimit(resource.RLIMIT_NOFILE))
    launcher: Launcher
    if method == "fork":
        launcher = ForkLauncher(main_forked, table, limits)
    else:
        context = multiprocessing.get_context(method)
        launcher = ContextLauncher(context, main_spawned, table, limits)
    assignment = Assignment(
        globals()[service],
        (),
        {},
        ServiceId(uuid.uuid4()),
        WorkerId(0),
        "lone",
        "ties",
        0,
        (),
        told="told" in options,
        stacks="stacks" in options,
        watchdog=0.09 if "watchdog" in options else None,
    )
    for _ in range(1000):  # not the first page
        place = table.reserve()
    order = Order(assignment, place, 0)
    with FORKS.lock:
        launcher.launch([order])
    process = order.process
    if process is None:
        raise RuntimeError("it has not started") from order.error
    FORKS.own(process.pidfd)
    event("launched", child=process.pid)
    wishes: list[str] = ["pause"] if "paused" in options else []
    if "old kernel" in options:
        signal.pidfd_send_signal = refuse_flags

    def ask() -> None:
        stacks.ask(process)
        end = time.monotonic() + 10
        wishes.append("ask")
        asked = wishes.count("ask")
        # The main thread's stack comes last: it is the oldest. This is the bottom of it.
        while stacks.read(order.stacks_fd).count("in <module>") < asked and time.monotonic() < end:
            select.select([process.pidfd], [], [], 0.01)
        event("stacks", text=stacks.read(order.stacks_fd))

    def beat() -> None:
        event("beat", instant=table.beat(place), now=time.monotonic_ns())

    def reload() -> None:
        channel.send(order.channel, channel.ReloadMessage(1))

    on_signal(signal.SIGUSR1, *[ask] * 9)
    on_signal(signal.SIGUSR2, *[beat] * 999)
    on_signal(signal.SIGHUP, *[reload] * 9)
    on_signal(signal.SIGCONT, lambda: wishes.append("read"))
    on_signal(signal.SIGTERM, lambda: wishes.append("hang up"))
    event("listening")
    listening = True
    while True:
        if listening and ("pause" not in wishes or "read" in wishes):
            for message in channel.receive(order.channel) or ():
                event("message", kind=type(message).__name__, fields=list(message))
        if listening and "hang up" in wishes:
            listening = False
            FORKS.disown(order.channel)
            os.close(order.channel)
        if select.select([process.pidfd], [], [], 0.02)[0] and process.reap():
            event("ended", code=process.returncode)
            sys.exit(0)


if __name__ == "__main__":
    main(globals())
