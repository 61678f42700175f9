"""Ordinary programs, and the habits of those that exist: one function for each."""

import functools
import logging
import multiprocessing
import os
import random
import signal
import sys
import threading
from types import FrameType
from typing import Any

import cotyledon
from cotyledon.types import WorkerId
from tests.programs.support import Reloader, Talker, event, gate, hang, main, on_signal, run

# --- hooks --------------------------------------------------------------------------------


def dead_worker(service_id: Any, worker_id: int, code: int) -> None:
    event("dead", worker=worker_id, code=code, id=service_id)


def hooks() -> None:
    """Every hook, twice."""

    def hook(kind: str, number: int, *args: Any, **kwargs: Any) -> None:
        event(
            "hook",
            kind=kind,
            number=number,
            args=[
                type(arg).__name__ if isinstance(arg, cotyledon.Service) else arg for arg in args
            ],
            kwargs=kwargs,
            main=threading.current_thread() is threading.main_thread(),
        )

    manager = cotyledon.ServiceManager()
    for number in (1, 2):
        manager.register_hooks(
            functools.partial(hook, "terminate", number),
            functools.partial(hook, "reload", number),
            functools.partial(hook, "new", number),
            functools.partial(hook, "dead", number),
        )
    event("added", id=manager.add(Reloader))
    run(manager)


def failing_hooks() -> None:
    """The second of three hooks of each kind raises."""
    manager = cotyledon.ServiceManager()

    def hook(kind: str, number: int, *args: Any) -> None:
        event("hook", kind=kind, number=number)
        if number == 2:
            raise RuntimeError(f"{kind} failed")

    for number in (1, 2, 3):
        kinds = ("terminate", "reload", "new_worker", "dead_worker")
        hooks: dict[str, Any] = {f"on_{k}": functools.partial(hook, k, number) for k in kinds}
        manager.register_hooks(**hooks)
    manager.add(Reloader)
    run(manager)


def hook_requests() -> None:
    """Hooks call the manager: on_reload adds a worker, on_dead_worker stops."""
    manager = cotyledon.ServiceManager()
    service = manager.add(Reloader)
    manager.register_hooks(
        on_reload=lambda: manager.reconfigure(service, 2),
        on_dead_worker=lambda *args: manager.shutdown(),
    )
    run(manager)


def hook_adds() -> None:
    """A hook adds a service while the manager runs."""
    manager = cotyledon.ServiceManager()
    manager.add(Reloader)
    manager.register_hooks(on_reload=lambda: manager.add(Talker, workers=2))
    run(manager)


# --- signals and exit statuses ------------------------------------------------------------


class Worker(Reloader):
    """Tells where its methods run; run() goes on until told."""

    def where(self, name: str) -> None:
        thread = threading.current_thread()
        self.say(name, main=thread is threading.main_thread(), thread=thread.ident)

    def __init__(self, worker_id: int) -> None:
        cotyledon.Service.__init__(self, WorkerId(worker_id))
        self.where("init")

    def run(self) -> None:
        self.where("run")
        hang()

    def terminate(self) -> None:
        self.where("terminate")

    def reload(self) -> None:
        self.where("reload")


def threads() -> None:
    """Tells which method runs in which thread."""
    manager = cotyledon.ServiceManager()
    manager.register_hooks(on_dead_worker=dead_worker)
    manager.add(Worker, workers=2)
    run(manager)


class Gated(Reloader):
    """Waits at gates."""

    def terminate(self) -> None:
        super().terminate()
        gate("terminate")
        self.say("terminated")

    def reload(self) -> None:
        super().reload()
        gate("reload")
        self.say("reloaded")


def gated(own: str, managers: str, hang_in_run: str = "") -> None:
    """terminate() and reload() take their time; the two timeouts are given."""
    manager = cotyledon.ServiceManager(graceful_shutdown_timeout=float(managers))
    manager.register_hooks(on_dead_worker=dead_worker)
    if own != "none":
        Gated.graceful_shutdown_timeout = float(own)
    manager.add(Gated, workers=2)
    run(manager)


def plain(workers: str = "2") -> None:
    """A service without reload()."""
    manager = cotyledon.ServiceManager()
    manager.register_hooks(
        on_dead_worker=dead_worker,
        on_terminate=lambda: event("hook"),
    )
    manager.add(Talker, workers=int(workers))
    run(manager)


class BaseReloader(Reloader):
    """Its reload() calls that of the base class."""

    def reload(self) -> None:
        super().reload()
        cotyledon.Service.reload(self)


