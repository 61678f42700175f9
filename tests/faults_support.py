"""Masters to be tormented: programs with awkward workers, and the means to watch them die.

Started as a script this file is the program under test; imported it is the test's side.
Standard output is the pipe of events, and, as every process but the guard inherits it, its end
of file tells that they are all gone. What else belongs to a program is found in ``/proc`` by a
mark that its environment and its titles carry.
"""

import asyncio
import ctypes
import functools
import json
import os
import random
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import cotyledon
import cotyledon.policy
from cotyledon import AsyncService, Backoff, Policy, RunAs, Service, ServiceManager

MARK = "COTYLEDON_FAULTS_MARK"
SOURCES = Path(cotyledon.__file__).resolve().parent.parent
TIMEOUT = 20.0
"""Seconds to wait for what takes a moment on an idle machine."""


# --- the program under test ---------------------------------------------------------------


def tell(*words: object) -> None:
    """Write one event; a line is short enough to be written as a whole."""
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def stick() -> None:
    """Hold the interpreter's lock for ever, deaf to every signal that can be handled."""
    lib = ctypes.PyDLL(None)
    mutex = ctypes.create_string_buffer(128)
    lib.pthread_mutex_lock(mutex)
    lib.pthread_mutex_lock(mutex)


def offspring(*, deaf: bool) -> None:
    """Fork a grandchild of the master that does nothing for ever."""
    if os.fork():
        return
    try:
        if deaf:
            for signum in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
                signal.signal(signum, signal.SIG_IGN)
        while True:
            signal.pause()
    finally:
        os._exit(0)


class Plain(Service):
    """Waits."""

    def __init__(self, worker_id: Any) -> None:
        super().__init__(worker_id)
        tell("built", os.getpid())

    def run(self) -> None:
        threading.Event().wait()


class Parent(Plain):
    """Has a child of its own."""

    def __init__(self, worker_id: Any) -> None:
        offspring(deaf=False)
        super().__init__(worker_id)


class DeafParent(Plain):
    """Has a child that ignores TERM."""

    def __init__(self, worker_id: Any) -> None:
        offspring(deaf=True)
        super().__init__(worker_id)


class Stopped(Parent):
    """Stops itself as SIGSTOP does."""

    def run(self) -> None:
        os.kill(os.getpid(), signal.SIGSTOP)


class Stuck(DeafParent):
    """Is stuck in C code with the interpreter's lock held."""

    def run(self) -> None:
        stick()


class Hanging(DeafParent):
    """Never gets out of its constructor."""

    def __init__(self, worker_id: Any) -> None:
        super().__init__(worker_id)
        threading.Event().wait()


class Slow(Parent):
    """Takes for ever to terminate."""

    def terminate(self) -> None:
        threading.Event().wait()


class Reloading(Plain):
    """Has a reload() of its own."""

    def reload(self) -> None:
        pass


class Looping(AsyncService):
    """Waits in an event loop."""

    def __init__(self, worker_id: Any) -> None:
        super().__init__(worker_id)
        tell("built", os.getpid())

    async def run(self) -> None:
        await asyncio.Event().wait()


class DeafLooping(Looping):
    """Ignores that it is cancelled, and has a child that ignores TERM."""

    def __init__(self, worker_id: Any) -> None:
        offspring(deaf=True)
        super().__init__(worker_id)

    async def run(self) -> None:
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                pass


class Blocked(Looping):
    """Blocks its event loop."""

    async def run(self) -> None:
        threading.Event().wait()


class Humble(Parent):
    """Runs as somebody else, where the tests may do that, and with less than its master."""


SERVICES: dict[str, type[Service | AsyncService]] = {
    kind.__name__: kind
    for kind in (
        *(Plain, Parent, DeafParent, Stopped, Stuck, Hanging, Slow, Reloading),
        *(Looping, DeafLooping, Blocked, Humble),
    )
}
PATIENT = Policy(backoff=Backoff(initial=0, cap=0))
"""No back-off: the test, not the policy, decides how often workers die."""


def policy_of(kind: str) -> Policy:
    """Return the policy of a kind of service."""
    if kind != "Humble":
        return PATIENT
    user = "nobody" if os.geteuid() == 0 else None
    run_as = RunAs(user=user, nice=1, umask=0o077, directory="/", limits={"core": 0})
    return PATIENT.replace(run_as=run_as)


def report(manager: ServiceManager, *_: object) -> None:
    """Tell how the manager is."""
    services = manager.status().services
    state = {
        "ready": all(
            s.ready >= s.wanted and not s.reloading and not any(w.second_pid for w in s.workers)
            for s in services
        ),
        "alive": [
            pid for s in services for w in s.workers for pid in (w.pid, w.second_pid) if pid
        ],
        "wanted": sum(s.wanted for s in services),
        "reloading": [s.reloading for s in services],
    }
    tell("status", json.dumps(state))


