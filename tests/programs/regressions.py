"""Programs in situations that have gone wrong before: one function for each."""

import asyncio
import atexit
import errno
import functools
import multiprocessing
import os
import random
import resource
import signal
import subprocess
import sys
import threading
import time
import traceback
from multiprocessing import resource_tracker
from types import FrameType
from typing import Any

import cotyledon
from cotyledon import notices
from cotyledon.types import WorkerId
from tests.programs.support import (
    Reloader,
    Talker,
    event,
    gate,
    hang,
    hang_in_c,
    main,
    on_signal,
    run,
)


def dead_worker(service_id: Any, worker_id: int, code: int) -> None:
    event("dead", worker=worker_id, code=code)


# 1


def young(count: str) -> None:
    """The first workers get a TERM at the earliest instant that there is."""
    forks = 0

    def before() -> None:
        nonlocal forks
        forks += 1

    def in_child() -> None:
        if 1 < forks <= 1 + int(count):  # the first child is the guard
            os.kill(os.getpid(), signal.SIGTERM)

    os.register_at_fork(before=before, after_in_child=in_child)
    manager = cotyledon.ServiceManager()
    manager.register_hooks(on_dead_worker=dead_worker)
    manager.add(Talker, policy=cotyledon.Policy(backoff=cotyledon.Backoff(initial=0.01, cap=0.01)))
    run(manager)


def announced() -> None:
    """Each worker tells its pid while it is being forked."""
    forks = 0

    def before() -> None:
        nonlocal forks
        forks += 1

    def in_child() -> None:
        if forks > 1:  # the first child is the guard
            event("forked")

    os.register_at_fork(before=before, after_in_child=in_child)
    manager = cotyledon.ServiceManager()
    manager.register_hooks(on_dead_worker=dead_worker)
    manager.add(Talker, policy=cotyledon.Policy(backoff=cotyledon.Backoff(initial=0.01, cap=0.01)))
    run(manager)


# 2


def scaled(*counts: str) -> None:
    """At each USR1 the number of workers becomes the next one; USR2 tells the status.

    Several numbers with commas between them are asked for at one USR1.
    """
    manager = cotyledon.ServiceManager()
    manager.register_hooks(on_dead_worker=dead_worker)
    service = manager.add(Talker, workers=int(counts[0]))

    def status() -> None:
        (now,) = manager.status().services
        event(
            "status",
            wanted=now.wanted,
            ready=now.ready,
            workers=[(w.worker_id, w.state, w.starts) for w in now.workers],
        )

    def scale(steps: str) -> None:
        for step in steps.split(","):
            manager.reconfigure(service, int(step))

    on_signal(signal.SIGUSR1, *(functools.partial(scale, steps) for steps in counts[1:]))
    on_signal(signal.SIGUSR2, *[status] * 1000)
    run(manager)


# 3


class StuckWithChild(Talker):
    """Has a process of its own in its group, and hangs as it was told."""

    def __init__(self, worker_id: int, how: str) -> None:
        self.how = how
        super().__init__(worker_id)

    def run(self) -> None:
        child = subprocess.Popen(["sleep", "1000"])
        self.say("run", child=child.pid)
        if self.how == "c":
            hang_in_c()
        hang()

    def terminate(self) -> None:
        self.say("terminate")
        if self.how == "terminate":
            hang()


def stuck(how: str, timeout: str) -> None:
    """A worker that does not end when it is told to."""
    manager = cotyledon.ServiceManager(graceful_shutdown_timeout=float(timeout))
    manager.add(StuckWithChild, args=(how,))
    run(manager)


# 4


class Crasher(Talker):
    """Ends as soon as it has begun."""

    def __init__(self, worker_id: int) -> None:
        super().__init__(worker_id)
        raise RuntimeError("no")


def crash_loop() -> None:
    """One service that always fails next to one that works."""
    manager = cotyledon.ServiceManager()
    manager.register_hooks(on_dead_worker=dead_worker)
    manager.add(Crasher)
    manager.add(Talker)
    run(manager)


# 5


