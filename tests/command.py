"""The command under test: a manager that it runs, and the commands that ask it."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.harness import HERE, PROGRAMS, SOURCES, Program, until


class Shell:
    """Where commands are typed: a run folder of its own, and what was started in it."""

    def __init__(self, start: Callable[..., Program]) -> None:
        self._start = start
        self.folder = Path(tempfile.mkdtemp(prefix="shell-"))  # short: it has sockets in it
        (self.folder / "run").mkdir(0o700)
        self.env = {"XDG_RUNTIME_DIR": str(self.folder / "run")}
        self.name = ""

    def run(self, *args: str, name: str = "services", wait: bool = True, **more: Any) -> Program:
        """Start ``cotyledon run``, and wait until it answers."""
        env = {**self.env, **more.pop("env", {})}
        program = self._start("command.py", "run", *args, "--name", name, env=env, **more)
        self.name = name
        if wait:
            path = self.folder / "run" / "cotyledon" / f"{name}.sock"

            def there() -> bool:
                assert program.popen.poll() is None, program.stderr()
                return path.exists()

            until(there, f"{path} is there")
        return program

    def ask(
        self, *args: str, code: int | None = 0, **env: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, and check its exit status."""
        done = subprocess.run(
            [sys.executable, "-m", "cotyledon", *args],
            env=self.environment(**env),
            capture_output=True,
            text=True,
            timeout=40,
            check=False,
            cwd=PROGRAMS,
            stdin=subprocess.DEVNULL,
        )
        assert code in (None, done.returncode), (args, done)
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def environment(self, **env: str) -> dict[str, str]:
        return {
            **{k: v for k, v in os.environ.items() if not k.startswith("COTYLEDON")},
            **self.env,
            "PYTHONPATH": os.pathsep.join((str(SOURCES), str(HERE.parent))),
            "COTYLEDON_MANAGER": self.name,
            **env,
        }

    def wrong(self, *args: str, code: int, **env: str) -> str:
        """Run a command that fails; return its one line."""
        done = self.ask(*args, code=code, **env)
        lines = done.stderr.splitlines()
        assert len(lines) == 1, done
        return lines[0]

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.ask("status", "--json").stdout)
        return {one["name"]: one for one in found["services"]}

    def write(self, text: str, name: str = "app.toml") -> str:
        path = self.folder / name
        path.write_text(text)
        return str(path)


@pytest.fixture
def shell(start: Callable[..., Program]) -> Iterator[Shell]:
    made = Shell(start)
    yield made
    shutil.rmtree(made.folder)
