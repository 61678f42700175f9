"""Descriptors: how many there may be, and the three that must be there.

Responsible for letting the master hold two descriptors per worker, and for giving workers back
the limit that the program started with. Never changes the hard limit.
"""

import os
import resource

ENOUGH = 1 << 17


class Descriptors:
    """The soft limit of this process, raised towards the hard one."""

    def __init__(self) -> None:
        self.before = resource.getrlimit(resource.RLIMIT_NOFILE)
        """The soft and the hard limit that the program started with."""
        self._raised = False

    def raise_limit(self) -> None:
        """Raise the soft limit to what many workers need, as far as the hard one allows."""
        soft, hard = self.before
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
            self.set(self.before)

    @staticmethod
    def set(bounds: tuple[int, int]) -> None:
        """Set the soft and the hard limit, if that is allowed."""
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, bounds)
        except (OSError, ValueError):
            pass


def open_standard_descriptors() -> None:
    """Make sure that 0, 1 and 2 are open, or ours would get their numbers."""
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(fd, True)
    os.close(fd)
