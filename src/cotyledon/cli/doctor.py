"""``doctor``: what of this machine, or of a target, will be trouble.

Responsible for looking, and for saying what to do. Never changes anything.
"""

import os
import platform
import resource
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import click

from cotyledon.cli.faults import Exit
from cotyledon.cli.tables import writer
from cotyledon.cli.target import current_directory_first, resolve

OK, WARN, FAIL = "ok", "warn", "fail"
STYLES = {OK: "green", WARN: "yellow", FAIL: "bold red"}

DESCRIPTORS = 4096
"""A soft limit below this is low for a server; the master itself raises its own."""
PROCESSES = 1024


class Finding(NamedTuple):
    """One line."""

    grade: str
    what: str
    text: str


@click.command(short_help="Look for trouble on this machine and in a TARGET.")
@click.argument("target", required=False)
def doctor(target: str | None) -> int:
    """Look for trouble: on this machine and, with a TARGET as for run, in that.

    Exits with 1 if a line says fail.
    """
    write = writer()
    worst = OK
    checks: list[Callable[[], Iterator[Finding]]] = [
        kernel, packages, limits, memory, run_folder, init, control_groups, systemd,
    ]  # fmt: skip
    if target is not None:
        checks.append(lambda: of_target(target))
    for check in checks:
        for grade, what, text in check():
            write(f"{grade:<5} {what:<18} {text}", STYLES[grade] if grade != OK else "")
            worst = max(worst, grade, key=[OK, WARN, FAIL].index)
    return Exit.BAD if worst == FAIL else Exit.DONE


def kernel() -> Iterator[Finding]:
    """Look at the kernel: its version, and what depends on it."""
    release = platform.release()
    numbers = tuple(int(part) for part in release.split("-")[0].split(".")[:2] if part.isdigit())
    if numbers < (5, 4):
        yield Finding(FAIL, "kernel", f"Linux {release}: cotyledon needs 5.4 or later")
    elif numbers < (5, 14):
        text = f"Linux {release}: before 5.14 a worker's tree is killed by its process group"
        yield Finding(WARN, "kernel", text)
    else:
        yield Finding(OK, "kernel", f"Linux {release}")
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError as error:
        text = f"pidfd_open() fails: {error.strerror}: a seccomp filter may forbid it; allow it"
        yield Finding(FAIL, "pidfd", text)
    else:
        yield Finding(OK, "pidfd", "processes can be known by descriptors")


def packages() -> Iterator[Finding]:
    """Look for what cotyledon needs in Python."""
    try:
        import setproctitle
    except ImportError:
        text = "missing: pip install setproctitle; without it nothing runs"
        yield Finding(FAIL, "setproctitle", text)
    else:
        yield Finding(OK, "setproctitle", setproctitle.__version__)


