"""The class that users subclass.

Responsible for the public face of a service: what it may override and what it inherits.
Never supervises, never touches the process: that is the worker's runtime. A subclass is
free to forget ``super().__init__()`` and to use any other attribute name for itself, so
nothing here is relied upon by the runtime but ``run``, ``terminate``, ``reload``, ``name`` and
``graceful_shutdown_timeout``. What it calls ``ready``, ``extend``, ``heartbeat`` or ``status``
hides ours.
"""

import os
import signal
from collections.abc import Mapping
from typing import Any

from cotyledon._link import LINK
from cotyledon.types import WorkerId

_SECOND = 1_000_000_000


class BaseService:
    """What services with threads and services with an event loop have in common."""

    name: str | None = None
    """The name in titles, logs and status. ``None``: the class's own name. May be set on
    the class, or on the instance in ``__init__``."""

    graceful_shutdown_timeout: float | None = None
    """Seconds that :meth:`terminate` may take before the worker ends with status 1.
    ``None``: the manager's value. 0: no limit of its own. The manager's own value bounds
    it in every case, unless that is 0 too."""

    worker_id: WorkerId
    """The index of this worker within its service, set by the runtime."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.name is None and BaseService not in cls.__bases__:
            cls.name = cls.__name__

    def __init__(self, worker_id: int) -> None:
        """Build the service in the worker process.

        Args:
            worker_id: from 0 to the number of workers - 1; a replacement has the id of the
                worker that it replaces.
        """
        self.worker_id = WorkerId(worker_id)

    def ready(self) -> None:
        """Tell the manager that the service is ready, if its policy is ``Start(ready="told")``.

        Otherwise the worker is ready when it is built, and this does nothing. Callable from any
        thread, and in ``__init__``, where it takes effect when the service is built. Only the
        first call counts. Outside a worker it does nothing.
        """
        LINK.ready()

    def extend(self, seconds: float) -> None:
        """Ask for more time to get ready, if the policy has a ``Start(timeout=...)``.

        The worker has this long from now on, if that is later than it had before. Callable from
        any thread, and in ``__init__``, repeatedly. It does nothing once the worker is ready, and
        outside a worker.

        Args:
            seconds: how long from now, at least 0; a number, or a string such as ``"10m"``.

        Raises:
            TypeError: ``seconds`` is no number.
            ValueError: ``seconds`` is negative or not finite.
        """
        from cotyledon import _values  # here: who only defines services does not need it

        found = _values.seconds("extend()", "seconds", seconds)
        LINK.extend(round(found * _SECOND))

    def heartbeat(self) -> None:
        """Tell the manager that the service is alive, if the policy has a ``watchdog``.

        It is to be called more often than the watchdog's seconds: a ready worker without a
        heartbeat for that long is killed. Callable from any thread, and in ``__init__``. It
        costs a look at the clock and a store into memory, so that it may be called in a tight
        loop. Outside a worker it does nothing.
        """
        LINK.beat()

    def status(self, text: str, figures: Mapping[str, float] | None = None) -> None:
        """Say what the service is doing, for people: the status of the manager shows it.

        Callable from any thread, and in ``__init__``, as often as it likes: at most ten times per
        second something is told, and the last call always is. Outside a worker it does nothing.

        Args:
            text: one line; what is after 200 characters is cut off. Empty: nothing any more.
            figures: numbers by name, for programs and metrics, at most 32 of them; they take the
                place of all earlier ones, ``None`` as well. They begin anew in each worker.

        Raises:
            TypeError: ``text`` is no string, a name is no string or a figure no number.
            ValueError: there are too many figures, a name is empty, longer than 40 characters or
                not printable, or a figure is not finite.
        """
        if not isinstance(text, str):
            raise TypeError(f"status(): 'text' must be a string, not: {text!r}")
        if figures:
            from cotyledon import _values  # as in extend()

            figures = _values.figures("status()", "figures", figures)
        LINK.say(text, figures or {})


def overrides(service: type[BaseService], method: str) -> bool:
    """Whether a class has a method of its own, and not that of the class that users subclass."""
    theirs = [kind for kind in service.__mro__ if BaseService in kind.__bases__]
    return all(getattr(service, method) is not getattr(kind, method) for kind in theirs)


class Service(BaseService):
    """One unit of work; the manager runs ``workers`` processes of it.

    In each worker process the class (or a factory) is called as
    ``service(worker_id, *args, **kwargs)`` in the main thread. Then :meth:`run` is called in
    a thread of its own. Threads that ``__init__`` starts live on, with or without ``run``.
    """

    def run(self) -> None:
        """Do the work. Called once, in a thread of its own; returning does not end the worker.

        An exception ends the worker with status 2, ``sys.exit(n)`` with status ``n``.
        """

    def terminate(self) -> None:
        """Stop the work: called once, in another thread than :meth:`run` and alongside it.

        The worker ends with status 0 when this returns, even if :meth:`run` has not
        returned. It is called for a SIGTERM to the worker, when the manager stops, restarts
        or scales down the worker, and when the master has died.
        """

    def reload(self) -> None:
        """Take up a new configuration: called on SIGHUP, in another thread than :meth:`run`.

        One call at a time; signals that arrive during a call lead to one more call. Not
        called any more once :meth:`terminate` has begun. This method, when not overridden or
        when called by the method that overrides it, restarts the worker instead.
        """
        os.kill(os.getpid(), signal.SIGTERM)
