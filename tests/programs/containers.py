"""The parts of a master that deal with the kernel's containers, each in the least master there is.

One function for each situation. ``init`` as a mode means: as the first process of a PID namespace.
"""

import multiprocessing
import os
import random
import resource
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import cotyledon
from cotyledon._posix.cgroups import Cgroup, Cgroups
from cotyledon._posix.fork import FORKS, Birth
from cotyledon._posix.marks import Mark, begins_with, limit_of, mark_worker, path_of
from cotyledon._posix.memory import OutOfMemory
from cotyledon._posix.processes import Process
from cotyledon._posix.signals import Wakeup
from cotyledon._posix.strangers import Strangers, children, look
from tests.programs.support import Talker, event, main, run

PATIENCE = 20


class Master:
    """Workers, a loop, and strangers."""

    def __init__(self, mode: str = "") -> None:
        if mode == "init":
            os.setsid()  # as in a container; what ran this shares its session with others
        self.wakeup = Wakeup()
        self.wakeup.claim()
        FORKS.own(*self.wakeup.fds)
        FORKS.watch()
        self.workers: dict[int, Process] = {}
        self.strangers = Strangers(lambda: self.workers, self.wakeup.wake)
        self.active = bool(mode) and self.strangers.start(mode == "subreaper")
        self.reaped = 0

    def start(self, work: Callable[[], object]) -> Process:
        """Fork a worker."""

        def be() -> NoReturn:
            FORKS.unblock()
            work()
            os._exit(0)

        (pid,) = FORKS.fork([Birth(be)])
        assert isinstance(pid, int)
        process = self.workers[pid] = Process(pid)
        return process

    def turn(self, timeout: float = PATIENCE) -> None:
        """Wait for something to happen, bury workers, reap strangers."""
        fds = [process.pidfd for process in self.workers.values()]
        ready = select.select([self.wakeup.fd, *fds], [], [], timeout)[0]
        self.wakeup.drain()
        for pid, process in list(self.workers.items()):
            if process.pidfd in ready:
                process.kill_group()
                if process.reap():
                    process.close()
                    del self.workers[pid]
        self.reaped += self.strangers.reap()

    def until(self, holds: Callable[[], object]) -> None:
        """Have turns until something holds."""
        end = time.monotonic() + PATIENCE
        while not holds():
            assert time.monotonic() < end, f"reaped {self.reaped}, zombies {zombies()}"
            self.turn(0.05)

    def finish(self) -> None:
        """End what is left."""
        for process in self.workers.values():
            process.kill()
        self.until(lambda: not self.workers)
        self.strangers.stop()


def zombies() -> list[int]:
    found = [(pid, look(pid)) for pid in children()]
    return [pid for pid, stat in found if stat is not None and stat.state == "Z"]


