"""``cotyledon top``: what it shows, and what its keys do."""

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("textual", reason="needs textual")

from cotyledon import control
from cotyledon.contrib.top import procfs, terminal, words
from cotyledon.contrib.top.app import Top
from cotyledon.contrib.top.rows import Asked, rows
from cotyledon.contrib.top.screens import Ask, Confirm, Reading
from cotyledon.contrib.top.table import layout
from tests import top_scene
from tests.harness import SOURCES, Program
from tests.top_scene import seen, until

pytestmark = pytest.mark.once

SNAPSHOTS = Path(__file__).parent / "snapshots"


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def compare(name: str, text: str) -> None:
    """Compare with what was there before; UPDATE_SNAPSHOTS=1 writes it anew."""
    path = SNAPSHOTS / f"{name}.txt"
    if os.environ.get("UPDATE_SNAPSHOTS"):
        path.write_text(text)
    assert text == path.read_text(), f"{path} is another picture:\n{text}"


# --- snapshots ----------------------------------------------------------------------------


@pytest.mark.parametrize(("width", "height"), [(80, 24), (132, 24), (200, 30), (40, 12)])
def test_the_screen_is_as_it_was(width, height):
    async def look() -> str:
        app = top_scene.StillTop("/run/cotyledon/shop.sock")
        async with app.run_test(size=(width, height)) as pilot:
            await top_scene.set_up(app, pilot)
            return top_scene.text_of(app)

    compare(f"top-{width}x{height}", asyncio.run(look()))


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("help", ["question_mark"]),
        ("why", ["down", "down", "down", "w"]),
        ("scale", ["plus"]),
        ("reload", ["r"]),
        ("restart", ["down", "R"]),
        ("filter", ["slash", *"backing", "enter"]),
        ("folded", ["space", "down", "down"]),
    ],
)
def test_what_a_key_shows_is_as_it_was(name, keys):
    async def look() -> str:
        app = top_scene.StillTop("/run/cotyledon/shop.sock")
        async with app.run_test(size=(80, 24)) as pilot:
            await top_scene.set_up(app, pilot)
            await pilot.press(*keys)
            await pilot.pause()
            return top_scene.text_of(app)

    compare(f"top-{name}", asyncio.run(look()))


def test_the_picture_in_the_documentation_is_of_today():
    # Its words: how they are drawn is for the libraries to change.
    then, now = top_scene.PICTURE.read_text(), asyncio.run(top_scene.draw())
    assert re.findall(r">([^<>]*)</text>", now) == re.findall(r">([^<>]*)</text>", then)


@pytest.mark.parametrize("width", range(1, 260))
def test_columns_always_fit(width):
    found = layout(rows(top_scene.shop(), top_scene.usages(), 0.0, Asked()), width)
    assert sum(wide for _, wide in found) + 2 * (len(found) - 1) <= width


# --- words --------------------------------------------------------------------------------


def test_durations_have_two_units_at_most():
    given = [None, 0, 9.94, 9.96, 59.9, 60, 3599, 3600, 86399, 86400 * 400]
    said = ["", "0.0s", "9.9s", "9s", "59s", "1m 00s", "59m 59s", "1h 00m", "23h 59m", "400d 00h"]
    assert [words.duration(one) for one in given] == said


def test_sizes_have_three_digits():
    given = [None, 0, 999, 1000, 1024, 1 << 20, 123 << 20, 1 << 30, 5 << 40]
    said = ["", "0B", "999B", "1.0K", "1.0K", "1.0M", "123M", "1.0G", "5.0T"]
    assert [words.size(one) for one in given] == said


def test_nothing_but_text_reaches_the_terminal():
    assert words.clean("a\x1b[2J\tb\nc\u202ed") == "a\ufffd[2J b c\ufffdd"


def test_bars_show_all_that_there_is():
    assert words.sparkline([0, 1, None, 8], 6, 8) == "  ▁▂ █"
    assert words.sparkline(range(16), 4, 15) == "▂▄▅▇"


