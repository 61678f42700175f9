"""How long a slot waits after a death: arithmetic, no state.

Responsible for the two formulas of the back-off. Never remembers anything: the count of
failures is a field of the slot.
"""

from cotyledon.policy import Backoff

SECOND = 1_000_000_000


def count(failures: int, lived: int, backoff: Backoff) -> int:
    """Return the failures to count after one more death.

    Args:
        failures: those counted before.
        lived: nanoseconds that the worker was ready; each ``backoff.forgive`` seconds of
            them forgive one earlier failure.
        backoff: the policy.
    """
    return max(0, failures - lived // round(backoff.forgive * SECOND)) + 1


def delay(failures: int, backoff: Backoff, chance: float) -> int:
    """Return the nanoseconds to wait before the next start.

    Args:
        failures: as :func:`count` returned it; the first is free.
        backoff: the policy.
        chance: a number in [0, 1): the jitter takes that share of its part away.
    """
    if failures <= 1:
        return 0
    # The exponent is bounded because a float overflows long after the cap is reached.
    wait = min(backoff.cap, backoff.initial * backoff.factor ** min(failures - 2, 64))
    return round(wait * (1 - backoff.jitter * chance) * SECOND)
