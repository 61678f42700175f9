"""The stacks of a worker's threads, for people: how they are asked for, told and read.

Responsible for the two signals, and for the file in memory that the master keeps to read when the
worker is dead. The worker's side is :mod:`faulthandler`'s C code, so that it answers while
some C code holds the GIL. Never waits for an answer.

Two signals, because one dump goes to one place: the file, for the record of the death, and the
worker's own standard error, for whoever reads that. They are real-time signals in the middle of
the range: the C library, runtimes and init systems number theirs from one of its ends.
"""

import os
import signal

from cotyledon._posix.processes import Process

TO_STDERR = signal.SIGRTMIN + 10
"""Asks a worker to write the stacks of its threads to its standard error."""
TO_FILE = signal.SIGRTMIN + 11
"""Asks a worker to write the stacks of its threads to the file that :func:`make` has made."""
SIGNALS = (TO_STDERR, TO_FILE)

LARGEST = 1 << 16
"""Bytes of a dump that :func:`read` returns at most."""

_STDERR = 2


def make() -> int:
    """Return the descriptor of a new file in memory.

    Raises:
        OSError: no descriptor is left.
    """
    return os.memfd_create("cotyledon-stacks", os.MFD_CLOEXEC)


def answer(fd: int) -> None:
    """Have this process answer, from now on, also while C code holds the GIL.

    Args:
        fd: of the file that the master reads.
    """
    import faulthandler

    # By number: what the program does to sys.stderr does not matter.
    faulthandler.register(TO_FILE, fd, all_threads=True)
    faulthandler.register(TO_STDERR, _STDERR, all_threads=True)
    unblock()


def unblock() -> None:
    """Let the two signals through, in the thread that calls this and those that it starts."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def forget() -> None:
    """Answer no longer: in a child that was forked, the descriptor is closed."""
    import faulthandler

    for signum in SIGNALS:
        faulthandler.unregister(signum)


def ask(process: Process) -> None:
    """Ask a worker that answers for the stacks of its threads; never raises, never waits.

    The signals would end a process that does not answer.

    faulthandler drops a dump that interrupts another one, so both are made to arrive at once,
    while the process is stopped. Then the one with the higher number, which is the file's, is
    handled first, and a standard error that nobody reads does not hold it up. A process that
    somebody else has stopped stays so, and answers when it goes on.
    """
    signals: tuple[int, ...] = (TO_FILE, TO_STDERR)
    if not _stopped(process.pid):
        signals = (signal.SIGSTOP, *signals, signal.SIGCONT)
    for signum in signals:
        try:
            process.send_signal(signum)
        except OSError:
            pass


def _stopped(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            return stat.read().rpartition(b")")[2].split()[0] in b"Tt"
    except (OSError, IndexError):
        return False


def read(fd: int) -> str:
    """Return what was written to the file so far, at most 64 KiB of it; never raises.

    Args:
        fd: what :func:`make` has returned.
    """
    try:
        size = os.fstat(fd).st_size
        text = os.pread(fd, LARGEST, 0).decode(errors="replace")
    except OSError:
        return ""
    if size > LARGEST:
        text += f"\n[truncated: {LARGEST} of {size} bytes]\n"
    return text