def program(options: dict[str, Any]) -> None:
    """Be the master that the options describe."""
    sys.argv[0] = os.environ[MARK]
    context = None
    if options["method"] != "fork":
        import multiprocessing

        context = multiprocessing.get_context(options["method"])
    manager = ServiceManager(graceful_shutdown_timeout=options["grace"], mp_context=context)
    tell("constructed")
    ids = [
        manager.add(SERVICES[kind], workers, policy=policy_of(kind))
        for kind, workers in options["services"]
    ]
    rng = random.Random(options["seed"])

    def rescale(*_: object) -> None:
        manager.reconfigure(rng.choice(ids), rng.randint(1, 5))

    signal.signal(signal.SIGUSR1, functools.partial(report, manager))
    signal.signal(signal.SIGUSR2, rescale)
    tell("armed")
    manager.run()


class Actor(Service):
    """Does what its behaviour says, as the workers of the simulation do."""

    calm = False  # set in the master: workers forked from then on have no faults

    def __init__(self, worker_id: Any, behaviour: dict[str, Any]) -> None:
        super().__init__(worker_id)
        self.rng = random.Random()
        self.behaviour = behaviour
        self.faults = {} if Actor.calm else behaviour["faults"]
        self.graceful_shutdown_timeout = behaviour["grace"]
        chance = self.rng.random()
        threading.Thread(target=self.live, daemon=True).start()
        self.wait(behaviour["start"])
        if chance < self.faults.get("start_fails", 0):
            sys.exit(1)
        if chance > 1 - self.faults.get("start_hangs", 0):
            threading.Event().wait()

    def wait(self, most: float) -> None:
        threading.Event().wait(self.rng.random() * most)

    def live(self) -> None:
        """Beat, for ever or for a while."""
        mute = self.faults.get("mute")
        end = time.monotonic() + (self.rng.expovariate(1 / mute) if mute else 1e9)
        while time.monotonic() < end:
            self.heartbeat()
            threading.Event().wait(0.05)

    def run(self) -> None:
        self.ready()
        if self.faults.get("life"):
            threading.Event().wait(self.rng.expovariate(1 / self.faults["life"]))
            status = self.rng.choice((-11, -9, 0, 1, 2))
            if status < 0:
                os.kill(os.getpid(), -status)
            os._exit(status)

    def terminate(self) -> None:
        if self.rng.random() < self.faults.get("deaf", 0):
            threading.Event().wait()
        self.wait(self.behaviour["stop"])


class ReloadingActor(Actor):
    """Has a reload() of its own."""

    def reload(self) -> None:
        self.wait(self.behaviour["reload"])


def keep_early_events(core: Any) -> None:
    """Put into the record what is recorded before the first step, too."""

    def record(now: int, event: Any) -> None:
        core.trace.append((now, (event,), ()))
        type(core).record(core, now, event)

    def step(*args: Any) -> Any:
        del core.record, core.step
        return core.step(*args)

    core.record, core.step = record, step


def scenario(options: dict[str, Any]) -> None:
    """Be a master whose core's every step is kept, obey commands, and save the record."""
    import pickle
    import resource

    sys.argv[0] = os.environ[MARK]
    manager = ServiceManager(
        graceful_shutdown_timeout=options["grace"], wait_interval=options["interval"]
    )
    core = manager._core
    core.trace = deque()
    keep_early_events(core)
    ids = []
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)

    def add(behaviour: dict[str, Any], workers: int, policy: str | None) -> None:
        kind = Actor if behaviour["reload"] is None else ReloadingActor
        # A class is known before its first worker is ready, a factory is not.
        made = kind if behaviour["known"] else functools.partial(kind)
        ids.append(
            manager.add(
                made,
                workers,
                args=(behaviour,),
                policy=eval(policy, vars(cotyledon.policy)) if policy else None,
            )
        )

    def obey(*_: object) -> None:
        try:
            commands = os.read(0, 65536).decode().splitlines()
        except BlockingIOError:
            return
        for command in commands:
            match json.loads(command):
                case ["add", *what]:
                    add(*what)
                case ["scale", number, workers]:
                    manager.reconfigure(ids[number], workers)
                case ["reload", number]:
                    manager.reload(ids[number])
                case ["restart", number, worker]:
                    try:
                        manager.restart(ids[number], worker)
                    except ValueError:
                        pass  # it has no worker yet
                case ["grace", seconds]:
                    manager.graceful_shutdown_timeout = seconds
                case ["forks fail"]:
                    # New descriptors are refused, so no worker can be started.
                    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
                    resource.setrlimit(resource.RLIMIT_NOFILE, (5, hard))
                case ["forks work"]:
                    resource.setrlimit(resource.RLIMIT_NOFILE, limit)
                case ["calm"]:
                    resource.setrlimit(resource.RLIMIT_NOFILE, limit)
                    Actor.calm = True
            tell("obeyed")

    for service in options["services"]:
        add(*service)
    os.set_blocking(0, False)
    signal.signal(signal.SIGUSR1, functools.partial(report, manager))
    signal.signal(signal.SIGUSR2, obey)
    tell("armed")
    try:
        manager.run()
    finally:
        if os.getpid() == manager._pid:
            Path(options["record"]).write_bytes(pickle.dumps(list(core.trace)))


