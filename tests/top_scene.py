"""A scene for ``cotyledon top``: always the same picture, for snapshots and for the docs.

``python -m tests.top_scene`` draws docs/images/top.svg.
"""

import asyncio
import math
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from cotyledon import control
from cotyledon.contrib.top.app import News, Top
from cotyledon.contrib.top.feed import Attached, Feed, Heard, Picture
from cotyledon.contrib.top.procfs import Usage
from tests.harness import TIMEOUT, TookTooLong

PICTURE = Path(__file__).resolve().parent.parent / "docs" / "images" / "top.svg"
MEBI = 1 << 20


class Still(Feed):
    """Follows nobody."""

    def start(self) -> None:
        pass


class StillTop(Top):
    """The screen of a scene."""

    FEED = Still


def death(reason: str, code: int, ago: float, **more: Any) -> dict[str, Any]:
    return {
        "reason": reason, "exit_code": code, "uptime": 754.5, "ago": ago, "pid": 4800,
        "usage": {"user": 12.25, "system": 1.5, "max_rss": 71 * MEBI, "major_faults": 3},
        "stacks": None, "next_start_in": 0.0, "failures": 1, **more,
    }  # fmt: skip


def worker(number: int, **more: Any) -> dict[str, Any]:
    return {
        "id": number, "state": "ready", "pid": 4711 + number, "generation": 2, "since": 7400.5,
        "uptime": 7401.5, "next_start_in": None, "failures": 0, "starts": 1,
        "heartbeat_age": None, "status": None, "second_pid": None, "second_state": None,
        "deaths": [], **more,
    }  # fmt: skip