@pytest.mark.parametrize(
    ("said", "light"),
    [
        (b"\x1b]11;rgb:ffff/ffff/ffff\x1b\\\x1b[?1c", True),
        (b"\x1b]11;rgb:fd/f6/e3\x07", True),
        (b"\x1b]11;rgba:0000/2b2b/3636/ffff\x1b\\", False),
        (b"\x1b[?62;c", False),
    ],
)
def test_a_terminal_tells_whether_it_is_light(said, light):
    assert terminal.bright(said) is light


def test_memory_and_cpu_are_those_of_the_process():
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        meter = procfs.Meter(os.getpid())
        meter.sample([child.pid, 1 << 30])
        meter.sample([child.pid])
        usage = meter.usages[child.pid]
        assert usage.memory[-1] is not None
        assert len(usage.memory) == 2
        assert len(usage.cpu) == 1
        child.communicate(b"\n")
    meter.sample([child.pid])
    assert meter.usages == {}


def test_a_process_of_somebody_else_is_not_measured():
    meter = procfs.Meter(1 << 30)
    meter.sample([os.getpid()])
    assert meter.usages == {}


# --- the way in ---------------------------------------------------------------------------


def run_top(*args: str, code: str = "") -> subprocess.CompletedProcess[str]:
    module = ["-c", code] if code else ["-m", "cotyledon.contrib.top"]
    env = {**os.environ, "PYTHONPATH": str(SOURCES)}
    command = [sys.executable, *module, *args]
    return subprocess.run(command, capture_output=True, text=True, env=env, check=False)


def test_a_manager_that_is_not_there_is_told_in_one_line(tmp_path):
    done = run_top(str(tmp_path / "none.sock"))
    assert done.returncode == 4
    assert done.stderr.count("\n") == 1
    assert "no manager is running at" in done.stderr


def test_wrong_arguments_are_told_in_one_line():
    done = run_top()
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)


def test_without_textual_a_hint_says_what_to_install():
    code = (
        "import sys; sys.modules['textual'] = None\n"
        "from cotyledon.contrib.top import main; sys.exit(main('/nowhere'))"
    )
    done = run_top(code=code)
    assert done.returncode == 2
    assert done.stderr.endswith("pip install 'cotyledon[top]'\n")
    assert done.stderr.count("\n") == 1


def test_the_package_imports_no_textual():
    code = "import sys, cotyledon.contrib.top; sys.exit('textual' in sys.modules)"
    assert run_top(code=code).returncode == 0


# --- a real manager -----------------------------------------------------------------------


def start_shop(start: Callable[..., Program], tmp_path: Path, workers: int = 2) -> Program:
    program = start("top.py", "shop", str(tmp_path / "shop.sock"), str(workers))
    program.collect(workers, "run")
    return program


def in_screen(tmp_path: Path, look: Callable[[Top, Any], Any], size: Any = (120, 30)) -> None:
    async def go() -> None:
        app = Top(str(tmp_path / "shop.sock"))
        async with app.run_test(size=size, notifications=True) as pilot:
            await until(pilot, seen(pilot, "Web "), "the service")
            await look(app, pilot)

    asyncio.run(go())


@pytest.mark.real
def test_a_worker_that_is_killed_is_seen_to_die_and_come_back(start, tmp_path):
    program = start_shop(start, tmp_path)

    async def look(app: Top, pilot: Any) -> None:
        await until(pilot, seen(pilot, "at work [b]1"), "its own line")
        await until(pilot, seen(pilot, "2/2 ready"), "both")
        victim = program.workers()[0]
        program.signal(signal.SIGKILL, victim)
        await until(pilot, seen(pilot, ": SIGKILL"), "its end")
        await until(pilot, seen(pilot, "1  SIGKILL"), "what the table says")
        await until(pilot, lambda: str(victim) not in pids(app), "the old one has gone")
        await until(pilot, seen(pilot, "2/2 ready"), "both again")
        await pilot.press("w")
        await until(pilot, seen(pilot, "killed by SIGKILL"), "why")
        await pilot.press("escape")

    in_screen(tmp_path, look)
    assert program.stop() == 0