def base_reload() -> None:
    """reload() that asks for a restart."""
    manager = cotyledon.ServiceManager()
    manager.register_hooks(on_dead_worker=dead_worker)
    manager.add(BaseReloader)
    run(manager)


class Leaver(Reloader):
    """Leaves in one of its methods, once."""

    def __init__(self, worker_id: int, where: str, how: str) -> None:
        self.where = where
        self.how = how
        self.worker_id = WorkerId(worker_id)
        self.leave("init")
        super().__init__(worker_id)

    def leave(self, where: str) -> None:
        if where != self.where:
            return
        if self.how == "raise":
            raise RuntimeError("no")
        if self.how == "base":
            raise BaseException("no")
        if self.how == "none":
            sys.exit(None)
        if self.how == "nothing":
            sys.exit()
        sys.exit(int(self.how) if self.how.isdigit() else self.how)

    def run(self) -> None:
        super().run()
        self.leave("run")

    def terminate(self) -> None:
        super().terminate()
        self.leave("terminate")

    def reload(self) -> None:
        super().reload()
        self.leave("reload")


def leaving(where: str, how: str) -> None:
    """A worker that leaves by itself."""
    manager = cotyledon.ServiceManager()
    manager.register_hooks(on_dead_worker=dead_worker)
    manager.add(
        Leaver,
        args=(where, how),
        policy=cotyledon.Policy(backoff=cotyledon.Backoff(initial=1000, cap=1e4)),
    )
    run(manager)


class Impatient(Reloader):
    """Sends itself signals while it is being built."""

    def __init__(self, worker_id: int, *signals: int) -> None:
        for signum in signals:
            os.kill(os.getpid(), signum)
        super().__init__(worker_id)
        self.say("built")


def impatient(*signals: str) -> None:
    """Signals reach a worker whose service is being built."""
    manager = cotyledon.ServiceManager()
    manager.register_hooks(
        on_dead_worker=dead_worker, on_new_worker=lambda *args: event("new worker")
    )
    manager.add(Impatient, args=[int(signum) for signum in signals])
    run(manager)


def early(how: str) -> None:
    """Signals between the constructor and run()."""
    manager = cotyledon.ServiceManager()
    manager.register_hooks(on_reload=lambda: event("hook"))
    manager.add(Reloader)
    event("made")
    if how == "shutdown":
        manager.shutdown()
    else:
        gate("run")
    run(manager)


def random_numbers() -> None:
    """Every worker tells a random number."""

    class Dice(Talker):
        def run(self) -> None:
            self.say("run", number=random.random())

    random.seed(1)
    manager = cotyledon.ServiceManager()
    manager.add(Dice, workers=4)
    run(manager)


def ordered() -> None:
    """Two services; a pause between spawns shows the order."""

    class First(Talker):
        name = "first"

    class Second(Talker):
        name = "second"

    manager = cotyledon.ServiceManager(wait_interval=0.2)
    manager.register_hooks(on_new_worker=lambda s, w, service: event("new", name=service.name))
    manager.add(First, workers=2)
    manager.add(Second, workers=2)
    run(manager)


# --- titles -------------------------------------------------------------------------------


def titles() -> None:
    """Names from the class, from a base class, from the instance."""

    class Named(Talker):
        name = "by-class"

    class Inheriting(Named):
        pass

    class Unnamed(cotyledon.Service):
        def run(self) -> None:
            event("run", worker=self.worker_id)

    class OnInstance(Talker):
        def __init__(self, worker_id: int) -> None:
            super().__init__(worker_id)
            self.name = f"on-instance-{worker_id}"

    manager = cotyledon.ServiceManager()
    for service in (Named, Inheriting, Unnamed, OnInstance):
        manager.add(service)
    run(manager)


# --- habits -------------------------------------------------------------------------------


class Received(cotyledon.Service):
    """Tells what it was called with; never calls super().__init__()."""

    def __init__(self, worker_id: int, *args: Any, **kwargs: Any) -> None:
        event("received", worker=worker_id, args=args, kwargs=kwargs)

    def run(self) -> None:
        event("run", worker=self.worker_id, parent=os.getppid())


def make(worker_id: int, *args: Any, **kwargs: Any) -> Received:
    """A factory."""
    return Received(worker_id, *args, **kwargs)


def called(how: str) -> None:
    """A class, a factory or a partial, with arguments."""
    service: Any = {
        "class": Received,
        "factory": make,
        "partial": functools.partial(make, color="red"),
        "lambda": lambda worker_id, *args, **more: make(worker_id, *args, **more),  # noqa: PLW0108
    }[how]
    manager = cotyledon.ServiceManager()
    manager.register_hooks(on_dead_worker=dead_worker)
    manager.add(service, 2, ("a", 1), {"size": 2})
    run(manager)


