"""The life of a worker whose service is an event loop.

Responsible for the loop: it runs in the main thread, which is the only one, and watches for
signals and for the master; ``run()``, ``reload()`` and ``terminate()`` are tasks of it. Never
imported where there is no such service, because it imports asyncio.

What is ours in the loop are few tasks and callbacks, so that a program that cancels every task,
or stops the loop, hurts itself alone. ``sys.exit()`` in a task of the program comes out of the
loop by asyncio's rules; it is taken up there, and the loop runs on for the end.
"""

import asyncio
import inspect
import io
import signal
from collections.abc import Collection
from typing import Any, NoReturn

from cotyledon._link import LINK
from cotyledon._posix import channel
from cotyledon._worker.life import BEFORE_RELOAD, Life

BEATS = 3
"""Heartbeats in the time of the watchdog."""


class Loop:
    """The event loop of a worker.

    Args:
        life: of this process; its service is built.
    """

    def __init__(self, life: Life) -> None:
        self._life = life
        self._loop: asyncio.AbstractEventLoop
        self._run_task: asyncio.Task[None] | None = None
        self._end_task: asyncio.Task[None] | None = None
        self._reload_due = False
        self._reloading: asyncio.Task[None] | None = None
        self._status: int | None = None  # to leave with, now
        self._seen: BaseException | None = None  # the last one that a status was made of

    def live(self) -> NoReturn:
        """Run the service, and end the process."""
        life = self._life
        try:
            self._make_loop()
        except BaseException as error:
            life.fail_to_build(error)
        life.clock_on_term = True  # the loop may be blocked when it comes
        if life.assignment.watchdog is not None:
            self._beat(life.assignment.watchdog / BEATS)
        life.built()
        if not life.inherits("run"):
            self._run_task = self._loop.create_task(self._run(), name="run")
        if life.told:
            self._reload(life.told)  # it was told before it began, and may know the old state
        while self._status is None:
            self._turn()
        life.leave(self._status or life.failed)

    def _make_loop(self) -> None:
        life = self._life
        # Not as an attribute of the instance: a function in the class would become a method.
        factory = vars(life.service).get("loop_factory", type(life.service).loop_factory)
        self._loop = loop = asyncio.new_event_loop() if factory is None else factory()
        asyncio.set_event_loop(loop)
        self._quieten()
        loop.add_reader(life.wakeup.fd, self._on_signal)
        loop.add_reader(life.channel, self._obey)

    def _turn(self) -> None:
        """Run the loop until it stops: at the end, or with what a task lets out."""
        try:
            self._loop.run_forever()
        except BaseException as error:
            self._quieten()
            self._fail(error, "a task")
            if self._loop.is_closed():  # there is no graceful end any more
                self._status = self._life.failed

    def _beat(self, seconds: float) -> None:
        LINK.beat()
        self._loop.call_later(seconds, self._beat, seconds)

    def _quieten(self) -> None:
        """Have asyncio not complain of a task that nobody has asked for its SystemExit."""
        theirs = self._loop.get_exception_handler()  # the program may have set one meanwhile

        def report(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
            if isinstance(context.get("exception"), SystemExit):
                return
            if theirs is None:
                loop.default_exception_handler(context)
            else:
                theirs(loop, context)

        self._loop.set_exception_handler(report)

    # Signals and orders

    def _on_signal(self) -> None:
        life = self._life
        life.catcher.drain()
        self._say_later()
        while life.catcher.caught:
            signum = life.catcher.caught.popleft()
            if signum == signal.SIGTERM:
                self._terminate()
            elif signum == signal.SIGHUP:
                self._reload(life.told)

    def _say_later(self) -> None:
        wait = self._life.say_waiting()
        if wait is not None:
            self._loop.call_later(wait, self._say_later)

    def _obey(self) -> None:
        messages = self._life.orders()
        if messages is None:
            self._loop.remove_reader(self._life.channel)
            self._terminate()
            return
        for message in messages:
            match message:
                case channel.StopMessage():
                    self._terminate()
                case channel.ReloadMessage(generation):
                    self._reload(generation)
                case channel.StacksMessage(aloud):
                    self._life.tell_stacks(aloud, self._stacks_of_tasks())
                case _:
                    pass

    def _stacks_of_tasks(self) -> str:
        pieces = io.StringIO()
        for task in asyncio.all_tasks(self._loop):
            try:
                task.print_stack(file=pieces)
            except Exception:  # what stands for a coroutine may have no frames
                pieces.write(f"{task!r}\n")
            pieces.write("\n")
        return pieces.getvalue()

    # run() and reload()

    async def _call(self, method: str) -> None:
        awaitable = getattr(self._life.service, method)()
        if not inspect.isawaitable(awaitable):
            raise TypeError(f"{method}() of {self._life.name} must be a coroutine ('async def')")
        await awaitable

    async def _run(self) -> None:
        try:
            await self._call("run")
        except BaseException as error:
            self._fail(error, "run()")

    def _reload(self, generation: int) -> None:
        life = self._life
        life.told = max(life.told, generation)
        if not life.has_reload():
            self._terminate()
        elif not life.ending:
            self._reload_due = True
            if self._reloading is None or self._reloading.done():
                self._reloading = self._loop.create_task(self._reload_while_due(), name="reload")

    async def _reload_while_due(self) -> None:
        life = self._life
        try:
            while self._reload_due and not life.ending:
                self._reload_due = False
                generation = life.told
                for prepare in BEFORE_RELOAD:
                    prepare()
                await self._call("reload")
                life.read_grace()
                life.reloaded(generation)
        except BaseException as error:
            self._fail(error, "reload()")

    # The end

    def _fail(self, error: BaseException, where: str) -> None:
        """Take note of what a method or a task has raised, and end the worker."""
        life = self._life
        if isinstance(error, asyncio.CancelledError) and life.ending:
            return
        if error is self._seen:
            return  # a task has passed on what another one has raised
        self._seen = error
        status = life.status_of(error, where, 2)
        if not life.begin_end():
            life.failed = life.failed or status
        elif self._loop.is_closed():
            life.failed = status
        else:
            self._end_task = self._loop.create_task(self._end(status), name="end")

    def _terminate(self) -> None:
        if self._life.begin_end():
            self._end_task = self._loop.create_task(self._terminate_and_end(), name="terminate")

    async def _terminate_and_end(self) -> None:
        status = 0
        try:
            if self._reloading is not None:
                await asyncio.wait([self._reloading])  # the two never overlap
            await self._call("terminate")
        except BaseException as error:
            self._seen = error
            status = self._life.status_of(error, "terminate()", 2)
        await self._end(status)

    async def _end(self, status: int) -> None:
        """Leave no task behind; the clock is running."""
        try:
            if self._run_task is not None:
                await self._cancel({self._run_task})  # first: it may need the others to clean up
            while left := asyncio.all_tasks() - {asyncio.current_task()}:
                await self._cancel(left)
            await self._loop.shutdown_asyncgens()
        finally:
            self._status = status
            self._loop.stop()

    async def _cancel(self, tasks: Collection[asyncio.Task[Any]]) -> None:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        for task in tasks:
            error = None if task.cancelled() else task.exception()
            if error is not None and not isinstance(error, SystemExit):
                self._loop.call_exception_handler(
                    {
                        "message": "a task has failed while it was cancelled",
                        "exception": error,
                        "task": task,
                    }
                )
