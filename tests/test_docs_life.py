"""The drawing of a worker's life is the one that the code gives."""

import pytest

from docs import _life

pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def found() -> _life.Found:
    """Return every step of every worker in the scenarios."""
    return _life.find()


@pytest.mark.sim
def test_the_drawing_is_of_this_code(found: _life.Found) -> None:
    """The page has what `python -m docs._life` draws; if this fails, run that."""
    page = _life.PAGE.read_text(encoding="utf-8")
    assert _life.fill(page, _life.draw(found)) == page


@pytest.mark.sim
def test_no_life_goes_back(found: _life.Found) -> None:
    """Each step leads forward, as the page says, and every state is reached."""
    assert all(_life.STATES.index(before) < _life.STATES.index(after) for before, after in found)
    assert {after for _, after in found} == set(_life.STATES) - {_life.BORN}


def test_a_drawing_is_put_between_its_marks() -> None:
    """What stands before and after the drawing stays, and drawing again changes nothing."""
    page = f"before\n\n{_life.BEGIN}\nold\n{_life.END}\n\nafter\n"
    once = _life.fill(page, "new")
    assert once.startswith("before\n")
    assert once.endswith("\n\nafter\n")
    assert "old" not in once
    assert _life.fill(once, "new") == once


def test_a_step_back_would_be_drawn() -> None:
    """The drawing hides nothing: a step that leads back has its arrow, too."""
    drawing = _life.draw({("READY", "STARTING"): {"odd"}, ("born", "READY"): {"wanted"}})
    assert "◀" in drawing
    assert "| 2 | READY | STARTING | odd |" in drawing
