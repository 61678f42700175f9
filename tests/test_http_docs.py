"""What is said of the HTTP endpoint is so: its page, its metrics, the dashboard, the words."""

import ast
import inspect
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("starlette", reason="needs the extra http")

from prometheus_client.parser import text_string_to_metric_families

from cotyledon.contrib.http import HttpService, _words
from cotyledon.contrib.http._defence import host_name
from cotyledon.contrib.http._metrics import KINDS, shown_names
from cotyledon.contrib.http._page import HEIGHT, WIDTH, line
from tests.harness import until
from tests.http_support import Browser, address_of

pytestmark = pytest.mark.once

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "http.md").read_text()
DASHBOARD = json.loads((ROOT / "examples" / "grafana-dashboard.json").read_text())
EXAMPLE = PAGE.partition("```python\n")[2].partition("```")[0]


def cells(first):
    """Return the rows of the page's table whose head begins like this."""
    table = PAGE.partition(f"| {first} |")[2].partition("\n\n")[0]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in table.split("\n")[2:]]


def queries():
    """Return the queries of the dashboard."""
    found = [
        target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", [])
    ]
    found += [one["expr"] for one in DASHBOARD["annotations"]["list"]]
    return [*found, *(one.get("definition", "") for one in DASHBOARD["templating"]["list"])]


def test_every_metric_is_in_the_table():
    described = {row[0].strip("`"): row[1:] for row in cells("metric")}
    assert list(described) == list(shown_names(KINDS))
    for kind, (labels, text) in zip(KINDS.values(), described.values(), strict=True):
        assert re.findall(r"`(\w+)`", labels) == list(kind.labels)
        assert f"{text}." == kind.help


@pytest.mark.real
def test_every_metric_and_all_of_the_dashboard_is_there(start):
    program = start("site.py", "everything")
    browser = Browser(*address_of(program))
    os.kill(browser.pid("Watched"), signal.SIGKILL)

    def respawned():
        text = browser.ask("/metrics").text
        return 'respawn_duration_seconds_count{service="Watched"} 1.0' in text and text

    families = list(text_string_to_metric_families(until(respawned, "there was a respawn")))
    samples: dict[str, set[str]] = {
        sample.name: set() for family in families for sample in family.samples
    }
    for family in families:
        assert family.documentation.endswith(".")
        for sample in family.samples:
            samples[sample.name] |= set(sample.labels)
    for name in shown_names(KINDS):
        assert name in samples or f"{name}_bucket" in samples
    used = set()
    for query in queries():
        for name, labels in re.findall(r"(cotyledon_\w+)(?:\{([^}]*)\})?", query):
            used.add(re.sub("_(bucket|sum|count)$", "", name))
            assert name in samples, query
            asked = set(re.findall(r"(\w+)[=!]", labels))
            assert asked <= samples[name] | {"job"}, query
    left_out = {"cotyledon_http_followers", "cotyledon_manager_info", "cotyledon_manager_stopping"}
    assert set(shown_names(KINDS)) - used == left_out


def test_the_dashboard_is_one_that_can_be_imported():
    identifiers = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(identifiers)) == len(identifiers)
    names = {one["name"] for one in DASHBOARD["templating"]["list"]}
    for variable in re.findall(r"\$\{?(\w+)", json.dumps(DASHBOARD)):
        assert variable in names or variable.startswith("__")
    taken = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert x < 24
                assert (x, y) not in taken
                taken.add((x, y))


def test_the_arguments_are_those_in_the_table():
    parameters = inspect.signature(HttpService).parameters
    described = {row[0].strip("`"): row[1].strip("`") for row in cells("argument")}
    assert list(described) == [name for name in parameters if name != "worker_id"]
    for name in ("host", "port", "max_browsers"):
        assert ast.literal_eval(described[name]) == parameters[name].default


def test_the_example_runs(tmp_path):
    socket = tmp_path / "control.sock"
    code = EXAMPLE.replace("/run/shop/control.sock", str(socket)).replace("8006", "0")
    code = code.replace("manager.run()", "manager._core and print('built')")
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stdout == "built\n"


def test_what_is_not_installed_is_said_in_one_line():
    code = (
        "import sys; sys.modules['uvicorn'] = None\n"
        "import importlib.util as util; find = util.find_spec\n"
        "util.find_spec = lambda name: None if name == 'uvicorn' else find(name)\n"
        "try: import cotyledon.contrib.http\n"
        "except ImportError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30
    )
    expected = "cotyledon.contrib.http needs uvicorn: pip install 'cotyledon[http]'"
    assert done.stdout.strip() == expected


def test_the_pictures_are_there_and_small():
    shown = re.findall(r"images/([\w-]+\.png)", PAGE)
    assert len(shown) == 3
    for name in shown:
        assert (ROOT / "docs" / "images" / name).stat().st_size < 150_000


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0123, "12 ms"),
        (3.21, "3.2 s"),
        (59.7, "1 min"),
        (61, "1 min 1 s"),
        (3600, "1 h"),
        (3605, "1 h"),
        (90061, "1 d 1 h"),
        (None, "\N{EN DASH}"),
    ],
)
def test_durations(seconds, text):
    assert _words.span(seconds) == text


def test_sizes_and_shares():
    assert _words.size(1536) == "1.5 KiB"
    assert _words.size(250 << 20) == "250 MiB"
    assert _words.percent(0.0312) == "3.1 %"
    assert _words.percent(1.5) == "150 %"


def test_every_kind_of_event_has_words():
    kinds = re.findall(
        r"`([a-z]+(?:-[a-z]+)*)`", (ROOT / "docs" / "control-protocol.md").read_text()
    )
    events = {"worker-started", "all-ready", "unkillable", "lost", "exit", "scaled", "stopping"}
    assert events <= set(kinds)
    for kind in events | {kind for kind in kinds if kind.startswith(("worker-", "rollout-"))}:
        assert _words.sentence({"kind": kind, "seq": 1})[1] != kind
    assert _words.sentence({"kind": "of tomorrow"}) == ("plain", "of tomorrow")


def test_a_curve_ends_at_the_right_edge():
    points = [tuple(map(float, one.split(","))) for one in line([0, 1, None, 0.5], 0, 0.1).split()]
    assert points[-1][0] == WIDTH
    assert [y for _, y in points] == [HEIGHT - 1, 1, HEIGHT / 2]
    assert line([1.0], 0, 1) == line([], None, 1) == ""


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("localhost", "localhost"),
        ("LocalHost.:80", "localhost"),
        ("[::1]:80", "::1"),
        ("[::1]", "::1"),
        ("[::1", None),
        ("[::1]x", None),
        ("::1", None),
        ("a:80x", None),
        ("", None),
        (":80", None),
    ],
)
def test_names_of_hosts(host, name):
    assert host_name(host) == name
