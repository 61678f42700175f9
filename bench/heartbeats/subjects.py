"""The subjects: how each of them is started.

Responsible for giving each subject its interpreter and an equal environment. Never measures.
"""

import os
import subprocess
from pathlib import Path
from typing import NamedTuple

from bench.heartbeats.plan import APART, MAIN

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = Path(__file__).resolve().parent / "programs"


class Subject(NamedTuple):
    """Something to measure."""

    name: str
    python: str
    program: str
    rpc: tuple[str, ...] = (MAIN,)  # where it has RPC servers
    works: bool = True  # whether it has a main job; the floor has none

    def command(self, task: str) -> list[str]:
        """Return the command line that runs it."""
        return [self.python, "-P", str(PROGRAMS / self.program), task]

    @property
    def environment(self) -> dict[str, str]:
        """The variables that it sees: its own packages, and the bench."""
        plain = {name: text for name, text in os.environ.items() if not name.startswith("PYTHON")}
        paths = [str(ROOT), str(ROOT / "src")] if self.name == "ours" else [str(ROOT)]
        return plain | {"PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"}


def subjects(
    python: str, reference: str | None, eventlet: str | None, threading: str | None
) -> list[Subject]:
    """Return the floor, and then the subjects in the order in which they are shown.

    Args:
        python: the interpreter of the plain processes and of this package.
        reference: that of an environment with cotyledon 2.2.0; None leaves it out.
        eventlet: the same with oslo.service.
        threading: the same with oslo.service and cotyledon 2.2.0.

    Raises:
        SystemExit: one of them has not the cotyledon that it should have.
    """
    found = [
        Subject("floor", python, "plain.py", rpc=(), works=False),
        Subject("plain", python, "plain.py"),
        Subject("ours", python, "ours.py", rpc=(MAIN, APART)),
    ]
    if reference:
        _check(reference, "cotyledon", "2.2.0")
        found.append(Subject("reference", os.path.abspath(reference), "reference.py"))
    if threading:
        _check(threading, "cotyledon", "2.2.0")
        _check(threading, "oslo.service", "")
        path = os.path.abspath(threading)
        found.append(Subject("threading", path, "oslo_threading.py"))
    if eventlet:
        _check(eventlet, "oslo.service", "")
        path = os.path.abspath(eventlet)
        found.append(Subject("eventlet", path, "oslo_eventlet.py"))
    return found


def _check(python: str, package: str, version: str) -> None:
    code = f"import importlib.metadata as m; print(m.version({package!r}))"
    try:
        done = subprocess.run(
            [python, "-P", "-c", code], capture_output=True, text=True, check=True, timeout=60
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise SystemExit(f"bench: {python} cannot be used: {error}") from None
    if version and done.stdout.strip() != version:
        raise SystemExit(f"bench: {python} has {package} {done.stdout.strip()}, not {version}")
