"""The two lines at the top: which manager this is, and how it fares as a whole.

Responsible for the sums. Never asks anybody.
"""

from collections import deque
from typing import Any

from rich.text import Text
from textual.widgets import Static

from cotyledon.contrib.top import words
from cotyledon.contrib.top.procfs import Usage
from cotyledon.contrib.top.rows import usages_of

_BAR = 20
_KEPT = 60


class Header(Static):
    """The header."""

    def __init__(self, **more: Any) -> None:
        super().__init__(markup=False, **more)
        self._memory: deque[float | None] = deque(maxlen=_KEPT)
        self._cpu: deque[float | None] = deque(maxlen=_KEPT)
        self.lost = ""
        """What became of the manager, if it is not there."""

    def forget(self) -> None:
        """Begin anew, with another manager."""
        self._memory.clear()
        self._cpu.clear()

    def sample(self, status: dict[str, Any], usages: dict[int, Usage]) -> None:
        """Add up what the workers use."""
        workers = [w for service in status.get("services", ()) for w in service.get("workers", ())]
        found = list(usages_of(workers, usages))
        self._memory.append(sum(u.memory[-1] or 0 for u in found if u.memory) if found else None)
        self._cpu.append(sum(u.cpu[-1] or 0 for u in found if u.cpu) if found else None)

    def show(self, status: dict[str, Any], later: float, name: str) -> None:
        """Draw it."""
        self.update(Text("\n").join([self._first(status, later, name), self._second(status)]))

    def _style(self, color: str) -> str:
        if self.lost:
            return "dim"
        variables = self.app.theme_variables
        return variables.get(color, "")[:7]

    def _first(self, status: dict[str, Any], later: float, name: str) -> Text:
        manager = status.get("manager", {})
        line = Text(" ", no_wrap=True, overflow="ellipsis")
        line.append(words.clean(manager.get("name") or name), style="bold")
        if self.lost:
            line.append(f"  gone: {words.clean(self.lost)}", style=f"bold {self._bad()}")
            return line
        state = words.clean(manager.get("state", "connecting"))
        color = self._style("text-success" if state == "running" else "text-warning")
        line.append(f"  {state}", style=color)
        if manager.get("uptime") is not None:
            line.append(f" for {words.duration(manager['uptime'] + later)}")
        line.append(f"  pid {words.clean(manager.get('pid', '?'))}", style="dim")
        if self.size.width >= 100:
            line.append(f"  cotyledon {words.clean(manager.get('version', ''))}", style="dim")
        return line

    def _bad(self) -> str:
        return str(self.app.theme_variables.get("text-error", "red"))[:7]

    def _second(self, status: dict[str, Any]) -> Text:
        services = status.get("services", ())
        ready = sum(service.get("ready", 0) for service in services)
        # What has ended in success is not waited for.
        wanted = sum(service.get("wanted", 0) for service in services) - sum(
            worker.get("state") == "done"
            for service in services
            for worker in service.get("workers", ())
        )
        line = Text(" ", no_wrap=True, overflow="ellipsis")
        full = round(_BAR * min(1.0, ready / wanted)) if wanted else 0
        good = ready >= wanted
        color = self._style("text-success" if good else "text-warning")
        line.append("━" * full, style=color)
        line.append("─" * (_BAR - full), style="dim")
        line.append(f" {ready}/{wanted} ready", style=color)
        line.append_text(self._usage("memory", self._memory, words.size, "text-accent", 1.0))
        line.append_text(self._usage("cpu", self._cpu, words.percent, "text-secondary", 100.0))
        again = sum(map(words.restarts_of_service, services))
        line.append(f"   restarts {again}")
        return line

    def _usage(
        self, title: str, series: deque[float | None], say: Any, color: str, least: float
    ) -> Text:
        text = Text()
        if not series or series[-1] is None:
            return text
        text.append(f"   {title} ")
        text.append(say(series[-1]), style="bold")
        width = 8 if self.size.width < 100 else 16 if self.size.width < 140 else 30
        if self.size.width >= 90:
            top = max([least, *(value for value in series if value is not None)])
            line = words.sparkline(series, width, top)
            text.append(f" {line}", style=self._style(color))
        return text
