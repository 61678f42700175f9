"""``cotyledon top`` in a real terminal: that of tmux."""

import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("textual", reason="needs textual")

from tests.harness import SOURCES, until, wait_gone

pytestmark = [
    pytest.mark.once,
    pytest.mark.real,
    pytest.mark.skipif(shutil.which("tmux") is None, reason="needs tmux"),
]


class Terminal:
    """One session of tmux, with a server of its own."""

    def __init__(self, directory: Path) -> None:
        self._socket = str(directory / "tmux")
        self.pid = 0

    def tmux(self, *args: str) -> str:
        env = {key: value for key, value in os.environ.items() if key != "TMUX"}
        command = ["tmux", "-S", self._socket, "-f", "/dev/null", *args]
        return subprocess.run(
            command, check=True, capture_output=True, text=True, env={**env, "TERM": "xterm"}
        ).stdout

    def run(self, command: str, width: int = 100, height: int = 30) -> None:
        size = ["-x", str(width), "-y", str(height)]
        self.tmux("new-session", "-d", *size, "sh", "-c", f"{command}; echo left: $?; read x")
        self.pid = int(self.tmux("display-message", "-p", "#{pid}"))

    def text(self) -> str:
        return self.tmux("capture-pane", "-p")

    def wait_for(self, text: str) -> None:
        until(lambda: text in self.text(), f"{text!r} in the terminal:\n{self.text()}")

    def press(self, *keys: str) -> None:
        self.tmux("send-keys", *keys)

    def close(self) -> None:
        if self.pid:
            self.tmux("kill-server")
            wait_gone(self.pid)


@pytest.fixture
def terminal(start, tmp_path: Path) -> Iterator[Terminal]:
    found = Terminal(tmp_path)
    try:
        yield found
    finally:
        found.close()


def test_a_person_watches_scales_and_leaves(start, tmp_path, terminal):
    path = tmp_path / "shop.sock"
    program = start("top.py", "shop", str(path), "2")
    program.collect(2, "run")
    command = f"{shlex.quote(sys.executable)} -m cotyledon.contrib.top {shlex.quote(str(path))}"
    terminal.run(f"PYTHONPATH={shlex.quote(str(SOURCES))} {command}")
    terminal.wait_for("2/2 ready")
    terminal.wait_for("at work [b]1")

    victim = program.workers()[0]
    program.signal(signal.SIGKILL, victim)
    terminal.wait_for(": SIGKILL")
    program.wait_for("run")
    until(lambda: str(victim) not in table(terminal), "the killed one has gone")
    terminal.wait_for("2/2 ready")

    terminal.press("+")
    terminal.wait_for("Workers of Web, now 2")
    terminal.press("Enter")
    terminal.wait_for("3 of 3 workers are ready")
    assert len(program.workers()) == 3

    terminal.tmux("resize-window", "-x", "60", "-y", "16")
    terminal.wait_for("3/3 ready")
    terminal.press("q")
    terminal.wait_for("left: 0")
    assert program.stop() == 0


def table(terminal: Terminal) -> str:
    """Return what is above the events."""
    return terminal.text().partition(" started, ")[0].partition("─ ")[0]
