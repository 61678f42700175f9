"""The command where its output goes nowhere, or not as it is."""

import subprocess
import sys

import pytest

from tests.command import Shell, shell
from tests.harness import PROGRAMS

__all__ = ["shell"]
pytestmark = pytest.mark.real


def bash(shell: Shell, line: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a line in which ``cotyledon`` is the command."""
    return subprocess.run(
        ["bash", "-c", f'cotyledon() {{ "{sys.executable}" -m cotyledon "$@"; }}; {line}'],
        env=shell.environment(**environment),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=PROGRAMS,
    )


def test_a_reader_that_has_seen_enough_is_no_failure(shell):
    done = bash(shell, "cotyledon --help | true; echo ${PIPESTATUS[0]}")
    assert (done.stdout, done.stderr) == ("0\n", "")


@pytest.mark.parametrize("words", ["--help", "completion bash", "status"])
def test_a_full_disk_is_said_in_one_line(shell, words):
    shell.run("command_services:Web")
    done = bash(shell, f"cotyledon {words} >/dev/full")
    assert done.stderr == "cotyledon: the output cannot be written: No space left on device\n"
    assert done.returncode == 8


@pytest.mark.parametrize("words", ["--help", "status", "scale Web 2"])
def test_a_closed_output_is_no_failure(shell, words):
    shell.run("command_services:Web")
    done = bash(shell, f"cotyledon {words} >&-")
    assert (done.returncode, done.stderr) == (0, "")


def test_what_a_terminal_cannot_show_is_replaced(shell):
    shell.run("command_services:Web")
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = bash(shell, "cotyledon status", **plain)
    assert (done.returncode, done.stderr) == (0, "")
    assert "services  running" in done.stdout