class Threaded(cotyledon.Service):
    """Starts a thread in __init__ and has no run()."""

    def __init__(self, worker_id: int) -> None:
        super().__init__(WorkerId(worker_id))
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.work, daemon=True)
        self.thread.start()

    def work(self) -> None:
        event("working")
        self.stop.wait()
        event("worked")

    def terminate(self) -> None:
        super().terminate()
        self.stop.set()
        self.thread.join()


def threaded() -> None:
    """Threads, and no run()."""
    manager = cotyledon.ServiceManager()
    manager.add(Threaded)
    run(manager)


class SuperCaller(cotyledon.Service):
    """Calls the base class everywhere."""

    def run(self) -> None:
        super().run()
        event("run")

    def terminate(self) -> None:
        super().terminate()
        event("terminate")


def super_caller() -> None:
    """super().run() and super().terminate()."""
    manager = cotyledon.ServiceManager()
    manager.add(SuperCaller)
    run(manager)


def one_after_another() -> None:
    """Several managers in one process, as in the tests of programs."""
    for number in range(3):
        cotyledon.ServiceManager._process_runner_already_created = False
        manager = cotyledon.ServiceManager()
        manager.add(Talker)
        manager.register_hooks(on_new_worker=lambda *args, m=manager: None)
        threading.Timer(0.2, manager.shutdown).start()
        manager.run()
        manager.shutdown()
        event("round", number=number)


class Shared(cotyledon.Service):
    """Uses objects of multiprocessing."""

    def __init__(self, worker_id: int, tools: dict[str, Any]) -> None:
        super().__init__(WorkerId(worker_id))
        self.tools = tools

    def run(self) -> None:
        tools = self.tools
        with tools["lock"]:
            tools["value"].value += 1
        tools["manager"]["list"].append(self.worker_id)
        tools["condition"].wait()
        tools["queue"].put(("worker", self.worker_id))
        child = multiprocessing.get_context("fork").Process(
            target=tools["queue"].put, args=(("child", self.worker_id),)
        )
        child.start()
        child.join()
        event("run", worker=self.worker_id, child=child.exitcode)

    def reload(self) -> None:
        pass


def shared(used: str) -> None:
    """Objects of multiprocessing as arguments, used before by the master or not."""
    fork = multiprocessing.get_context("fork")
    with fork.Manager() as server:
        tools: dict[str, Any] = {
            "lock": fork.Lock(),
            "value": fork.Value("i", 0, lock=False),
            "condition": fork.Event(),
            "queue": fork.Queue(),
            "manager": server.dict(list=server.list()),
        }
        if used == "used":
            tools["queue"].put("from the master")
            event("own", item=tools["queue"].get(timeout=10))
            tools["manager"]["list"].append("master")
            with tools["lock"]:
                tools["value"].value += 10
        manager = cotyledon.ServiceManager()
        manager.add(Shared, workers=3, args=(tools,))
        on_signal(signal.SIGUSR1, tools["condition"].set)
        run(manager)
        event(
            "shared",
            value=tools["value"].value,
            list=list(tools["manager"]["list"]),
            queue=sorted(tools["queue"].get(timeout=10) for _ in range(6)),
        )


class Unpicklable(Talker):
    """Gets a lock of the threading module, an open file and a lambda."""

    def __init__(self, worker_id: int, lock: Any, file: Any, function: Any) -> None:
        super().__init__(worker_id)
        with lock:
            self.say("got", result=function(2), name=file.name)


def unpicklable() -> None:
    """Arguments that do not pickle, under fork."""
    manager = cotyledon.ServiceManager()
    file = open(os.devnull)  # noqa: SIM115
    manager.add(Unpicklable, args=(threading.Lock(), file, lambda n: n + 1))
    run(manager)


def late_context(method: str) -> None:
    """mp_context is assigned after add()."""
    manager = cotyledon.ServiceManager()
    manager.add(Talker, workers=2)
    event("before", method=manager.mp_context.get_start_method())
    manager.mp_context = multiprocessing.get_context(method)
    event("after", method=manager.mp_context.get_start_method())
    manager.register_hooks(on_new_worker=tell_parent, on_dead_worker=dead_worker)
    run(manager)


def tell_parent(service_id: Any, worker_id: int, service: Any) -> None:
    event("new", worker=worker_id, main=sys.modules["__main__"].__name__)


