"""Services that are event loops: one function for each habit."""

import asyncio
import importlib
import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator
from typing import Any, ClassVar

import cotyledon
from cotyledon.types import WorkerId
from tests.programs.support import event, hang_in_c, main, run


async def passing(name: str) -> None:
    """Wait at a gate, without blocking the loop."""
    path = os.path.join(os.environ["PROGRAM_DIR"], name)
    try:
        os.mkfifo(path)
        os.chmod(path, 0o666)
    except FileExistsError:
        pass
    while True:
        # A writer that opens without blocking is refused while nobody reads: the test's end,
        # which is open for both, lets it in.
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC))
        except OSError:
            await asyncio.sleep(0.01)
        else:
            return


class Looper(cotyledon.AsyncService):
    """Tells the test of each of its methods, and where they run."""

    def __init__(self, worker_id: int) -> None:
        super().__init__(WorkerId(worker_id))
        self.say("init")

    def say(self, name: str, /, **fields: Any) -> None:
        event(
            name,
            worker=self.worker_id,
            main=threading.current_thread() is threading.main_thread(),
            threads=len(os.listdir("/proc/self/task")),
            **fields,
        )

    async def run(self) -> None:
        self.say("run", loop=type(asyncio.get_running_loop()).__module__)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.say("cancelled")
            raise

    async def terminate(self) -> None:
        self.say("terminate")


class Restarter(Looper):
    """Has no reload()."""


class Reloader(Looper):
    """Has one, which waits at a gate."""

    reloads = 0

    async def reload(self) -> None:
        self.reloads += 1
        self.say("reload", number=self.reloads)
        await passing(f"reload-{self.reloads}")
        self.say("reloaded", number=self.reloads)


class BaseReloader(Looper):
    """Its reload() calls that of the base class."""

    async def reload(self) -> None:
        self.say("reload")
        await super().reload()


class UvLooper(Reloader):
    """Runs in uvloop's loop."""

    def __init__(self, worker_id: int) -> None:
        type(self).loop_factory = importlib.import_module("uvloop").new_event_loop
        super().__init__(worker_id)


class Returning(Looper):
    """Its run() returns."""

    async def run(self) -> None:
        self.say("run")


class Idle(cotyledon.AsyncService):
    """Overrides nothing, and forgets the base class."""

    def __init__(self, worker_id: int) -> None:
        event("init")


class Tidy(Looper):
    """Leaves tasks and an asynchronous generator, and ends them slowly."""

    async def run(self) -> None:
        self.tasks = [asyncio.create_task(self.work(n)) for n in range(3)]
        self.generator = self.generate()
        await anext(self.generator)
        await super().run()

    async def generate(self) -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            await asyncio.sleep(0)
            self.say("generator closed")

    async def work(self, number: int) -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            await asyncio.sleep(0.01)
            if number == 2:
                asyncio.create_task(self.work(3))  # noqa: RUF006 - it must be found anyway
            self.say("task ended", number=number)


class Flushing(Looper):
    """Its run() needs another task to clean up."""

    async def run(self) -> None:
        self.stopping = asyncio.Event()
        helper = asyncio.create_task(self.help())
        try:
            await super().run()
        finally:
            self.stopping.set()
            await helper

    async def help(self) -> None:
        await self.stopping.wait()
        await asyncio.sleep(0.01)
        self.say("flushed")


class Signalled(Looper):
    """Leaves a signal to its loop."""

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGUSR1, self.say, "signalled")
        process = await asyncio.create_subprocess_exec("true")
        self.say("process", status=await process.wait())
        await super().run()


class UvSignalled(Signalled):
    """The same in another loop."""

    def __init__(self, worker_id: int) -> None:
        type(self).loop_factory = importlib.import_module("uvloop").new_event_loop
        super().__init__(worker_id)


class Own(Looper):
    """Ends its run() by itself, the usual way."""

    async def run(self) -> None:
        self.task = asyncio.current_task()
        await super().run()

    async def terminate(self) -> None:
        await super().terminate()
        assert self.task is not None
        self.task.cancel()
        await asyncio.wait([self.task])


class Canceller(Looper):
    """Its terminate() cancels every other task."""

    async def terminate(self) -> None:
        await super().terminate()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        asyncio.get_running_loop().stop()
        await asyncio.sleep(0)


class Stubborn(Looper):
    """Ignores what would end it."""

    how: ClassVar[str]

    async def run(self) -> None:
        self.say("run")
        if self.how == "blocked":
            time.sleep(1000)
        while True:
            try:
                await asyncio.sleep(1000)
            except asyncio.CancelledError:
                self.say("ignored")

    async def terminate(self) -> None:
        self.say("terminate")
        if self.how == "terminate":
            await asyncio.sleep(1000)
        if self.how == "block":
            time.sleep(1000)
        if self.how == "c":
            hang_in_c()