def limits() -> Iterator[Finding]:
    """Look at the limits of descriptors and processes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    text = f"{_limit(soft)}, at most {_limit(hard)}"
    if hard != resource.RLIM_INFINITY and hard < DESCRIPTORS:
        text += f": low; raise LimitNOFILE= of the unit, or ulimit -Hn, to {DESCRIPTORS} or more"
        yield Finding(WARN, "RLIMIT_NOFILE", text)
    else:
        yield Finding(OK, "RLIMIT_NOFILE", text)
    soft, hard = resource.getrlimit(resource.RLIMIT_NPROC)
    if soft != resource.RLIM_INFINITY and soft < PROCESSES and os.geteuid() != 0:
        text = (
            f"{soft} for all processes and threads of this user: raise ulimit -u, or LimitNPROC="
        )
        yield Finding(WARN, "RLIMIT_NPROC", text)
    else:
        yield Finding(OK, "RLIMIT_NPROC", _limit(soft))


def _limit(value: int) -> str:
    return "no limit" if value == resource.RLIM_INFINITY else str(value)


def memory() -> Iterator[Finding]:
    """Look whether the private memory of workers can be measured."""
    try:
        Path("/proc/self/smaps_rollup").read_text()
    except OSError as error:
        text = f"{error.strerror}: Recycle(memory=...) and the columns of memory do not work"
        yield Finding(WARN, "smaps_rollup", text)
    else:
        yield Finding(OK, "smaps_rollup", "memory can be measured")


def run_folder() -> Iterator[Finding]:
    """Look where control sockets go."""
    base = os.environ.get("XDG_RUNTIME_DIR", "")
    if not base:
        if os.geteuid() == 0:
            yield Finding(OK, "XDG_RUNTIME_DIR", "not set: control sockets are in /run/cotyledon")
        else:
            text = "not set: no control socket by default; set it, or give run --control PATH"
            yield Finding(WARN, "XDG_RUNTIME_DIR", text)
        return
    if not os.path.isabs(base) or not os.path.isdir(base):
        yield Finding(FAIL, "XDG_RUNTIME_DIR", f"{base} is no folder: create it, or unset it")
    elif not os.access(base, os.W_OK | os.X_OK):
        yield Finding(FAIL, "XDG_RUNTIME_DIR", f"{base} cannot be written: is it another user's?")
    elif os.stat(base).st_uid != os.geteuid():
        text = f"{base} belongs to another user: after su or sudo, unset it"
        yield Finding(WARN, "XDG_RUNTIME_DIR", text)
    else:
        yield Finding(OK, "XDG_RUNTIME_DIR", base)


def init() -> Iterator[Finding]:
    """Look at who reaps orphans."""
    if os.getpid() == 1:
        yield Finding(OK, "PID 1", "this is PID 1: a manager here reaps orphans itself")
        return
    try:
        name = Path("/proc/1/comm").read_text().strip()
    except OSError:
        name = "hidden"
    if name in ("sh", "bash", "dash", "sleep", "tail"):
        text = f"{name} reaps no orphans in time: have the container start cotyledon itself (exec)"
        yield Finding(WARN, "PID 1", text)
    else:
        yield Finding(OK, "PID 1", name)


def control_groups() -> Iterator[Finding]:
    """Look whether the cgroup is delegated to us."""
    what = "cgroup"
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        lines = []
    ours = next((line[3:] for line in lines if line.startswith("0::")), None)
    root = Path("/sys/fs/cgroup")
    if ours is None or not (root / "cgroup.controllers").exists():
        text = "no cgroup v2 here: a helper of a worker that calls setsid() can outlive it"
        yield Finding(WARN, what, text)
        return
    folder = root / ours.lstrip("/")
    if os.access(folder, os.W_OK) and os.access(folder / "cgroup.procs", os.W_OK):
        yield Finding(OK, what, f"{ours} can be written: whole trees can be killed")
    else:
        text = f"{ours} is not delegated: Delegate=yes in the unit has whole trees killed"
        yield Finding(WARN, what, text)


def systemd() -> Iterator[Finding]:
    """Look at what systemd has told this process, if it did."""
    from cotyledon.cli.unit import NOTIFY_RELOAD, installed

    version = installed()
    if version is None:
        yield Finding(OK, "systemd", "not here")
    elif version < NOTIFY_RELOAD:
        text = f"{version}: no Type=notify-reload before {NOTIFY_RELOAD}; use Type=notify"
        yield Finding(OK, "systemd", text)
    else:
        yield Finding(OK, "systemd", f"{version}: Type=notify-reload")
    under = "INVOCATION_ID" in os.environ
    if "NOTIFY_SOCKET" in os.environ:
        yield Finding(OK, "NOTIFY_SOCKET", "set: the unit hears when it is ready")
    elif under and "SYSTEMD_EXEC_PID" in os.environ:
        text = "not set in a unit: give it Type=notify-reload or notify; see 'cotyledon unit'"
        yield Finding(WARN, "NOTIFY_SOCKET", text)


def of_target(target: str) -> Iterator[Finding]:
    """Import a target, and look whether forking after that is safe."""
    current_directory_first()
    before = _threads()
    if target.endswith(".toml"):
        from cotyledon.cli.config import read

        read(target)
    else:
        resolve(target)
    yield Finding(OK, target, "can be imported")
    extra = _threads() - before
    if extra <= 0:
        yield Finding(OK, "threads", "none are started by the import: forking is safe")
        return
    known = [one.name for one in threading.enumerate() if one is not threading.main_thread()]
    hidden = extra - len(known)
    names = ", ".join(known) + (f" and {hidden} outside Python" if known and hidden > 0 else "")
    text = (
        f"{extra} before the fork ({names or 'outside Python'}): their locks may be held for "
        "ever in workers; start them in the service's __init__, or use --start-method spawn"
    )
    yield Finding(FAIL, "threads", text)


def _threads() -> int:
    return len(os.listdir("/proc/self/task"))
