"""The life of a worker whose service has threads.

Responsible for the threads: the main thread waits for signals and for the master; ``run()``,
``reload()`` and ``terminate()`` have a thread each. Exactly one thread ends the process. Never
waits for ``run()`` to return.
"""

import _thread
import select
import signal
import threading
from collections.abc import Callable
from typing import NoReturn

from cotyledon._posix import channel
from cotyledon._worker.life import BEFORE_RELOAD, Life


class Threads:
    """The threads of a worker.

    Args:
        life: of this process; its service is built.
    """

    def __init__(self, life: Life) -> None:
        self._life = life
        self._poll = life.poll
        self._poll.register(life.wakeup.fd, select.POLLIN)
        self._reload_due = False
        self._reloading: threading.Thread | None = None

    def live(self) -> NoReturn:
        """Run the service, and end the process."""
        life = self._life
        life.built()
        if not life.inherits("run"):
            self._thread("run", self._run)
        if life.told:
            self._reload(life.told)  # it was told before it began, and may know the old state
        self._listen()

    # The main thread

    def _listen(self) -> NoReturn:
        life, poll = self._life, self._poll
        while True:
            life.catcher.claim()  # the service may have run something that took it over
            while life.catcher.caught:
                signum = life.catcher.caught.popleft()
                if signum == signal.SIGTERM:
                    self._terminate()
                elif signum == signal.SIGHUP:
                    self._reload(life.told)
            wait = life.say_waiting()
            for fd, _ in poll.poll(wait and wait * 1000):
                if fd == life.wakeup.fd:
                    life.catcher.drain()
                elif not self._obey():
                    poll.unregister(fd)

    def _obey(self) -> bool:
        """Do what the master says; return whether it is still there."""
        messages = self._life.orders()
        if messages is None:
            self._terminate()
            return False
        for message in messages:
            match message:
                case channel.StopMessage():
                    self._terminate()
                case channel.ReloadMessage(generation):
                    self._reload(generation)
                case channel.StacksMessage(aloud):
                    self._life.tell_stacks(aloud)
                case _:
                    pass
        return True

    def _thread(self, name: str, target: Callable[[], object]) -> threading.Thread:
        thread = threading.Thread(target=target, name=name, daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # no thread can be had any more
            self._fail(error, f"{name}()")
        return thread

    def _fail(self, error: BaseException, where: str) -> None:
        life = self._life
        status = life.status_of(error, where, 2)
        if life.begin_end():
            life.leave(status)
        life.failed = life.failed or status

    # run()

    def _run(self) -> None:
        try:
            self._life.service.run()
        except BaseException as error:
            self._fail(error, "run()")

    # reload()

    def _reload(self, generation: int) -> None:
        life = self._life
        life.told = max(life.told, generation)
        if not life.has_reload():
            self._terminate()
            return
        with life.lock:
            if life.ending:
                return
            self._reload_due = True
            if self._reloading is None:
                self._reloading = self._thread("reload", self._reload_while_due)

    def _reload_while_due(self) -> None:
        life = self._life
        while True:
            with life.lock:
                if life.ending or not self._reload_due:
                    self._reloading = None
                    return
                self._reload_due = False
                generation = life.told
            try:
                for prepare in BEFORE_RELOAD:
                    prepare()
                life.service.reload()
                life.read_grace()
            except BaseException as error:
                self._fail(error, "reload()")
                return
            life.reloaded(generation)

    # terminate()

    def _terminate(self) -> None:
        if self._life.begin_end():
            try:
                # Bare: threading.Thread.start() would wait for the thread to begin.
                _thread.start_new_thread(self._terminate_and_leave, ())
            except RuntimeError:  # no thread can be had any more
                self._terminate_and_leave()

    def _terminate_and_leave(self) -> NoReturn:
        life = self._life
        status = 0
        reloading = self._reloading
        if reloading is not None:
            reloading.join()  # the two never overlap; the clock is running already
        try:
            life.service.terminate()
        except BaseException as error:
            status = life.status_of(error, "terminate()", 2)
        life.leave(status or life.failed)