class Leaver(Looper):
    """Leaves in one of its methods, or in a task."""

    def __init__(self, worker_id: int, where: str, how: str) -> None:
        self.where = where
        self.how = how
        self.leave("init")
        super().__init__(worker_id)
        if where == "factory":
            self.loop_factory = lambda: self.leave("factory")

    def leave(self, where: str) -> Any:
        if where != self.where:
            return
        if self.how == "raise":
            raise RuntimeError("no")
        if self.how == "base":
            raise BaseException("no")
        if self.how == "cancelled":
            raise asyncio.CancelledError
        sys.exit(int(self.how) if self.how.isdigit() else self.how)

    async def run(self) -> None:
        self.say("run")
        if self.where == "task":
            asyncio.create_task(self.leave_in_a_task())  # noqa: RUF006
        if self.where == "awaited":
            await asyncio.create_task(self.leave_in_a_task("awaited"))
        if self.where == "callback":
            asyncio.get_running_loop().call_soon(self.leave, "callback")
        await asyncio.sleep(0)
        self.leave("run")
        try:
            await asyncio.sleep(1000)
        finally:
            self.leave("cancelled run")

    async def leave_in_a_task(self, where: str = "task") -> None:
        self.leave(where)

    async def terminate(self) -> None:
        await super().terminate()
        self.leave("terminate")

    async def reload(self) -> None:
        self.say("reload")
        self.leave("reload")


class NotAsync(Looper):
    """Has a run() that is no coroutine."""

    def run(self) -> None:  # type: ignore[override]
        self.say("run")


class Impatient(Reloader):
    """Sends itself a signal while it is being built."""

    def __init__(self, worker_id: int) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        super().__init__(worker_id)


class Server(Looper):
    """Serves, in its only thread."""

    async def run(self) -> None:
        server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        self.say("run", port=server.sockets[0].getsockname()[1])
        async with server:
            await server.serve_forever()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readline())
        await writer.drain()
        writer.close()
        await writer.wait_closed()


class TellingLater(Looper):
    """Is ready when its loop says so."""

    async def run(self) -> None:
        self.say("run")
        await passing("ready")
        self.ready()


def dead_worker(service_id: Any, worker_id: int, code: int) -> None:
    event("dead", worker=worker_id, code=code)


def habit(service: str, grace: str = "1000", method: str = "fork", workers: str = "1") -> None:
    """A manager with one such service."""
    manager = cotyledon.ServiceManager(
        graceful_shutdown_timeout=1000, mp_context=multiprocessing.get_context(method)
    )
    manager.register_hooks(on_dead_worker=dead_worker)
    kind: Any = globals()[service]
    if grace != "none":
        kind.graceful_shutdown_timeout = float(grace)
    policy = cotyledon.Policy(backoff=cotyledon.Backoff(initial=1000, cap=1000))
    if service == "TellingLater":
        policy = policy.replace(start=cotyledon.Start(ready="told"))
    manager.add(kind, workers=int(workers), policy=policy)
    run(manager)


def stubborn(how: str) -> None:
    """A service that does not end by itself in time."""
    Stubborn.how = how
    habit("Stubborn", "0.3")


def leaving(where: str, how: str) -> None:
    """A worker that leaves by itself."""
    logging.basicConfig(level=logging.INFO)
    manager = cotyledon.ServiceManager()
    manager.register_hooks(on_dead_worker=dead_worker)
    leaver: Any = Leaver
    manager.add(
        leaver,
        args=(where, how),
        policy=cotyledon.Policy(backoff=cotyledon.Backoff(initial=1000, cap=1000)),
    )
    run(manager)


def leaving_uvloop(where: str) -> None:
    """The same in another loop."""
    Leaver.loop_factory = importlib.import_module("uvloop").new_event_loop
    leaving(where, "7")


def lazily() -> None:
    """Neither the master nor a worker with threads imports asyncio."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "asyncio"]:
        del sys.modules[name]

    class Plain(cotyledon.Service):
        def run(self) -> None:
            event("run", asyncio="asyncio" in sys.modules)

    class Loop(cotyledon.AsyncService):
        async def run(self) -> None:
            event("loop", asyncio="asyncio" in sys.modules)

    loop: Any = Loop
    manager = cotyledon.ServiceManager()
    manager.add(Plain)
    manager.add(loop)
    manager.register_hooks(on_reload=lambda: event("master", asyncio="asyncio" in sys.modules))
    run(manager)


if __name__ == "__main__":
    main(globals())
