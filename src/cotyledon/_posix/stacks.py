"""The stacks of a worker's threads, for people: how they are asked for, told and read.

Responsible for the two signals, and for the file in memory that the master keeps to read when the
worker is dead. The worker's side is :mod:`faulthandler`'s C code, so that it answers while
some C code holds the GIL. Never waits for an answer.

Two signals, because one dump goes to one place: the file, for the record of the death, and the
worker's own standard error, for whoever reads that. They are real-time signals in the middle of
the range: the C library, runtimes and init systems number theirs from one of its ends.
"""

import errno
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

_THREAD = 1 << 0
"""``PIDFD_SIGNAL_THREAD`` of ``pidfd_send_signal(2)``, Linux 6.9: the thread that the descriptor
stands for, which is the main thread, and no other one of its process."""


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

    The signals would end a process that does not answer: one that has executed another program in
    its place is left alone.

    faulthandler drops a dump that begins during another one, in whatever thread. So both signals
    go to the main thread, and are made to arrive at once, while the process is stopped: then the
    one with the higher number, which is the file's, is handled to its end before the other one
    begins, and a standard error that nobody reads does not hold it up. A process that somebody
    else has stopped stays so, and answers when it goes on.
    """
    state, caught = _look(process.pid)
    if caught is not None and not all(caught >> (signum - 1) & 1 for signum in SIGNALS):
        return
    stopped = state in {"T", "t"}
    try:
        if not stopped:
            process.send_signal(signal.SIGSTOP)
        for signum in (TO_FILE, TO_STDERR):
            _send_to_main_thread(process, signum)
    except (OSError, AttributeError):  # it is another user's; an old kernel and another C library
        pass
    try:
        if not stopped:
            process.send_signal(signal.SIGCONT)
    except OSError:
        pass


def _look(pid: int) -> tuple[str, int | None]:
    """Return the state of a process and the set of signals that it catches, as far as known."""
    state, caught = "", None
    try:
        with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as status:
            for line in status:
                if line.startswith("State:"):
                    state = line.split()[1]
                elif line.startswith("SigCgt:"):
                    caught = int(line.split()[1], 16)
    except (OSError, IndexError, ValueError):
        pass
    return state, caught


def _send_to_main_thread(process: Process, signum: int) -> None:
    try:
        signal.pidfd_send_signal(process.pidfd, signum, None, _THREAD)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        # Linux before 6.9. The number is that of our child, which is not reaped.
        import ctypes  # here: only those who have to ask pay for it

        ctypes.CDLL(None).tgkill(process.pid, process.pid, signum)


def dump(fd: int, aloud: bool, more: str = "") -> None:
    """Write the stacks of all threads of this process to the file; never raises.

    Unlike the answer to a signal it is Python that writes, so a thread that runs does no harm.

    Args:
        fd: what the master reads.
        aloud: to write them to standard error as well, as far as that takes them at once.
        more: something to be written below them.
    """
    try:
        text = (_stacks() + more).encode(errors="replace")
        os.write(fd, text)
        if aloud:
            _write_quickly(_STDERR, text)
    except Exception:  # a program that has replaced something that is needed
        pass


def _write_quickly(fd: int, text: bytes) -> None:
    import select

    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    for start in range(0, len(text), select.PIPE_BUF):
        if not poll.poll(0):
            return  # nobody reads it
        os.write(fd, text[start : start + select.PIPE_BUF])  # so much does not block


def _stacks() -> str:
    import sys
    import threading
    import traceback

    names = {thread.ident: thread.name for thread in threading.enumerate()}
    pieces = []
    for ident, frame in sys._current_frames().items():
        pieces.append(f"Thread {names.get(ident, 'of C code')!s} (most recent call last):\n")
        stack = traceback.format_stack(frame)
        mine = next((i for i, line in enumerate(stack) if __file__ in line), len(stack))
        pieces.extend(stack[:mine])
        pieces.append("\n")
    return "".join(pieces)


def clear(fd: int) -> None:
    """Empty the file, for the next dump; never raises."""
    try:
        os.ftruncate(fd, 0)
        os.lseek(fd, 0, os.SEEK_SET)  # where the worker writes, too: it is the same open file
    except OSError:
        pass


def size(fd: int) -> int:
    """Return how many bytes were written to the file so far; never raises."""
    try:
        return os.fstat(fd).st_size
    except OSError:
        return 0


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
