"""The examples in the documentation do what it says."""

import os
import re
import signal
import subprocess
import sys
import threading
import types
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

import cotyledon

ROOT = Path(__file__).parent.parent
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md"))
)


def examples(page: str) -> list[str]:
    """Return the Python examples of a page."""
    return re.findall(
        r"^```python\n(.*?)^```$", (ROOT / page).read_text(), re.DOTALL | re.MULTILINE
    )


@pytest.mark.parametrize("page", PAGES)
def test_links_between_pages_lead_somewhere(page: str) -> None:
    """A relative link names a file that exists."""
    text = (ROOT / page).read_text()
    for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", text):
        assert ((ROOT / page).parent / target).exists(), target


@pytest.mark.sim
def test_the_examples_of_the_testing_page_hold() -> None:
    """What the page on testing asserts is so."""
    found = examples("docs/testing.md")
    assert len(found) >= 2
    for example in found:
        exec(compile(example, "docs/testing.md", "exec"), {})


def test_the_examples_of_writing_a_service_are_valid() -> None:
    """The pieces of the page fit together and use names that exist."""
    names: dict[str, Any] = {
        "cotyledon": cotyledon,
        "threading": threading,
        "multiprocessing": __import__("multiprocessing"),
        "connect": lambda url: types.SimpleNamespace(url=url, close=lambda: None),
        "handle": print,
    }
    seatbelt = mock.patch.object(
        cotyledon.ServiceManager, "_process_runner_already_created", False
    )
    handlers = {s: signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGHUP, signal.SIGALRM)}
    with seatbelt, mock.patch.object(cotyledon.ServiceManager, "run"):
        for example in examples("docs/writing-a-service.md"):
            exec(compile(example, "docs/writing-a-service.md", "exec"), names)
    for signum, handler in handlers.items():
        signal.signal(signum, handler)
    service = names["Consumer"](0, "amqp://localhost")
    service.terminate()
    service.run()


@pytest.mark.real
def test_the_example_of_asyncio_runs_and_stops(tmp_path: Path) -> None:
    """The server on the page serves, and ends with 0 on SIGTERM."""
    source = examples("docs/asyncio.md")[0]
    assert "port=8000" in source
    program = tmp_path / "program.py"
    program.write_text(
        source.replace("port=8000", "port=0").replace("workers=4", "workers=1")
        + "manager.register_hooks(on_event=lambda notice: print(notice, flush=True))\n"
        + "manager.run()\n"
    )
    with subprocess.Popen(
        [sys.executable, program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        lines = iter(process.stdout.readline, "AllReady()\n")
        assert any(line.startswith("WorkerReady") for line in lines)
        process.send_signal(signal.SIGTERM)
        output, errors = process.communicate(timeout=30)
    assert "reason='stopped', exit_code=0" in output, errors
    assert (process.returncode, errors) == (0, "")


@pytest.mark.real
@pytest.mark.parametrize("page", ["README.md", "docs/index.md"])
def test_the_first_example_runs_and_stops(page: str, tmp_path: Path) -> None:
    """The example that the page opens with works, and ends with 0 on SIGTERM."""
    program = tmp_path / "program.py"
    program.write_text(examples(page)[0])
    # Unbuffered, two workers could write into each other's lines.
    env = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with subprocess.Popen(
        [sys.executable, program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=env,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        line = process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=30)
    assert re.fullmatch(r"worker \d is at work\n", line), errors
    assert (process.returncode, errors) == (0, "")
