"""``cotyledon top`` and managers that say odd things, or nothing."""

import asyncio
import time

import pytest

pytest.importorskip("textual", reason="needs textual")

from cotyledon.contrib.top.app import Top
from tests import top_scene
from tests.top_fake import Fake
from tests.top_scene import seen, until

pytestmark = pytest.mark.once


def test_what_a_manager_says_is_never_markup(tmp_path):
    path = tmp_path / "odd.sock"
    told = top_scene.status(
        top_scene.service(
            "[red]x[/red]", [top_scene.worker(0, status="[b]\x1b[31m", state="[i]odd")]
        )
    )
    event = {"seq": 1, "at": 0, "kind": "of-[b]tomorrow", "name": "[u]\x07", "worker": 0}
    fake = Fake(path, told, [event, {"kind": "lost", "count": 7, "seq": 2}])

    async def look() -> None:
        app = Top(str(path))
        async with app.run_test(size=(140, 24), notifications=True) as pilot:
            await until(pilot, seen(pilot, "[red]x[/red]"), "the name")
            await until(pilot, seen(pilot, "[b]\ufffd[31m"), "the status line")
            await until(pilot, seen(pilot, "of [b]tomorrow"), "the event")
            await until(pilot, seen(pilot, "7 events were lost"), "what was lost")
            await pilot.press("down", "s")
            await until(pilot, seen(pilot, "[red]no[/red] \ufffd[2J"), "the error")
            await pilot.press("w")
            await until(pilot, seen(pilot, "Why [red]x[/red]/0"), "the story")

    try:
        asyncio.run(look())
    finally:
        fake.close()


@pytest.mark.parametrize("said", [b"nonsense\n", b'{"id": 1, "ok": {', b"[]\n", b""])
def test_a_broken_answer_is_a_manager_that_is_lost(tmp_path, said):
    path = tmp_path / "broken.sock"
    fake = Fake(path, said, [])

    async def look() -> None:
        app = Top(str(path))
        async with app.run_test(size=(100, 24)) as pilot:
            await until(pilot, lambda: app.table.lost, "it is lost")
            assert "gone: " in top_scene.text_of(app)

    try:
        asyncio.run(look())
    finally:
        fake.close()


def test_the_status_is_asked_for_once_a_second_at_most(tmp_path):
    path = tmp_path / "busy.sock"
    events = [{"kind": "worker-ready", "seq": n, "at": 0, "took": 1} for n in range(1, 500)]
    fake = Fake(path, top_scene.shop(), events)

    async def look() -> float:
        begun = time.monotonic()
        app = Top(str(path))
        async with app.run_test(size=(100, 24)) as pilot:
            await until(pilot, lambda: fake.asked.count("status") >= 3, "three requests")
            return time.monotonic() - begun

    try:
        took = asyncio.run(look())
    finally:
        fake.close()
    assert took >= 2
    assert len(events) > fake.asked.count("status")


def test_leaving_waits_for_no_outcome(tmp_path):
    path = tmp_path / "slow.sock"
    fake = Fake(path, top_scene.shop(), [])

    async def look() -> None:
        app = Top(str(path))
        async with app.run_test(size=(100, 24)) as pilot:
            await until(pilot, seen(pilot, "Web"), "the service")
            await pilot.press("r", "y")
            await until(pilot, lambda: "reload" in fake.asked, "the request")
            await pilot.press("q")

    begun = time.monotonic()
    try:
        asyncio.run(look())
        assert time.monotonic() - begun < 45
    finally:
        fake.close()
