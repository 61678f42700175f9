"""The three subjects: how each of them is started.

Responsible for giving each subject its interpreter and an equal environment. Never measures.
"""

import importlib.util
import os
import subprocess
from pathlib import Path
from typing import NamedTuple

REFERENCE = "2.2.0"
FLAGS = ("-P",)  # neither the program's directory nor the current one hides a module
_PROGRAMS = Path(__file__).resolve().parent / "programs"


class Subject(NamedTuple):
    """Something to measure."""

    name: str  # "floor", "ours" or "reference"
    python: str
    environment: dict[str, str]
    program: str

    def command(self, *args: object) -> list[str]:
        """Return the command line that runs this subject's program."""
        return [self.python, *FLAGS, str(_PROGRAMS / self.program), *map(str, args)]


def subjects(python: str, reference: str | None) -> list[Subject]:
    """Return the subjects in the order in which each round measures them.

    Args:
        python: the interpreter of the floor and of this package, as it is found by the caller.
        reference: the interpreter of an environment with cotyledon 2.2.0, if there is one.

    Raises:
        SystemExit: there is no cotyledon here, or not 2.2.0 there.
    """
    # Settings such as PYTHONDONTWRITEBYTECODE would be paid for by the heavier imports alone.
    plain = {name: text for name, text in os.environ.items() if not name.startswith("PYTHON")}
    spec = importlib.util.find_spec("cotyledon")
    if spec is None or spec.origin is None:
        raise SystemExit("bench: cotyledon cannot be imported here; install it first")
    ours = plain | {"PYTHONPATH": str(Path(spec.origin).resolve().parent.parent)}
    found = [
        Subject("floor", python, plain, "floor.py"),
        Subject("ours", python, ours, "service.py"),
    ]
    if reference is not None:
        subject = Subject("reference", os.path.abspath(reference), plain, "service.py")
        _check(subject, found[0])
        found.append(subject)
    return found


def _check(reference: Subject, floor: Subject) -> None:
    version = _ask(reference, "import importlib.metadata as m; print(m.version('cotyledon'))")
    if version != REFERENCE:
        raise SystemExit(f"bench: {reference.python} has cotyledon {version}, not {REFERENCE}")
    release = "import sys; print(sys.version)"
    if _ask(reference, release) != _ask(floor, release):
        raise SystemExit(f"bench: {reference.python} is not the Python that runs this benchmark")


def _ask(subject: Subject, code: str) -> str:
    command = [subject.python, *FLAGS, "-c", code]
    try:
        done = subprocess.run(
            command,
            env=subject.environment,
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise SystemExit(f"bench: {subject.python} cannot be used: {error}") from None
    return done.stdout.strip()
