"""The limit of open descriptors.

Responsible for letting the master hold two descriptors per worker, and for giving workers back
the limit that the program started with. Never changes the hard limit.
"""

import resource

ENOUGH = 1 << 17


class Descriptors:
    """The soft limit of this process, raised towards the hard one."""

    def __init__(self) -> None:
        self._before = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._raised = False

    def raise_limit(self) -> None:
        """Raise the soft limit to what many workers need, as far as the hard one allows."""
        soft, hard = self._before
        enough = ENOUGH if hard == resource.RLIM_INFINITY else min(hard, ENOUGH)
        if soft != resource.RLIM_INFINITY and soft < enough:
            self._raised = True
            try:
                resource.setrlimit(resource.RLIMIT_NOFILE, (enough, hard))
            except (OSError, ValueError):
                pass

    def restore(self) -> None:
        """Set what the program started with."""
        if self._raised:
            try:
                resource.setrlimit(resource.RLIMIT_NOFILE, self._before)
            except (OSError, ValueError):
                pass
