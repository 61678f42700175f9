"""The page on compatibility names tests that exist, and leaves out no fault."""

import ast
import re
from pathlib import Path

HERE = Path(__file__).resolve().parent
PAGE = (HERE.parent / "docs" / "compatibility.md").read_text()
FAULTS = 23

REFERENCES = re.findall(r"`tests/(test_\w+\.py)::(test_\w+)`", PAGE)


def find_tests(file: str) -> set[str]:
    """Return the names of the tests in a file."""
    path = HERE / file
    if not path.exists():
        return set()
    nodes = ast.parse(path.read_text()).body
    return {node.name for node in nodes if isinstance(node, ast.FunctionDef)}


def test_every_test_that_is_named_exists():
    """Each reference of the page leads to a test."""
    assert REFERENCES
    missing = [f"{file}::{name}" for file, name in REFERENCES if name not in find_tests(file)]
    assert not missing


def test_every_line_names_a_test():
    """Each row of each table that has a column for it names a test."""
    shown = False
    for line in PAGE.splitlines():
        if not line.startswith("|"):
            shown = False
        elif "Shown by" in line:
            shown = True
        elif shown and not line.startswith("|-"):
            assert "::test_" in line, line


def test_every_fault_has_a_line():
    """Each of the numbered faults is on the page, with a test of that number."""
    lines = {
        int(number): line
        for number, line in re.findall(r"^\| (\d+) \| (.*)$", PAGE, flags=re.MULTILINE)
    }
    assert list(lines) == list(range(1, FAULTS + 1))
    for number, line in lines.items():
        assert f"tests/test_regressions.py::test_{number:02}_" in line


def test_no_test_is_left_out():
    """Each test of a regression, and of the contract on signals and habits, is on the page."""
    for file in ("test_regressions.py", "test_contract_signals.py", "test_contract_habits.py"):
        tests = {name for name in find_tests(file) if name.startswith("test_")}
        assert not tests - {name for _, name in REFERENCES}


def test_every_test_says_what_it_shows():
    """Each test of these files has a docstring of one sentence."""
    for path in (HERE / "test_regressions.py", *HERE.glob("test_contract_*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                text = ast.get_docstring(node) or ""
                assert text.endswith("."), f"{path.name}::{node.name}"
                assert "\n" not in text, f"{path.name}::{node.name}"
