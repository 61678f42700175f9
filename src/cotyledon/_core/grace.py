"""Which graceful timeout holds for a worker.

Responsible for one rule, so that the core, the guard and the worker itself agree on it.
"""


def bounded(own: int | None, managers: int) -> int:
    """Return a worker's graceful timeout in nanoseconds (0: none).

    Args:
        own: the service's own (``None``: the manager's; 0: none of its own).
        managers: the manager's, which bounds the service's own (0: none).
    """
    if own is None:
        return managers
    if not managers:
        return own
    return min(own, managers) if own else managers