def service(name: str, workers: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    ready = sum(1 for one in workers if one["state"] == "ready")
    return {
        "id": f"id-{name}", "name": name, "wanted": len(workers), "ready": ready, "generation": 2,
        "reloading": False, "rollout_failed": False, "gave_up": False, "after": [],
        "restart": "always", "watchdog": None, "status": "",
        "totals": {"starts": {"wanted": len(workers), "respawn": 0}, "deaths": {}},
        "workers": workers, **more,
    }  # fmt: skip


def status(*services: dict[str, Any]) -> dict[str, Any]:
    manager = {
        "pid": 4700, "name": "shop", "version": "3.0.0", "state": "running",
        "uptime": 187501.5, "at": 1764000000.0, "grace": 60.0,
    }  # fmt: skip
    return {"manager": manager, "services": list(services)}


def shop() -> dict[str, Any]:
    """A manager that has seen better days."""
    web = [
        worker(0, heartbeat_age=0.4, status="218 requests, 3 in flight"),
        worker(1, heartbeat_age=1.1, status="204 requests, 2 in flight"),
        worker(2, heartbeat_age=0.2, uptime=184.5, starts=2, status="12 requests, 5 in flight",
               deaths=[death("watchdog", -9, 186.5, stacks='File "web.py", line 7 in [b]wait')]),
        worker(3, generation=1, heartbeat_age=0.7, second_pid=4731, second_state="starting",
               status="221 requests"),
    ]  # fmt: skip
    mailer = [
        worker(10, id=0, status="queue empty"),
        worker(11, id=1, state="backing off", pid=None, generation=None, uptime=None, starts=6,
               next_start_in=7.5, failures=5, deaths=[death("exit", 3, 4.5, failures=5)]),
    ]  # fmt: skip
    return status(
        service("Web", web, watchdog=10.0, reloading=True, generation=2,
                totals={"starts": {"wanted": 4, "respawn": 1}, "deaths": {"watchdog": 1}}),
        service("Mailer", mailer, after=["id-Web"],
                totals={"starts": {"wanted": 2, "respawn": 5}, "deaths": {"exit": 5}}),
        service("Import", [worker(20, id=0, state="done", pid=None, uptime=None,
                                  deaths=[death("exit", 0, 7200.5)])], restart="on-failure"),
    )  # fmt: skip


def usages() -> dict[int, Usage]:
    found = {}
    for pid in (4711, 4712, 4713, 4714, 4721):
        usage = found[pid] = Usage(pid)
        for second in range(60):
            wave = math.sin(second / 5 + pid)
            usage.memory.append((38 + pid % 7 + second / 4) * MEBI)
            usage.cpu.append(34 + 30 * wave if pid < 4720 else 2 + wave)
    return found


EVENTS: Sequence[dict[str, Any]] = (
    {"kind": "worker-silent", "name": "Web", "worker": 2, "reason": "watchdog",
     "silent_for": 10.25, "pid": 4800},
    {"kind": "worker-died", "name": "Web", "worker": 2,
     "death": {"reason": "watchdog", "exit_code": -9, "uptime": 754.5}, "stopping": False},
    {"kind": "worker-started", "name": "Web", "worker": 2, "pid": 4713, "reason": "respawn"},
    {"kind": "worker-ready", "name": "Web", "worker": 2, "pid": 4713, "took": 1.25},
    {"kind": "worker-died", "name": "Mailer", "worker": 1,
     "death": {"reason": "exit", "exit_code": 3, "uptime": 0.25}, "stopping": False},
    {"kind": "backing-off", "name": "Mailer", "worker": 1, "seconds": 12.0, "failures": 5},
    {"kind": "worker-started", "name": "Web", "worker": 3, "pid": 4731, "reason": "successor"},
)  # fmt: skip


async def set_up(app: Top, pilot: Any, said: dict[str, Any] | None = None) -> None:
    """Show the scene."""
    app.post_message(News(Attached(control.Greeting("3.0.0", "shop", 4700))))
    for index, event in enumerate(EVENTS):
        at = {"seq": index, "at": 1764000000.0 + index, "service": "x"}
        app.post_message(News(Heard({**at, **event})))
    found = usages()
    memory, cpu = [], []
    for second in range(60):
        memory.append(sum(usage.memory[second] or 0 for usage in found.values()))
        cpu.append(sum(usage.cpu[second] or 0 for usage in found.values()))
    app.header._memory.extend(memory)
    app.header._cpu.extend(cpu)
    # Told in the future: in the past of nothing, time would go on from it.
    app.post_message(News(Picture(said or shop(), found, time.monotonic() + 3600)))
    await pilot.pause()
    await pilot.pause()


async def until(pilot: Any, holds: Callable[[], Any], what: str) -> Any:
    """Let the screen work until something holds."""
    end = time.monotonic() + TIMEOUT
    while not (found := holds()):
        if time.monotonic() > end:
            raise TookTooLong(f"{what}\n{text_of(pilot.app)}")
        await pilot.pause(0.02)
    return found


def seen(pilot: Any, text: str) -> Callable[[], bool]:
    return lambda: text in text_of(pilot.app)


def text_of(app: Top) -> str:
    """Return what is on the screen."""
    strips = app.screen._compositor.render_strips()
    return "\n".join(strip.text.rstrip() for strip in strips) + "\n"


def slim(svg: str) -> str:
    """Return the picture without fonts from elsewhere, and with the same names each time."""
    svg = re.sub(r"@font-face\s*\{[^}]*\}", "", svg)
    svg = re.sub(r"font-family: [^;]*;", "font-family: Menlo, Consolas, monospace;", svg)
    svg = re.sub(r"terminal-\d+", "top", svg)
    svg = re.sub(r"<!--.*?-->", "", svg)
    return "\n".join(line.strip() for line in svg.splitlines() if line.strip()) + "\n"


async def draw(*, light: bool = False) -> str:
    """Return the picture of the docs."""
    app = StillTop("/run/cotyledon/shop.sock", light=light)
    async with app.run_test(size=(132, 23)) as pilot:
        await set_up(app, pilot)
        await pilot.press("down", "down", "down")
        await pilot.pause()
        return slim(app.export_screenshot())


if __name__ == "__main__":
    time.tzset()
    PICTURE.parent.mkdir(exist_ok=True)
    PICTURE.write_text(asyncio.run(draw()))
