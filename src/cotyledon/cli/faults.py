"""How the command ends.

Responsible for the exit statuses and for the one exception that carries one. Never prints.
"""

import enum


class Exit(enum.IntEnum):
    """The exit statuses of the command."""

    DONE = 0
    """It was done, and with ``--wait`` it was seen to be."""
    BAD = 1
    """It was done, and the outcome is bad: a rollout has failed, a probe finds no health."""
    USAGE = 2
    """The command line, the target or the configuration file is wrong: nothing was done."""
    UNKNOWN = 3
    """There is no such service or worker."""
    NO_MANAGER = 4
    """No manager answers: none runs, its socket is stale, or it has ended during the answer."""
    CONFLICT = 5
    """Somebody else was in the way: another command, a stop, or a manager of the same name."""
    TIMEOUT = 6
    """The outcome was not seen in time; the manager goes on with it."""
    FORBIDDEN = 7
    """The manager belongs to another user."""
    OUTPUT = 8
    """What there was to say could not be written; a command may have been carried out."""


class Fault(Exception):
    """Something that ends the command.

    Args:
        status: the exit status.
        text: one line: what was wrong, where, and what to do.
    """

    def __init__(self, status: Exit, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = " ".join(text.split("\n"))