class Parent(Talker):
    """Has a child and a grandchild."""

    def run(self) -> None:
        shell = subprocess.Popen(
            ["/bin/sh", "-c", "sleep 1000 & echo $!; wait"], stdout=subprocess.PIPE, text=True
        )
        assert shell.stdout is not None
        self.say("run", family=[shell.pid, int(shell.stdout.readline())])


def family() -> None:
    """Workers with processes of their own."""
    manager = cotyledon.ServiceManager(graceful_shutdown_timeout=5)
    manager.add(Parent, workers=2)
    run(manager)


# 6


class SlowToBuild(Talker):
    """Is built when the test says so."""

    def __init__(self, worker_id: int) -> None:
        self.worker_id = WorkerId(worker_id)
        self.say("building", notify=os.environ.get("NOTIFY_SOCKET"))
        if worker_id:
            gate("build")
        super().__init__(worker_id)


def slow_to_build() -> None:
    """A worker whose service takes its time."""
    manager = cotyledon.ServiceManager()
    manager.add(SlowToBuild, workers=2)
    run(manager)


# 7


class SlowAgain(Talker):
    """Takes its time from the second time on."""

    def __init__(self, worker_id: int) -> None:
        marker = os.path.join(os.environ["PROGRAM_DIR"], f"built-{worker_id}")
        if os.path.exists(marker):
            event("building", worker=worker_id)
            gate("build")
        open(marker, "w").close()
        super().__init__(worker_id)


def rolling(workers: str) -> None:
    """A service without reload() whose replacements take their time."""
    manager = cotyledon.ServiceManager()
    manager.add(SlowAgain, workers=int(workers))
    run(manager)


# 8, 16


def start_method(method: str) -> None:
    """Workers that multiprocessing starts."""
    manager = cotyledon.ServiceManager(mp_context=multiprocessing.get_context(method))
    manager.add(Talker, workers=2)
    run(manager)


def early_hup() -> None:
    """A HUP while the manager makes ready to start workers through multiprocessing."""
    begin = resource_tracker.ensure_running

    def ensure_running() -> None:
        os.kill(os.getpid(), signal.SIGHUP)
        begin()

    resource_tracker.ensure_running = ensure_running
    manager = cotyledon.ServiceManager(mp_context=multiprocessing.get_context("spawn"))
    manager.add(Talker)

    def on_event(notice: Any) -> None:
        if isinstance(notice, notices.AllReady):
            event("all ready", generation=manager.status().services[0].generation)

    manager.register_hooks(on_event=on_event)
    run(manager)


# 9


def bad_terminate_hook(how: str, timeout: str) -> None:
    """An on_terminate hook that does not return as it should."""

    def hook() -> None:
        event("hook")
        if how == "exit":
            sys.exit(3)
        if how == "hang":
            hang()
        if how == "stubborn":
            while True:
                try:
                    hang()
                except Exception as error:
                    event("caught", error=repr(error))
        hang_in_c()

    manager = cotyledon.ServiceManager(graceful_shutdown_timeout=float(timeout))
    manager.register_hooks(on_terminate=hook)
    manager.add(Talker)
    run(manager)


def hanging_hook(kind: str, timeout: str) -> None:
    """A hook of the master that hangs, whatever for."""

    def hook(*args: Any) -> None:
        event("hook")
        hang()

    manager = cotyledon.ServiceManager(graceful_shutdown_timeout=float(timeout))
    hooks: dict[str, Any] = {kind: hook}
    manager.register_hooks(**hooks)
    manager.add(Talker, workers=2)
    run(manager)


def stubborn_hook(timeout: str) -> None:
    """A hook of the master that hangs, and swallows whatever is raised in it."""

    def hook() -> None:
        told = False
        while True:
            try:
                if not told:
                    told = True
                    event("hook")  # from here on, not before: what comes earlier is not swallowed
                hang()
            except BaseException:
                pass

    manager = cotyledon.ServiceManager(graceful_shutdown_timeout=float(timeout))
    manager.register_hooks(on_reload=hook)
    manager.add(Talker, workers=2)
    run(manager)