def pids(app: Top) -> set[str]:
    return {row.cells["pid"].text for row in app.table.rows if row.worker is not None}


@pytest.mark.real
def test_keys_scale_reload_and_restart_after_a_confirmation(start, tmp_path):
    program = start_shop(start, tmp_path)

    async def look(app: Top, pilot: Any) -> None:
        await pilot.press("plus")
        assert isinstance(app.screen, Ask)
        await pilot.press("enter")
        await until(pilot, seen(pilot, "3 of 3 workers are ready"), "the outcome")
        await until(pilot, seen(pilot, "scaled from 2 to 3"), "the event")
        await pilot.press("minus", "up", "escape")
        await pilot.press("minus", *["backspace"] * 3, "2", "enter")
        await until(pilot, seen(pilot, "2 of 2 workers are ready"), "the outcome")
        before = await until(pilot, lambda: len(pids(app)) == 2 and pids(app), "two")

        await pilot.press("r")
        assert isinstance(app.screen, Confirm)
        await pilot.press("n")
        await pilot.press("r", "y")
        await until(pilot, seen(pilot, "rollout 1 has reached every worker"), "the reload")
        after = await until(pilot, lambda: not pids(app) & before and pids(app), "others")

        await pilot.press("down", "R", "y")
        await until(pilot, seen(pilot, "Web/0 is ready: pid"), "the outcome")
        await until(pilot, lambda: len(pids(app) & after) == 1, "one of them is another")

    in_screen(tmp_path, look, (120, 40))
    assert not program.all("scaled")
    assert program.stop() == 0


@pytest.mark.real
def test_stacks_are_shown_on_a_screen_of_their_own(start, tmp_path):
    program = start_shop(start, tmp_path, 1)

    async def look(app: Top, pilot: Any) -> None:
        await pilot.press("s")
        await until(pilot, seen(pilot, "move the cursor to one"), "what to do")
        await pilot.press("down", "s")
        await until(pilot, lambda: isinstance(app.screen, Reading), "the screen")
        await until(pilot, seen(pilot, "wait_in_here"), "the stack")
        await pilot.press("q")
        assert app.is_running

    in_screen(tmp_path, look)
    assert program.stop() == 0


@pytest.mark.real
def test_a_manager_that_goes_is_greyed_out_until_it_comes_back(start, tmp_path):
    program = start_shop(start, tmp_path)

    async def look(app: Top, pilot: Any) -> None:
        await until(pilot, seen(pilot, "2/2 ready"), "both")
        program.stop()
        await until(pilot, lambda: app.table.lost, "it is grey")
        assert "gone: " in top_scene.text_of(app)
        assert "at work [b]0" in top_scene.text_of(app)
        await pilot.press("r")
        await until(pilot, seen(pilot, "no manager at the moment"), "nothing is confirmed")
        other = start_shop(start, tmp_path, 3)
        await until(pilot, lambda: not app.table.lost, "it is back")
        text = f"another manager is there now: pid {other.pid}"
        await until(pilot, lambda: text in [line[2] for line in app.log_pane.lines], "said")
        await until(pilot, seen(pilot, "3/3 ready"), "its workers")

    in_screen(tmp_path, look)


@pytest.mark.real
def test_the_manager_notices_nothing_of_those_who_look(start, tmp_path):
    program = start_shop(start, tmp_path)
    before = program.stderr()

    async def look(app: Top, pilot: Any) -> None:
        await until(pilot, seen(pilot, "2/2 ready"), "both")

    for _ in range(3):
        in_screen(tmp_path, look)
    assert program.stderr() == before
    with control.Client(tmp_path / "shop.sock") as client:
        assert client.status()["manager"]["state"] == "running"
    assert program.stop() == 0
