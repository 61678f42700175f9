"""What the page on periodic tasks says is so."""

import inspect
import re
import signal
import subprocess
import sys

import pytest

pytest.importorskip("futurist", reason="needs the extra futurist")

from cotyledon.contrib.futurist import PeriodicService, _figures
from cotyledon.contrib.futurist._periodics import FAILED
from cotyledon.contrib.futurist._schedule import phase
from tests.test_docs import examples
from tests.test_docs_pages import read, table

PAGE = "futurist"


def test_the_page_begins_with_what_it_promises():
    """It has the form of the pages on policies: three sentences, limits, and decisions."""
    _, contract, _ = read(PAGE).split("\n\n", 2)
    assert len(re.findall(r"\.(?=\s|$)", contract)) == 3
    for heading in ("What it does not do", "Decisions"):
        assert f"\n## {heading}\n" in read(PAGE)


def test_the_arguments_are_those_in_the_table():
    """Each argument is there, with its default."""
    parameters = inspect.signature(PeriodicService).parameters
    expected = {name: str(one.default) for name, one in parameters.items() if name != "worker_id"}
    assert {row[0]: row[1] for row in table(PAGE, "argument")} == expected


def test_the_fractions_are_those_of_the_workers():
    """The table of instants is what the workers go by."""
    for workers, fractions in table(PAGE, "workers"):
        places = [float(one) for one in fractions.split(",")]
        assert places == [phase(n, 0) for n in range(int(workers))]


def test_the_figures_are_those_in_the_table():
    """Each figure is there, the ones of a task under its name."""
    rows = [row[0] for row in table(PAGE, "figure")]
    sums = list(_figures.figures_of([], None))
    assert rows == [*sums, *(f"NAME.{part}" for part in _figures.PARTS)]
    assert f"with status {FAILED}" in read(PAGE)
    assert _figures.TASKS == 8


@pytest.mark.real
def test_the_examples_run_and_stop(tmp_path):
    """A manager runs the services of the page, and ends with 0 on SIGTERM."""
    program = tmp_path / "program.py"
    program.write_text(
        "\n".join(examples(f"docs/{PAGE}.md"))
        + "manager.add(Watched)\n"
        + "Reporter(0, share=type('Share', (), {'partition': lambda self, worker_id: self})())\n"
        + "manager.run()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert "sweeps\n" in iter(process.stdout.readline, "")
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (0, "")
