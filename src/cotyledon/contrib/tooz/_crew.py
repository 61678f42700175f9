"""How many workers a manager says it has: what is ready, without the noise.

Responsible for one number per service. Never looks at a clock or at shared memory. What a group is
told costs each member a change of its ring, so it is told little: that a worker is replaced is
nobody's business but its manager's.
"""

from collections.abc import Mapping, Sequence

SECOND = 1_000_000_000
MISSED = 5 * SECOND
"""For how long a worker that is not ready is still counted, if others are."""
ABSENT = SECOND
"""For how long a service is still there though none of its workers is."""
STEADY = 300_000_000
"""For how long the numbers must be the same before they are told."""
LONGEST = 2 * SECOND
"""After so long they are told, however they change."""


class Crew:
    """Counts workers.

    Args:
        at_once: whether the first count is told without waiting for another one like it: whoever
            goes on for a predecessor has no time to lose, and finds the workers as they are.
    """

    def __init__(self, *, at_once: bool = False) -> None:
        self._steady = 0 if at_once else STEADY
        self._seen: dict[tuple[str, int], int] = {}  # when a slot was last ready
        self._told: dict[str, int] = {}
        self._next: dict[str, int] = {}
        self._differs_since = 0
        self._next_since = 0

    def count(self, now: int, ready: Mapping[str, Sequence[int]]) -> dict[str, int]:
        """Return how many workers of which service are to be told.

        Args:
            now: in nanoseconds.
            ready: by service and worker id, something other than 0 where a worker is ready.
        """
        for name, slots in ready.items():
            for worker_id, there in enumerate(slots):
                if there:
                    self._seen[name, worker_id] = now
        found: dict[str, int] = {}
        for (name, _), seen in list(self._seen.items()):
            slots = ready.get(name, ())
            # Without a slot it is not that workers are away: it was scaled to nothing.
            longest = MISSED if any(slots) else ABSENT if slots else 0
            if now - seen <= longest:
                found[name] = found.get(name, 0) + 1
        if found == self._told:
            self._next, self._differs_since = found, 0
            return self._told
        if found != self._next:
            self._next, self._next_since = found, now
        self._differs_since = self._differs_since or now
        if now - self._next_since >= self._steady or now - self._differs_since >= LONGEST:
            self._told, self._differs_since, self._steady = found, 0, STEADY
        return self._told
