"""Why a slot is as it is: its last ends, in words.

Responsible for the text behind the key ``w``. Never asks anybody: the status has it all.
"""

from typing import Any

from rich.text import Text

from cotyledon.contrib.top import words
from cotyledon.contrib.top.rows import worker_state


def story(status: dict[str, Any], service: str, worker: int | None) -> Text:
    """Return the story of a worker, or of all workers of a service."""
    found = [one for one in status.get("services", ()) if str(one.get("id")) == service]
    text = Text()
    for one in found:
        for slot in one.get("workers", ()):
            if worker is None or slot.get("id") == worker:
                _slot(text, one, slot)
    if not text:
        text.append("It is not there any more.")
    return text


def _slot(text: Text, service: dict[str, Any], slot: dict[str, Any]) -> None:
    if text:
        text.append("\n")
    name = f"{words.clean(service.get('name'))}/{words.clean(slot.get('id'))}"
    state = worker_state(slot, 0.0).text
    text.append(name, style="bold")
    text.append(f": {state}")
    if slot.get("pid"):
        text.append(f" for {words.duration(slot.get('since'))}")
    text.append("\n")
    deaths = slot.get("deaths") or ()
    if not deaths:
        text.append("  No worker of this slot has ended yet.\n")
    if slot.get("failures"):
        text.append(f"  {slot['failures']} deaths in a row count for its back-off.\n")
    for death in reversed(deaths):
        first, *rest = words.death_story(death)
        text.append(f"  • {first}\n")
        for line in rest:
            text.append(f"    {line}\n", style="dim")
        if death.get("stacks"):
            text.append("    its stacks were:\n", style="dim")
            for line in str(death["stacks"]).splitlines():
                text.append(f"      {words.clean(line)}\n")
