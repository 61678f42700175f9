"""The class that users subclass for a service that is an event loop.

Responsible for the same as :mod:`cotyledon.service`, with coroutines. Never imports asyncio: the
worker does, when it has such a service, and the master never has to.
"""

import os
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING

from cotyledon.service import BaseService

if TYPE_CHECKING:
    import asyncio


class AsyncService(BaseService):
    """One unit of work whose methods are coroutines; see :class:`Service` for the rest.

    In each worker process the class (or a factory) is called as
    ``service(worker_id, *args, **kwargs)``, before the event loop runs. Then the loop runs in the
    main thread, and the worker has no other: :meth:`run`, :meth:`reload` and :meth:`terminate`
    are tasks of it. Exceptions and ``sys.exit(n)`` in them, and ``sys.exit(n)`` in any other task,
    end the worker with the same statuses as those of a :class:`Service`.

    When the worker is to end, first ``terminate()`` is called, then ``run()`` is cancelled and
    waited for, then all tasks that are left, and asynchronous generators are closed. The graceful
    timeout bounds all of that: what ignores its cancellation, or blocks the loop, ends with the
    process, with status 1 (by the manager half a second later, if the loop did not even hear of
    the end).

    With ``Policy(watchdog=...)`` the loop calls :meth:`heartbeat` by itself, so that a loop that
    is blocked is found.

    Leave TERM, INT, HUP and ALRM to the worker: ``loop.add_signal_handler()`` for one of them
    takes it away from it.
    """

    loop_factory: "Callable[[], asyncio.AbstractEventLoop] | None" = None
    """Makes the event loop, such as ``uvloop.new_event_loop``. ``None``: asyncio's own."""

    async def run(self) -> None:
        """Do the work. Called once; returning does not end the worker.

        An exception ends the worker with status 2, ``sys.exit(n)`` with status ``n``. When
        :meth:`terminate` has returned, this is cancelled if it still goes on.
        """

    async def terminate(self) -> None:
        """Stop the work: called once, alongside :meth:`run`.

        The worker ends with status 0 when this has returned and the tasks that are left have
        been cancelled. It is called for a SIGTERM to the worker, when the manager stops,
        restarts or scales down the worker, and when the master has died.
        """

    async def reload(self) -> None:
        """Take up a new configuration: called on SIGHUP, alongside :meth:`run`.

        One call at a time; signals that arrive during a call lead to one more call. Not
        called any more once the worker is to end; :meth:`terminate` waits for one that is
        running. This method, when not overridden or when called by the method that overrides
        it, restarts the worker instead.
        """
        os.kill(os.getpid(), signal.SIGTERM)