class Exiter(Talker):
    """Calls sys.exit() where it was told to."""

    def __init__(self, worker_id: int, where: str, how: str) -> None:
        self.where = where
        self.how = how
        super().__init__(worker_id)

    def leave(self, where: str) -> None:
        if self.where == where:
            if self.how == "nothing":
                sys.exit()
            if self.how == "raise":
                raise RuntimeError("no")
            if self.how == "base":
                raise BaseException("no")
            sys.exit(int(self.how) if self.how.isdigit() else self.how)

    def run(self) -> None:
        super().run()
        self.leave("run")

    def terminate(self) -> None:
        super().terminate()
        self.leave("terminate")


def exit_in_terminate(how: str) -> None:
    """terminate() ends by sys.exit()."""
    manager = cotyledon.ServiceManager()
    manager.register_hooks(on_dead_worker=dead_worker)
    manager.add(Exiter, args=("terminate", how))
    run(manager)


# 11


def thief(how: str) -> None:
    """The program collects whatever child has died."""

    def steal() -> None:
        while True:
            try:
                pid, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            event("stolen", child=pid)

    def handler(signum: int, frame: FrameType | None) -> None:
        steal()

    def loop() -> None:
        while True:
            try:
                event("stolen", child=os.waitpid(-1, 0)[0])
            except ChildProcessError:
                time.sleep(0.01)

    if how == "handler":
        signal.signal(signal.SIGCHLD, handler)
    elif how == "ignored":
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    else:
        threading.Thread(target=loop, daemon=True).start()
    manager = cotyledon.ServiceManager()
    manager.register_hooks(on_dead_worker=dead_worker)
    manager.add(Talker)
    run(manager)


# 12, 21


def many(workers: str) -> None:
    """Some workers."""
    manager = cotyledon.ServiceManager()
    manager.add(Reloader, workers=int(workers))
    run(manager)


# 13


class Manager(cotyledon.ServiceManager):
    """Has something to do after run()."""

    def run(self) -> None:
        try:
            super().run()
            event("after")
        finally:
            event("finally", alive=multiprocessing.active_children())


def overridden_run() -> None:
    """run() is overridden."""
    manager = Manager()
    manager.add(Talker)
    run(manager)


# 14


class Buffered(Talker):
    """Leaves things undelivered."""

    def __init__(self, worker_id: int, queue: Any) -> None:
        super().__init__(worker_id)
        self.queue = queue

    def run(self) -> None:
        print("printed by run")
        self.say("run")

    def terminate(self) -> None:
        print("printed by terminate")
        if self.queue is not None:
            for number in range(100):
                self.queue.put(number)


def buffered() -> None:
    """What a worker has printed and put on a queue arrives."""
    queue: Any = multiprocessing.get_context("fork").Queue()
    print("printed by the master")
    manager = cotyledon.ServiceManager()
    manager.add(Buffered, args=(queue,))
    run(manager)
    event("queue", items=[queue.get(timeout=10) for _ in range(100)])


def bad_stdout(timeout: str) -> None:
    """The standard output takes nothing."""
    manager = cotyledon.ServiceManager()
    manager.register_hooks(on_dead_worker=dead_worker)
    manager.add(Buffered, args=(None,), policy=cotyledon.Policy())
    Buffered.graceful_shutdown_timeout = float(timeout)
    run(manager)


# 15


def failing_fork() -> None:
    """From a signal on, a few forks fail."""
    failures = 0
    real = os.fork

    def fork() -> int:
        nonlocal failures
        if failures:
            failures -= 1
            event("fork failed")
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return real()

    os.fork = fork

    def begin() -> None:
        nonlocal failures
        failures = 3

    manager = cotyledon.ServiceManager()
    on_signal(signal.SIGUSR1, begin)
    manager.register_hooks(on_dead_worker=dead_worker)
    manager.add(Talker, policy=cotyledon.Policy(backoff=cotyledon.Backoff(initial=0.02, cap=0.1)))
    run(manager)