class Line:
    """A pipe whose end of file ends those who wait for it."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()

    def wait(self) -> None:
        """In another process: wait."""
        os.close(self.writer)
        os.read(self.reader, 1)

    def cut(self) -> None:
        """End the waiting."""
        os.close(self.writer)
        self.writer = -1


def orphan(*steps: Callable[[], object], then: Callable[[], object]) -> None:
    """Leave an orphan behind that takes some steps, and then does something."""
    pid = os.fork()
    if pid:
        os.waitpid(pid, 0)
        return
    if os.fork():
        os._exit(0)
    for step in steps:
        step()
    os.write(told, b".")
    then()
    os._exit(9)


told = -1  # where orphans say that they are one


def fork_again() -> None:
    if os.fork():
        os._exit(0)


def exec_cat(line: Line) -> None:
    os.close(line.writer)
    os.dup2(line.reader, 0)
    os.execv("/bin/cat", ["cat"])


def leave_orphans(line: Line) -> None:
    """Leave behind one of each kind."""
    kinds: list[tuple[Callable[[], object], ...]] = [
        (),
        (os.setsid,),
        (lambda: os.setpgid(0, 0),),
        (os.setsid, fork_again),
        (os.setsid, fork_again, lambda: os.setpgid(0, 0)),
    ]
    for steps in kinds:
        orphan(*steps, then=line.wait)
        orphan(*steps, then=lambda: exec_cat(line))
    # The intermediate processes of those that fork twice are orphans, too.
    os.close(line.writer)


def orphans(mode: str) -> None:
    """A worker leaves orphans, which die while it lives."""
    global told
    master = Master(mode)
    line = Line()
    heard, told = os.pipe()

    def work() -> None:
        leave_orphans(line)
        signal.pause()

    master.start(work)
    for _ in range(10):
        os.read(heard, 1)
    line.cut()
    master.until(lambda: master.reaped == 14)
    event("clean", zombies=zombies(), children=len(children()), left=list(master.workers))
    master.finish()


def killed(mode: str) -> None:
    """A worker is killed, and with it what it has left in its group."""
    global told
    master = Master(mode)
    line = Line()
    heard, told = os.pipe()

    def work() -> None:
        for _ in range(5):
            orphan(then=line.wait)
        os.close(line.writer)
        os.write(told, b"!")  # none of those in between is left
        signal.pause()

    worker = master.start(work)
    for _ in range(6):
        os.read(heard, 1)
    worker.kill()
    master.until(lambda: not master.workers and master.reaped == 5)
    event("clean", zombies=zombies(), children=len(children()), code=worker.returncode)
    master.finish()


def own(mode: str) -> None:
    """The program starts processes in every way, and waits for them when they are long dead."""
    global told
    master = Master(mode)
    line = Line()
    heard, told = os.pipe()
    shell = ["/bin/sh", "-c", "read nothing; exit 7"]
    popens: list[subprocess.Popen[Any]] = [
        subprocess.Popen(shell, stdin=line.reader, **more)
        for more in ({}, {"start_new_session": True}, {"process_group": 0})
    ]
    popens.append(
        subprocess.Popen(shell, stdin=line.reader, process_group=popens[-1].pid)  # a pipeline
    )
    forks = []
    for lead in (lambda: None, os.setsid, lambda: os.setpgid(0, 0)):
        pid = os.fork()
        if not pid:
            lead()
            line.wait()
            os._exit(7)
        forks.append(pid)
    spawned = os.posix_spawn(
        "/bin/sh",
        shell,
        {},
        file_actions=[(os.POSIX_SPAWN_DUP2, line.reader, 0)],
        setpgroup=0,
    )

    def exit_later() -> NoReturn:
        line.wait()
        sys.exit(7)

    process = multiprocessing.get_context("fork").Process(target=exit_later)
    process.start()

    def work() -> None:
        leave_orphans(line)
        signal.pause()

    master.start(work)
    for _ in range(10):
        os.read(heard, 1)
    line.cut()
    mine = {*(p.pid for p in popens), *forks, spawned, process.pid}
    master.until(lambda: master.reaped == 14 and mine <= set(zombies()))
    master.turn(0)
    codes = [popen.wait() for popen in popens]
    codes += [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in (*forks, spawned)]
    process.join()
    event("codes", codes=[*codes, process.exitcode], zombies=zombies())
    event("system", code=os.waitstatus_to_exitcode(os.system("exit 7")))
    master.finish()


def daemon(mode: str) -> None:
    """A process that the program has started leaves a daemon behind."""
    master = Master(mode)
    shell = ["/bin/sh", "-c", "sh -c 'read nothing' & exit 7"]
    with subprocess.Popen(shell, stdin=subprocess.PIPE, start_new_session=True) as popen:
        code = popen.wait()
    master.until(lambda: master.reaped == 1)
    event("clean", zombies=zombies(), code=code)
    master.finish()


def storm(mode: str, count: str) -> None:
    """Orphans end at random instants, while a thread starts processes and waits for them."""
    global told
    master = Master(mode)
    _, told = os.pipe()
    chance = random.Random(7)
    codes: list[int] = []
    over = threading.Event()

    def start_processes() -> None:
        while not over.is_set():
            for more in ({}, {"start_new_session": True}, {"process_group": 0}):
                done = subprocess.run(["/bin/sh", "-c", "exit 7"], check=False, **more)
                codes.append(done.returncode)

    def work() -> None:
        for _ in range(int(count)):
            seconds = chance.random() / 2
            steps = chance.choice([(), (os.setsid,), (lambda: os.setpgid(0, 0),)])
            orphan(*steps, then=partial(select.select, [], [], [], seconds))
        signal.pause()

    # The workers first, or they would hold the pipes of a Popen that is being made.
    workers = [master.start(work) for _ in range(2)]
    thread = threading.Thread(target=start_processes)
    thread.start()
    master.until(lambda: master.reaped == 2 * int(count))
    over.set()
    thread.join()
    event("over", wrong=[code for code in codes if code != 7], ran=len(codes), zombies=zombies())
    event("workers", alive=len(master.workers) == len(workers))
    master.finish()


def handlers(mode: str) -> None:
    """The program handles SIGCHLD itself."""

    def mine(signum: int, frame: object) -> None:
        event("heard", signum=signum)

    def show(who: str) -> None:
        event("handler", who=who, mine=signal.getsignal(signal.SIGCHLD) is mine)

    signal.signal(signal.SIGCHLD, mine)
    before = resource.getrlimit(10)
    master = Master(mode)
    show("master")
    master.start(lambda: show("worker"))
    master.until(lambda: not master.workers)
    pid = os.fork()
    if not pid:
        show("child")
        os._exit(0)
    os.waitpid(pid, 0)
    master.finish()
    show("stopped")
    event("limit", same=resource.getrlimit(10) == before)


def idle() -> None:
    """Neither the first process nor a subreaper."""
    before = resource.getrlimit(10), signal.getsignal(signal.SIGCHLD)
    master = Master()
    started = master.strangers.start()
    same = before == (resource.getrlimit(10), signal.getsignal(signal.SIGCHLD))
    event("idle", started=started, same=same, reaped=master.strangers.reap())


def replaced(mode: str) -> None:
    """The program puts a handler of its own in the place of ours."""
    global told
    master = Master(mode)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _, told = os.pipe()
    master.start(lambda: orphan(os.setsid, then=lambda: None))
    master.until(lambda: master.reaped == 1 and not master.workers)
    event("clean", zombies=zombies())
    master.finish()


def entered(mode: str, count: str) -> None:
    """Processes are put into the container from outside."""
    master = Master(mode)
    event("entering")
    master.until(lambda: master.reaped == int(count))
    event("clean", zombies=zombies())
    master.finish()


def inherited(mode: str) -> None:
    """There was a child already when the program became this one."""
    master = Master(mode)
    master.until(zombies)
    master.turn(0)
    event("code", code=os.waitstatus_to_exitcode(os.wait()[1]))
    master.finish()


def marks() -> None:
    """Masters below masters mark their descendants."""
    outer = Mark()

    def inner(as_worker: bool) -> None:
        pid = os.fork()
        if not pid:
            if as_worker:
                mark_worker()
            mark = Mark()
            mark_worker()
            path = path_of(limit_of(os.getpid()))
            assert path == mark.worker
            event(
                "inner",
                as_worker=as_worker,
                of_worker=begins_with(path, outer.worker),
                of_program=begins_with(path, outer.program),
            )
            os._exit(0)
        os.waitpid(pid, 0)

    inner(True)
    inner(False)


class Parent(Talker):
    """Leaves orphans behind, which end with it at the latest."""

    def run(self) -> None:
        global told
        heard, told = os.pipe()
        line = Line()
        leave_orphans(line)
        for _ in range(10):
            os.read(heard, 1)
        self.say("run")


def manager() -> None:
    """The manager itself is the first process; it also starts a process of its own."""
    os.setsid()
    with subprocess.Popen(["/bin/sh", "-c", "read nothing; exit 7"], stdin=subprocess.PIPE):
        pass
    manager = cotyledon.ServiceManager()
    manager.add(Parent, workers=2)
    popens: list[subprocess.Popen[bytes]] = []

    def start_own() -> None:
        popens.append(subprocess.Popen(["/bin/sh", "-c", "exit 7"], start_new_session=True))

    def stop() -> None:
        event("code", code=popens[0].wait())

    manager.register_hooks(on_new_worker=None, on_reload=start_own, on_terminate=stop)
    run(manager)


# The account of a death


def account(how: str) -> None:
    """A worker dies; the master tells all that it knows."""
    master = Master()

    def work() -> None:
        if how == "burn":
            burn()
            pid = os.fork()
            if not pid:
                burn()
                os._exit(0)
            os.waitpid(pid, 0)
            os._exit(3)
        if how in ("core", "no-core"):
            hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
            resource.setrlimit(resource.RLIMIT_CORE, (hard if how == "core" else 0, hard))
            os.kill(os.getpid(), signal.SIGSEGV)
            signal.pause()

    process = master.start(work)
    if how == "stolen":
        os.waitpid(-1, 0)
    master.until(lambda: not master.workers)
    usage = None if process.usage is None else process.usage._asdict()
    event("account", code=process.returncode, dumped=process.dumped, usage=usage)


def burn() -> None:
    until = time.process_time() + 0.2
    while time.process_time() < until:
        pass


# Memory


def starved() -> None:
    """A worker takes more memory than there is; another one is just killed."""
    master = Master()
    memory = OutOfMemory()
    event("source", path=memory.source)

    def work() -> None:
        hoard = []
        while True:
            hoard.append(bytearray(b"x") * (1 << 20))

    process = master.start(work)
    master.until(lambda: not master.workers)
    event("died", code=process.returncode, killed=[memory.killed(), memory.killed()])
    process = master.start(signal.pause)
    process.kill()
    master.until(lambda: not master.workers)
    event("died", code=process.returncode, killed=[memory.killed()])


# Control groups


def with_cgroup(body: Callable[[Path, Path], None], delegated: str = "1") -> None:
    """Call something in a control group of its own, and leave none behind."""
    mounted = Path(os.environ["PROGRAM_DIR"], "cgroup")
    mounted.mkdir()
    if subprocess.run(["mount", "-t", "cgroup2", "none", mounted], check=False).returncode:
        event("needs", what="cgroup v2")
        return
    mine = mounted / f"test-{os.getpid()}"
    mine.mkdir()
    try:
        try:
            os.setxattr(mine, "user.delegate", delegated.encode())
        except OSError:
            os.setxattr(mine, "trusted.delegate", delegated.encode())
        before = Path("/proc/self/cgroup").read_text()
        (path,) = [row[3:] for row in before.splitlines() if row.startswith("0::")]
        (mine / "cgroup.procs").write_text("0")
        try:
            body(mounted, mine)
        finally:
            (mounted / path.lstrip("/") / "cgroup.procs").write_text("0")
    finally:
        (mine / "cgroup.kill").write_text("1")
        wait_until(lambda: empty(mine))
        mine.rmdir()


def empty(directory: Path) -> bool:
    for inside in directory.iterdir():
        if inside.is_dir() and not Cgroup(str(inside)).remove():
            return False
    return "populated 0" in (directory / "cgroup.events").read_text()


def wait_until(holds: Callable[[], Any]) -> None:
    end = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < end
        select.select([], [], [], 0.01)


def cgroup_tree() -> None:
    """A worker is killed with what it has started, in whatever session that is."""

    def body(mounted: Path, mine: Path) -> None:
        global told
        master = Master()
        groups = Cgroups.find()
        assert groups is not None
        cgroup = groups.make("7")
        assert cgroup is not None
        heard, told = os.pipe()

        def work() -> None:
            cgroup.enter()
            event("in", group=Path("/proc/self/cgroup").read_text().splitlines()[-1])
            orphan(os.setsid, fork_again, then=signal.pause)
            signal.pause()

        process = master.start(work)
        os.read(heard, 1)
        os.close(told)
        assert not cgroup.remove()
        event("kill", ok=cgroup.kill())
        assert os.read(heard, 1) == b""  # nobody is left
        master.until(lambda: not master.workers)
        wait_until(cgroup.remove)
        event("gone", ok=not os.path.exists(cgroup.directory), code=process.returncode)
        event("again", ok=cgroup.kill() and cgroup.remove())
        event("swept", ok=groups.sweep(), left=[p.name for p in mine.iterdir() if p.is_dir()])
        groups.close()

    with_cgroup(body)


class Daemonizer(Talker):
    """Starts something that is in no session, and no process group, of ours."""

    def run(self) -> None:
        if not os.fork():
            os.setsid()
            if not os.fork():
                event("daemon", worker=self.worker_id)
                signal.pause()
            os._exit(0)
        os.wait()
        self.say("run")
        signal.pause()


def cgroup_manager() -> None:
    """The manager itself, in a group that is delegated to it."""

    def body(mounted: Path, mine: Path) -> None:
        pid = os.fork()
        if not pid:
            manager = cotyledon.ServiceManager(graceful_shutdown_timeout=2)
            manager.add(Daemonizer, workers=2)
            event("master")
            try:
                run(manager)
            finally:
                os._exit(0)
        os.waitpid(pid, 0)
        # The guard removes what is left, and may be at it still.
        wait_until(lambda: not [p for p in mine.iterdir() if p.is_dir()])
        event("clean")

    with_cgroup(body)


def cgroup_refused() -> None:
    """Nobody has delegated the group."""

    def body(mounted: Path, mine: Path) -> None:
        event("found", groups=Cgroups.find())

    with_cgroup(body, "0")


def cgroup_leftovers() -> None:
    """A master and its worker are left in a group; then the master dies, and its worker not."""

    def body(mounted: Path, mine: Path) -> None:
        heard, said = os.pipe()
        FORKS.watch()
        pid = os.fork()
        if not pid:
            groups = Cgroups.find()
            assert groups is not None
            cgroup = groups.make("1")
            assert cgroup is not None
            if not os.fork():
                cgroup.enter()
                os.write(said, b".")
            signal.pause()
        os.read(heard, 1)
        os.close(said)
        groups = Cgroups.find()
        assert groups is not None
        spared = not select.select([heard], [], [], 0)[0]
        event("spared", ok=spared, masters=len([p for p in mine.iterdir() if p.is_dir()]))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        wait_until(lambda: Cgroups.find() is not None and select.select([heard], [], [], 0)[0])
        event("killed", ok=os.read(heard, 1) == b"")
        wait_until(lambda: Cgroups.find() is not None and not (mine / f"cotyledon.{pid}").exists())
        event("swept")
        groups.sweep()
        groups.close()

    with_cgroup(body)


def cgroup_costs() -> None:
    """How long it takes to be in a group of one's own."""

    def body(mounted: Path, mine: Path) -> None:
        groups = Cgroups.find()
        assert groups is not None
        heard, said = os.pipe()
        times: dict[str, list[float]] = {"make": [], "enter": [], "kill": [], "remove": []}

        def timed(what: str, act: Callable[[], Any]) -> Any:
            begun = time.perf_counter()
            result = act()
            times[what].append((time.perf_counter() - begun) * 1e6)
            return result

        for number in range(100):
            cgroup = timed("make", partial(groups.make, str(number)))
            pid = os.fork()
            if not pid:
                timed("enter", cgroup.enter)
                os.write(said, b"%9d" % times["enter"][-1])
                signal.pause()
            times["enter"].append(int(os.read(heard, 9)))
            timed("kill", cgroup.kill)
            os.waitpid(pid, 0)
            timed("remove", cgroup.remove)
        event("costs", **{what: sorted(taken)[len(taken) // 2] for what, taken in times.items()})
        groups.sweep()

    with_cgroup(body)


if __name__ == "__main__":
    main(globals())
