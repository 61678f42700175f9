"""The status page: what of a picture is shown, and where.

Responsible for the rows, the curves and the templates. Every text goes through a template that
escapes it: services, workers and their texts are called what anybody likes.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from cotyledon.contrib.http import _words as words
from cotyledon.contrib.http._live import Live, frame
from cotyledon.contrib.http._proc import Used
from cotyledon.contrib.http._watch import Picture, Sample, Watch, names_of

WIDTH, HEIGHT = 96.0, 24.0
"""Of a curve, in its own units."""
FEWEST_SAMPLES = 20
"""That a curve has room for; what is young is shorter."""
SHOWN_DEATHS = 5
SHOWN_EVENTS = 100
REFRESH = 5
"""Seconds after which a page without JavaScript loads itself again."""
_LOOKS = {
    "ready": "good",
    "starting": "warn",
    "waiting": "warn",
    "blocked": "warn",
    "backing off": "bad",
    "killed": "bad",
    "failed": "bad",
    "given up": "bad",
}


class Page:
    """Makes HTML of pictures.

    Args:
        watch: has the curves.
        live: has the events.
    """

    def __init__(self, watch: Watch, live: Live) -> None:
        self._watch = watch
        self._live = live
        environment = Environment(
            loader=PackageLoader("cotyledon.contrib.http"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._whole = environment.get_template("page.html")
        self._part = environment.get_template("status.html")
        self._entry = environment.get_template("entry.html")

    def whole(self, picture: Picture) -> str:
        """Return the page."""
        events = list(self._live.events)
        return self._whole.render(
            **self._shown(picture),
            refresh=REFRESH,
            manager_pid=self._live.manager or "",
            after=events[-1]["seq"] if events else 0,
            entries=[entry(event) for event in reversed(events[-SHOWN_EVENTS:])],
        )

    def part(self, picture: Picture) -> str:
        """Return the frame with what changes on the page."""
        return frame(self._part.render(**self._shown(picture)), event="status")

    def log(self, event: dict[str, Any]) -> str:
        """Return the frame with an entry of the event log."""
        html = self._entry.render(entry=entry(event))
        return frame(html, event="log", number=event.get("seq"))

    # What is shown

    def _shown(self, picture: Picture) -> dict[str, Any]:
        status = picture.status or {"manager": {}, "services": []}
        names = names_of(status)
        services = [self._service(one, names, picture.used) for one in status["services"]]
        manager = status["manager"]
        master = picture.used.get(manager.get("pid") or 0)
        used = list(picture.used.values())
        name = manager.get("name") or "cotyledon"
        ready, wanted = (sum(one[key] for one in services) for key in ("ready", "wanted"))
        return {
            "trouble": picture.trouble,
            "title": f"{name}: {'cut off' if picture.trouble else f'{ready} of {wanted} ready'}",
            "name": name,
            "state": "cut off" if picture.trouble else manager.get("state", "unknown"),
            "version": manager.get("version", ""),
            "pid": manager.get("pid"),
            "uptime": words.span(manager.get("uptime")),
            "ready": ready,
            "wanted": wanted,
            "unexpected": sum(one["unexpected"] for one in services),
            "private": words.size(sum(one.memory.private for one in used if one.memory)),
            "cpu": words.percent(sum(one.cpu_share or 0 for one in used)),
            "master_private": words.size(_private(master)),
            "master_cpu": words.percent(master.cpu_share if master is not None else None),
            "services": services,
        }

    def _service(
        self, service: dict[str, Any], names: dict[str, str], used: dict[int, Used]
    ) -> dict[str, Any]:
        deaths: Counter[str] = Counter(service.get("totals", {}).get("deaths", {}))
        badges = []
        if service.get("gave_up"):
            badges.append(("bad", "given up"))
        if service.get("rollout_failed"):
            badges.append(("bad", "rollout failed"))
        elif service.get("reloading"):
            badges.append(("warn", "rollout running"))
        return {
            "id": service["id"],
            "name": names[service["id"]],
            "ready": service["ready"],
            "wanted": service["wanted"],
            "look": "good" if service["ready"] >= service["wanted"] else "warn",
            "generation": service["generation"],
            "badges": badges,
            "after": [names.get(one, one) for one in service.get("after", ())],
            "deaths": deaths.most_common(),
            "unexpected": sum(
                count for why, count in deaths.items() if words.is_bad({"reason": why})
            ),
            "workers": [self._worker(service["id"], one, used) for one in service["workers"]],
        }

    def _worker(
        self, service: str, worker: dict[str, Any], used: dict[int, Used]
    ) -> dict[str, Any]:
        pid = worker.get("pid")
        mine = used.get(pid or 0)
        memory = mine.memory if mine is not None else None
        curve: Iterable[Sample] = self._watch.curves.get(pid or 0, ())
        notes = [str(worker["status"])] if worker.get("status") else []
        if worker.get("next_start_in") is not None:
            notes.append(f"next start in {words.span(worker['next_start_in'])}")
        if worker.get("second_pid") is not None:
            notes.append(f"second process {worker['second_pid']}: {worker.get('second_state')}")
        deaths = worker.get("deaths") or []
        return {
            "key": f"{service}/{worker['id']}",
            "id": worker["id"],
            "state": worker["state"],
            "look": _LOOKS.get(worker["state"], "plain"),
            "pid": pid,
            "generation": worker.get("generation"),
            "uptime": words.span(worker.get("uptime", worker["since"]) if pid else None),
            "notes": notes,
            "cpu": words.percent(mine.cpu_share if mine is not None else None),
            "cpu_curve": line([sample.cpu_share for sample in curve], 0, 0.05),
            "private": words.size(memory.private if memory is not None else None),
            "shared": words.size(memory.shared if memory is not None else None),
            "memory_curve": line([sample.private for sample in curve], None, 1 << 20),
            "restarts": words.restarts(deaths),
            "deaths": [_death(one) for one in reversed(deaths[-SHOWN_DEATHS:])],
        }


def entry(event: dict[str, Any]) -> dict[str, Any]:
    """Return what is shown of an event."""
    look, text = words.sentence(event)
    at = event.get("at")
    return {
        "seq": event.get("seq", ""),
        "clock": words.clock(at if isinstance(at, int | float) else None),
        "who": words.who(event),
        "look": look,
        "text": text,
    }


def line(values: Sequence[float | None], lowest: float | None, least: float) -> str:
    """Return the points of a curve, the newest at the right edge.

    Args:
        values: the samples, the newest last; ``None``: not known.
        lowest: the value at the lower edge; ``None``: a bit under the least of the samples.
        least: the difference between the edges at least.
    """
    known = [value for value in values if value is not None]
    if len(known) < 2:
        return ""
    bottom = min(known) - least / 2 if lowest is None else lowest
    top = max(*known, bottom + least)
    step = WIDTH / (max(len(values), FEWEST_SAMPLES) - 1)
    left = WIDTH - step * (len(values) - 1)
    scale = (HEIGHT - 2) / (top - bottom)
    return " ".join(
        f"{left + step * index:.1f},{1 + scale * (top - value):.1f}"
        for index, value in enumerate(values)
        if value is not None
    )


def _death(death: dict[str, Any]) -> dict[str, Any]:
    return {
        "look": "bad" if words.is_bad(death) else "plain",
        "why": words.why_dead(death),
        "pid": death.get("pid"),
        "uptime": words.span(death.get("uptime")),
        "ago": words.ago(death.get("ago")),
        "stacks": death.get("stacks") is not None,
    }


def _private(used: Used | None) -> int | None:
    return None if used is None or used.memory is None else used.memory.private