def full_table() -> None:
    """From a signal on, until the next one, the kernel refuses every fork."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NPROC)
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
    manager = cotyledon.ServiceManager()
    on_signal(
        signal.SIGUSR1,
        lambda: resource.setrlimit(resource.RLIMIT_NPROC, (1, hard)),
        lambda: resource.setrlimit(resource.RLIMIT_NPROC, (soft, hard)),
    )

    def status() -> None:
        (now,) = manager.status().services
        event("status", reasons=[death.reason for death in now.workers[0].deaths])

    on_signal(signal.SIGUSR2, *[status] * 1000)
    manager.add(Talker, policy=cotyledon.Policy(backoff=cotyledon.Backoff(initial=0.05, cap=0.2)))
    run(manager)


def closed_stderr() -> None:
    """The standard error output is closed."""
    os.close(2)
    sys.stderr.close = lambda: None  # type: ignore[method-assign]
    manager = cotyledon.ServiceManager()
    manager.add(Talker)
    run(manager)


def exiting_hook() -> None:
    """An on_dead_worker hook calls sys.exit()."""

    def hook(*args: Any) -> None:
        event("hook")
        sys.exit(5)

    manager = cotyledon.ServiceManager()
    manager.register_hooks(on_dead_worker=hook)
    manager.add(Talker)
    run(manager)


class Hanging(Talker):
    """Does not terminate."""

    def terminate(self) -> None:
        super().terminate()
        hang()


def lost_poll(how: str) -> None:
    """At a signal the descriptor that supervision waits on is closed."""

    def close() -> None:
        for name in os.listdir("/proc/self/fd"):
            try:
                if os.readlink(f"/proc/self/fd/{name}") == "anon_inode:[eventpoll]":
                    os.close(int(name))
            except OSError:
                pass

    manager = cotyledon.ServiceManager(graceful_shutdown_timeout=1)
    on_signal(signal.SIGUSR1, close)
    manager.add(Hanging if how == "hanging" else Talker, workers=2)
    try:
        run(manager)
    except Exception:
        traceback.print_exc()
        gate("exit")
        raise


# 16


class Helped(Reloader):
    """Has a helper process."""

    def run(self) -> None:
        helper = subprocess.Popen(["sleep", "1000"])
        self.say("run", helper=helper.pid)


def helped() -> None:
    """A worker with a helper process and a reload() of its own."""
    manager = cotyledon.ServiceManager()
    manager.add(Helped)
    run(manager)


# 17


def nothing() -> None:
    """What a child does that is terminated at once."""
    time.sleep(100)


def kill_the_young() -> list[int | None]:
    fork = multiprocessing.get_context("fork")
    codes = []
    for _ in range(40):
        child = fork.Process(target=nothing)
        child.start()
        child.terminate()
        child.join()
        codes.append(child.exitcode)
    return codes


class ParentOfTheYoung(Reloader):
    """Terminates children that have just begun."""

    def run(self) -> None:
        self.say("run", codes=kill_the_young())


def young_children() -> None:
    """The master and a worker terminate children that have just begun."""
    manager = cotyledon.ServiceManager()
    manager.register_hooks(on_reload=lambda: event("hook", codes=kill_the_young()))
    manager.register_hooks(on_dead_worker=dead_worker)
    manager.add(ParentOfTheYoung)
    event("before", codes=kill_the_young())
    run(manager)


# 18


def take_the_wakeup() -> None:
    _, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)


class Deaf(Reloader):
    """Takes the wakeup descriptor over."""

    def __init__(self, worker_id: int) -> None:
        take_the_wakeup()
        super().__init__(worker_id)


class Asyncio(Reloader):
    """Has an event loop that handles signals."""

    def __init__(self, worker_id: int) -> None:
        self.loop = asyncio.new_event_loop()
        self.loop.add_signal_handler(signal.SIGUSR1, self.say, "usr1")
        super().__init__(worker_id)


def deaf(how: str) -> None:
    """Somebody takes the wakeup descriptor over: in the workers, in a hook or in a handler."""

    async def with_signals() -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR2, int)

    manager = cotyledon.ServiceManager()
    if how == "hook":
        manager.register_hooks(on_reload=take_the_wakeup)
    if how == "asyncio":
        manager.register_hooks(on_reload=lambda: asyncio.run(with_signals()))
    manager.register_hooks(on_reload=lambda: event("hook"))
    if how == "handler":
        on_signal(signal.SIGUSR1, take_the_wakeup)
    manager.add({"worker": Deaf, "worker-asyncio": Asyncio}.get(how, Reloader))
    run(manager)


# 19


def late_signals() -> None:
    """The interpreter takes its time to end."""

    def late() -> None:
        event("atexit")
        gate("exit")

    atexit.register(late)
    manager = cotyledon.ServiceManager()
    manager.add(Talker)
    run(manager)
    gate("return")


# 20


class SlowReloader(Reloader):
    """Reloads when the test says so."""

    count = 0

    def reload(self) -> None:
        self.count += 1
        self.say("reload", count=self.count)
        gate(f"reload-{self.count}")
        self.say("reloaded", count=self.count)


def slow_reload() -> None:
    """A reload() that takes its time."""
    manager = cotyledon.ServiceManager()
    manager.add(SlowReloader)
    run(manager)


# 22


class StuckAnyhow(Talker):
    """Hangs in its own way."""

    ways = ("python-init", "c-init", "c-run", "hook", "c-hook", "stopped", "c-reload")

    def __init__(self, worker_id: int) -> None:
        self.way = self.ways[worker_id]
        super().__init__(worker_id)
        if self.way == "python-init":
            self.stuck()
            hang()
        if self.way == "c-init":
            self.stuck()
            hang_in_c()

    def stuck(self) -> None:
        self.say("stuck", way=self.way)

    def run(self) -> None:
        if self.way == "c-run":
            self.stuck()
            hang_in_c()
        if self.way == "stopped":
            self.stuck()
            os.kill(os.getpid(), signal.SIGSTOP)
        if self.way == "c-reload":
            os.kill(os.getpid(), signal.SIGHUP)

    def reload(self) -> None:
        self.stuck()
        hang_in_c()


def stuck_anyhow(timeout: str) -> None:
    """Workers that hang in every way."""

    def hook(service_id: Any, worker_id: int, service: Any) -> None:
        if service.way == "hook":
            service.stuck()
            hang()
        if service.way == "c-hook":
            service.stuck()
            hang_in_c()

    manager = cotyledon.ServiceManager(graceful_shutdown_timeout=float(timeout))
    manager.register_hooks(on_new_worker=hook)
    manager.add(StuckAnyhow, workers=len(StuckAnyhow.ways))
    run(manager)


class DeafToEverything(Talker):
    """Ignores each signal that can be ignored, and its terminate() hangs."""

    def __init__(self, worker_id: int) -> None:
        for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM, signal.SIGHUP):
            signal.signal(signum, signal.SIG_IGN)
        super().__init__(worker_id)

    def terminate(self) -> None:
        hang()


def deaf_to_everything(timeout: str) -> None:
    """A worker that ignores each signal that can be ignored."""
    manager = cotyledon.ServiceManager(graceful_shutdown_timeout=float(timeout))
    manager.add(DeafToEverything)
    run(manager)


# 23


def not_pickled(method: str, what: str) -> None:
    """Something that workers need does not pickle."""

    def local_hook(*args: Any) -> None:
        pass

    manager = cotyledon.ServiceManager(mp_context=multiprocessing.get_context(method))
    if what == "hook":
        manager.register_hooks(on_new_worker=local_hook)
        manager.add(Talker)
    elif what == "argument":
        manager.add(Talker, args=(lambda: None,))
    else:
        manager.add(lambda worker_id: Talker(worker_id))  # noqa: PLW0108
    run(manager)


def importing(method: str) -> None:
    """Workers import for a long time: see the end of the module."""
    manager = cotyledon.ServiceManager(
        graceful_shutdown_timeout=3, mp_context=multiprocessing.get_context(method)
    )
    manager.add(Talker, workers=2)
    run(manager)


random.seed(0)
if __name__ == "__main__":
    main(globals())
elif __name__ == "__mp_main__" and os.environ.get("IMPORT_SLOWLY"):
    event("importing")
    gate("import")