def user_handlers(when: str) -> None:
    """The program has handlers of its own."""

    def handler(signum: int, frame: FrameType | None) -> None:
        event("own handler", signal=signum)

    def install() -> None:
        for name in ("USR1", "USR2", "WINCH"):
            signal.signal(getattr(signal, f"SIG{name}"), handler)

    if when == "before":
        install()
    manager = cotyledon.ServiceManager()
    if when == "after":
        install()
    manager.add(Talker)
    run(manager)


class WithHandlers(Reloader):
    """Has handlers for our signals."""

    def __init__(self, worker_id: int) -> None:
        for signum in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(signum, lambda signum, frame: event("own handler", signal=signum))
        super().__init__(worker_id)


def handlers_of_ours() -> None:
    """The program and its service have handlers for our signals."""
    manager = cotyledon.ServiceManager()
    for signum in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, lambda signum, frame: event("master's handler", signal=signum))
    manager.add(WithHandlers)
    run(manager)


def nothing_to_do() -> None:
    """No service at all."""
    manager = cotyledon.ServiceManager()
    on_signal(signal.SIGUSR1, lambda: None)
    event("ready")
    run(manager)


def from_threads() -> None:
    """Other threads stop the manager, several times, also after run()."""
    manager = cotyledon.ServiceManager()
    manager.add(Talker)

    def stop() -> None:
        gate("stop")
        for _ in range(3):
            manager.shutdown()

    for _ in range(3):
        threading.Thread(target=stop, daemon=True).start()
    run(manager)
    manager.shutdown()
    manager.shutdown()
    event("still here")


class Stopper(Talker):
    """Calls shutdown() of the manager that it has inherited."""

    def __init__(self, worker_id: int, manager: Any) -> None:
        super().__init__(worker_id)
        self.manager = manager

    def run(self) -> None:
        super().run()
        gate("stop")
        self.manager.shutdown()


def shutdown_in_worker() -> None:
    """shutdown() in a worker."""
    manager = cotyledon.ServiceManager()
    manager.register_hooks(on_dead_worker=dead_worker)
    manager.add(Stopper, args=(manager,))
    manager.add(Reloader)
    run(manager)


def add_while_running() -> None:
    """A thread adds a service."""
    manager = cotyledon.ServiceManager()
    manager.add(Reloader)

    def add() -> None:
        gate("add")
        service = manager.add(Talker, workers=2)
        event("added", id=service)

    threading.Thread(target=add, daemon=True).start()
    run(manager)


def late_logging() -> None:
    """Logging is configured after the manager was built."""
    manager = cotyledon.ServiceManager()
    logging.basicConfig(level=logging.DEBUG, format="%(name)s says: %(message)s")
    manager.add(Talker)
    run(manager)


# --- bad input ----------------------------------------------------------------------------


def no_service() -> None:
    """A factory that returns something else."""
    manager = cotyledon.ServiceManager()
    manager.register_hooks(on_dead_worker=dead_worker)
    manager.add(
        lambda worker_id: object(),  # type: ignore[arg-type, return-value]
        policy=cotyledon.Policy(backoff=cotyledon.Backoff(initial=1000, cap=1000)),
    )
    manager.add(Talker)
    run(manager)


def run_in_a_thread() -> None:
    """run() outside the main thread, then in it."""
    manager = cotyledon.ServiceManager()
    manager.add(Talker)

    def wrong() -> None:
        try:
            manager.run()
        except RuntimeError as error:
            event("refused", text=str(error))

    thread = threading.Thread(target=wrong)
    thread.start()
    thread.join()
    run(manager)


def run_twice() -> None:
    """run() after run()."""
    manager = cotyledon.ServiceManager()
    manager.add(Talker)
    run(manager)
    for action in (manager.run, lambda: setattr(manager, "mp_context", None)):
        try:
            action()
        except RuntimeError as error:
            event("refused", text=str(error))


def run_in_a_hook() -> None:
    """run() while it runs, and mp_context too late."""
    manager = cotyledon.ServiceManager()

    def hook() -> None:
        for action in (manager.run, lambda: setattr(manager, "mp_context", None)):
            try:
                action()
            except RuntimeError as error:
                event("refused", text=str(error))

    manager.register_hooks(on_reload=hook)
    manager.add(Reloader)
    run(manager)


def bad_timeout() -> None:
    """A service whose own timeout is no number."""

    class Bad(Talker):
        graceful_shutdown_timeout = "soon"  # type: ignore[assignment]

    manager = cotyledon.ServiceManager()
    manager.register_hooks(on_dead_worker=dead_worker)
    manager.add(Bad, policy=cotyledon.Policy(backoff=cotyledon.Backoff(initial=1000, cap=1000)))
    run(manager)


if __name__ == "__main__":
    main(globals())