# --- the test's side ----------------------------------------------------------------------


class Process(NamedTuple):
    """One process of a program, zombies apart."""

    pid: int
    title: str


class Master:
    """A program, started now.

    Args:
        services: pairs of the name of a service of this module and a number of workers.
        grace: the manager's graceful timeout.
        method: the start method.
        seed: of what the program does by chance.
        more: further options; with ``record`` it runs :func:`scenario`.
    """

    def __init__(
        self,
        services: Iterable[tuple[str, int]] = (("Plain", 3),),
        *,
        grace: float = 10,
        method: str = "fork",
        seed: int = 0,
        more: dict[str, Any] | None = None,
    ) -> None:
        self.mark = f"faults-{uuid.uuid4().hex}"
        options = {"services": list(services), "grace": grace, "method": method, "seed": seed}
        options |= more or {}
        self._events, theirs = os.pipe2(os.O_CLOEXEC)
        self._buffer = b""
        self._lines: list[str] = []
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed in __exit__
        self._armed = False
        self.popen = subprocess.Popen(
            [sys.executable, str(Path(__file__).resolve()), json.dumps(options)],
            stdin=subprocess.PIPE,
            stdout=theirs,
            stderr=self._errors,
            env={**os.environ, "PYTHONPATH": str(SOURCES), MARK: self.mark},
            start_new_session=True,
        )
        os.close(theirs)
        self.pid = self.popen.pid
        self.pidfd = os.pidfd_open(self.pid)

    def __enter__(self) -> "Master":
        return self

    def __exit__(self, *_: object) -> None:
        from tests.harness import reap_orphans  # which the program has not, and does not need

        for process in self.left():
            kill(process.pid)
        self.popen.wait()
        reap_orphans()
        if self.popen.stdin is not None:
            self.popen.stdin.close()
        os.close(self.pidfd)
        os.close(self._events)
        self._errors.close()

    # Events

    def _read(self, timeout: float) -> bool:
        """Take in what was told; return false at the end of file."""
        if select.select([self._events], [], [], timeout)[0]:
            piece = os.read(self._events, 65536)
            if not piece:
                return False
            *lines, self._buffer = (self._buffer + piece).split(b"\n")
            self._lines += [line.decode() for line in lines]
        return True

    def wait_for(self, name: str, count: int = 1, timeout: float = TIMEOUT) -> list[str]:
        """Wait for events of a name, take them out and return what follows the name."""
        end = time.monotonic() + timeout
        while True:
            found = [line for line in self._lines if line.split(" ", 1)[0] == name][:count]
            if len(found) == count:
                for line in found:
                    self._lines.remove(line)
                return [line.partition(" ")[2] for line in found]
            left = end - time.monotonic()
            if left < 0 or not self._read(left):
                raise AssertionError(f"no {count} {name!r} in time\n{self.describe()}")

    def status(self, timeout: float = TIMEOUT) -> dict[str, Any]:
        """Ask the master how it is."""
        if not self._armed:
            self.wait_for("armed", timeout=timeout)
            self._armed = True
        self.signal(signal.SIGUSR1)
        state: dict[str, Any] = json.loads(self.wait_for("status", timeout=timeout)[0])
        return state

    def wait_ready(
        self, timeout: float = TIMEOUT, *, without: Iterable[int] = ()
    ) -> dict[str, Any]:
        """Wait until every wanted worker is ready, and none of these is among them."""
        end = time.monotonic() + timeout
        while True:
            state = self.status(timeout)
            alive = state["alive"]
            if state["ready"] and len(alive) == state["wanted"] and not {*without} & {*alive}:
                return state
            if time.monotonic() > end:
                raise AssertionError(f"not ready in time: {state}\n{self.describe()}")
            self.idle(0.01)

    # Processes

    def signal(self, signum: int) -> None:
        """Signal the master."""
        signal.pidfd_send_signal(self.pidfd, signum)

    def command(self, *words: Any) -> None:
        """Have a scenario do something, and wait until it has done it."""
        assert self.popen.stdin is not None
        os.write(self.popen.stdin.fileno(), json.dumps(words).encode() + b"\n")
        self.signal(signal.SIGUSR2)
        self.wait_for("obeyed")

    def idle(self, seconds: float) -> None:
        """Let time pass, until the master ends at the latest."""
        select.select([self.pidfd], [], [], seconds)

    def children(self) -> list[int]:
        """Return the children of the master, zombies included, as fast as can be."""
        try:
            with open(f"/proc/{self.pid}/task/{self.pid}/children") as file:
                return [int(pid) for pid in file.read().split()]
        except OSError:
            return []

    def guard(self, timeout: float = TIMEOUT) -> int:
        """Wait for the guard, and return its pid."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            for pid in self.children():
                if title(pid) == f"{self.mark}: guard":
                    return pid
            self.idle(0.01)
        raise AssertionError(f"no guard in time\n{self.describe()}")

    def left(self) -> list[Process]:
        """Return what is alive of the program."""
        found = []
        mark = self.mark.encode()
        for name in os.listdir("/proc"):
            if not name.isdigit():
                continue
            try:
                where = Path("/proc", name)
                ours = mark in (where / "cmdline").read_bytes()
                if ours or mark in (where / "environ").read_bytes():
                    state = (where / "stat").read_text().rpartition(")")[2].split()[0]
                    if state not in "ZX":
                        found.append(Process(int(name), title(int(name))))
            except OSError:
                pass
        return found

    # The end

    def ends(self, timeout: float = TIMEOUT) -> int:
        """Wait for the end of the master, and return its exit status."""
        if not select.select([self.pidfd], [], [], timeout)[0]:
            raise AssertionError(f"the master does not end\n{self.describe()}")
        return self.popen.wait()

    def clears(self, timeout: float = TIMEOUT) -> None:
        """Wait until nothing of the program is left."""
        end = time.monotonic() + timeout
        while self._read(max(0.0, end - time.monotonic())):
            if time.monotonic() >= end:
                raise AssertionError(f"processes are left\n{self.describe()}")
        for process in self.left():
            if not wait_gone(process.pid, max(0.0, end - time.monotonic())):
                raise AssertionError(f"{process} is left\n{self.describe()}")

    @property
    def errors(self) -> str:
        """What it has written to standard error."""
        self._errors.flush()
        size = os.fstat(self._errors.fileno()).st_size
        return os.pread(self._errors.fileno(), size, 0).decode(errors="replace")

    def check(self, status: int) -> None:
        """The master ends with this status, leaves nothing, and has never lost its temper."""
        found = self.ends()
        if found != status:
            raise AssertionError(f"the exit status is {found}\n{self.describe()}")
        self.clears()
        if "Traceback" in self.errors:
            raise AssertionError(f"a traceback\n{self.describe()}")

    def describe(self) -> str:
        """Return what helps to understand a failure."""
        return (
            f"status: {self.popen.poll()}\nalive: {self.left()}\n"
            f"events: {self._lines[-10:]}\nstderr:\n{self.errors[-4000:]}"
        )


def title(pid: int) -> str:
    """Return the command line of a process."""
    try:
        raw = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return ""
    return raw.rstrip(b"\0 ").replace(b"\0", b" ").decode(errors="replace")


def kill(pid: int, signum: int = signal.SIGKILL) -> bool:
    """Signal a process that may be gone; return whether it was there."""
    try:
        os.kill(pid, signum)
    except ProcessLookupError:
        return False
    return True


def wait_gone(pid: int, timeout: float) -> bool:
    """Wait for the end of a process; return whether it came in time."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([pidfd], [], [], timeout)[0])
    finally:
        os.close(pidfd)


class Rounds:
    """Repeats a torment, several at a time, each round with a chance of its own.

    Args:
        seed: printed, so that a failure can be had again; ``COTYLEDON_FAULT_SEED`` gives it.
    """

    def __init__(self) -> None:
        given = os.environ.get("COTYLEDON_FAULT_SEED")
        self.seed = int(given) if given else random.SystemRandom().randrange(2**32)
        self.rounds = int(os.environ.get("COTYLEDON_FAULT_ROUNDS", "50"))

    def run(
        self, torment: Callable[[random.Random], None], *, share: float = 1.0, at_once: int = 4
    ) -> None:
        """Call the torment ``share`` times as often as was asked for; raise the first failure."""
        print(f"COTYLEDON_FAULT_SEED={self.seed}")
        failed = threading.Event()

        def one(number: int) -> None:
            if failed.is_set():
                return
            try:
                torment(random.Random(f"{self.seed} {number}"))
            except BaseException as error:
                failed.set()
                error.add_note(f"round {number}, seed {self.seed}")
                raise

        count = max(1, round(self.rounds * share))
        with ThreadPoolExecutor(at_once) as pool:
            for future in [pool.submit(one, number) for number in range(count)]:
                future.result()


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    (scenario if "record" in given else program)(given)
