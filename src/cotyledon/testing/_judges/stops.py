"""The order of services, and the end of the manager.

Responsible for what must have been seen before a service starts, for who is told first in a stop,
and for the exit.
"""

from collections.abc import Sequence

from cotyledon._core import effects as fx
from cotyledon._core import events as ev
from cotyledon._core.effects import Reason
from cotyledon.testing._books import SECOND, ServiceBook, Violation
from cotyledon.testing._judges import Judge

GIVEN_UP_AFTER = 3 * SECOND
IN_ORDER = 0.75


class Stops(Judge):
    """Judges order and exit."""

    # Events

    def _stop(self, now: int, event: ev.StopRequested) -> None:
        books = self.books
        within = books.grace if event.within is None else event.within
        self._begin(now, within)
        if within:
            until = now + int(within * IN_ORDER)
            if books.ordered_until is None or until < books.ordered_until:
                books.ordered_until = until

    def _hurry(self, now: int, event: ev.HurryRequested) -> None:
        self._begin(now, SECOND)
        self.books.hurried = True

    def _abort(self, now: int, event: ev.AbortRequested) -> None:
        self._begin(now, 1)
        self.books.hurried = self.books.aborted = True

    def _begin(self, now: int, within: int) -> None:
        books = self.books
        if books.asked_at is None:
            books.asked_at = now
        if within and (books.stop_at is None or now + within < books.stop_at):
            books.stop_at = now + within

    # Effects

    def _spawn(self, now: int, effect: fx.Spawn) -> None:
        if not self.books.services[effect.service].opened:
            raise Violation("a service was started before those that it comes after")

    def _terminate(self, now: int, effect: fx.Terminate) -> None:
        books = self.books
        if effect.reason is not Reason.STOPPED:
            return
        if books.asked_at is None:
            raise Violation("a worker was stopped without a stop")
        service = books.known(effect.worker, "Terminate").service
        if self._waits(service, now, 0):
            raise Violation("a service was stopped before those that come after it")

    def _waits(self, service: ServiceBook, now: int, patience: int) -> bool:
        """Whether a service must, or with patience may, still wait for others to stop."""
        books = self.books
        if books.hurried or not any(one.slots for one in service.later):
            return False
        return books.ordered_until is None or now < books.ordered_until + patience

    def _exit(self, now: int, effect: fx.Exit) -> None:
        books = self.books
        if books.asked_at is None:
            raise Violation("an exit that nobody asked for")
        if books.workers:
            raise Violation(f"an exit with workers left: {sorted(books.workers)}")
        last = books.stop_at
        if last is not None and now > last + GIVEN_UP_AFTER + 2 * books.punctual:
            raise Violation("the exit came after its deadline")
        if effect.status != int(books.aborted or books.late_kill or books.escalated == 1):
            raise Violation(f"the exit status is {effect.status}")
        books.exit = effect.status

    # Moments

    def decided(self, now: int) -> None:
        """A service may start once those before have been complete at one instant."""
        for service in self.books.services.values():
            if not service.opened and all(s.opened and s.complete() for s in service.after):
                service.opened = True
                service.progress_at = service.asked_at = now

    def after(self, now: int, events: Sequence[ev.Event]) -> None:
        """In a stop, everybody has been told whose turn it is."""
        books = self.books
        if books.asked_at is None:
            return
        if not books.workers and books.exit is None:
            raise Violation("nothing is left, and there is no exit")
        for key, worker in books.workers.items():
            if books.aborted and not worker.killed:
                raise Violation(f"worker {key} was not killed at once")
            if worker.ending:
                continue
            if not self._waits(worker.service, now, books.punctual):
                raise Violation(f"worker {key} was not told of the stop")
            if books.stop_at is not None and now >= books.stop_at:
                raise Violation(f"worker {key} was not told before the deadline of the stop")

    EVENTS = {  # noqa: RUF012 - declared by the base class
        ev.StopRequested: _stop,
        ev.HurryRequested: _hurry,
        ev.AbortRequested: _abort,
    }
    EFFECTS = {  # noqa: RUF012 - declared by the base class
        fx.Spawn: _spawn,
        fx.Terminate: _terminate,
        fx.Exit: _exit,
    }
