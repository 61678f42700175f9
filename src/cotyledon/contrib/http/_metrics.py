"""The metrics.

Responsible for their names, units and help, and for making them of one picture. Never asks anybody
for anything: a scrape is one status of the manager at most.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from cotyledon.contrib.http._watch import Picture, names_of

ROLLOUT = ("idle", "running", "failed")


class Kind(NamedTuple):
    """One metric."""

    family: Callable[..., Metric]
    help: str
    labels: tuple[str, ...] = ()


_SERVICE = ("service",)
_WORKER = ("service", "worker")
KINDS = {
    "cotyledon_up": Kind(GaugeMetricFamily, "Whether the manager answers (1) or not (0)."),
    "cotyledon_http_followers": Kind(
        GaugeMetricFamily, "Browsers and others that follow the events through this server."
    ),
    "cotyledon_manager_info": Kind(
        GaugeMetricFamily, "Always 1; who the manager is.", ("manager", "version")
    ),
    "cotyledon_manager_stopping": Kind(GaugeMetricFamily, "Whether the manager is stopping."),
    "cotyledon_manager_uptime_seconds": Kind(
        GaugeMetricFamily, "How long the manager has been running."
    ),
    "cotyledon_manager_private_memory_bytes": Kind(
        GaugeMetricFamily, "Memory of the master that it shares with nobody."
    ),
    "cotyledon_manager_shared_memory_bytes": Kind(
        GaugeMetricFamily, "Memory of the master that it shares with other processes."
    ),
    "cotyledon_manager_cpu_seconds": Kind(
        CounterMetricFamily, "CPU that the master has used, user and system."
    ),
    "cotyledon_workers_wanted": Kind(
        GaugeMetricFamily, "Workers that the service shall have.", _SERVICE
    ),
    "cotyledon_workers_ready": Kind(GaugeMetricFamily, "Workers that are ready.", _SERVICE),
    "cotyledon_worker_starts": Kind(
        CounterMetricFamily, "Workers that were started, by reason.", ("service", "reason")
    ),
    "cotyledon_worker_deaths": Kind(
        CounterMetricFamily, "Workers that have ended, by reason.", ("service", "reason")
    ),
    "cotyledon_service_generation": Kind(
        GaugeMetricFamily, "Reloads and restarts that were asked for.", _SERVICE
    ),
    "cotyledon_rollout_state": Kind(
        GaugeMetricFamily,
        "1 for the state of the rollout (idle, running or failed), 0 for the others.",
        ("service", "state"),
    ),
    "cotyledon_service_gave_up": Kind(
        GaugeMetricFamily, "Whether the service has failed too often to be started.", _SERVICE
    ),
    "cotyledon_worker_start_duration_seconds": Kind(
        HistogramMetricFamily, "From the start of a worker until it is ready.", _SERVICE
    ),
    "cotyledon_worker_stop_duration_seconds": Kind(
        HistogramMetricFamily, "From the order to stop until the worker has ended.", _SERVICE
    ),
    "cotyledon_worker_respawn_duration_seconds": Kind(
        HistogramMetricFamily, "From the end of a worker until the next one is ready.", _SERVICE
    ),
    "cotyledon_worker_state": Kind(
        GaugeMetricFamily, "Always 1; the state of the worker.", (*_WORKER, "state")
    ),
    "cotyledon_worker_uptime_seconds": Kind(
        GaugeMetricFamily, "How long the worker has lived.", _WORKER
    ),
    "cotyledon_worker_generation": Kind(
        GaugeMetricFamily, "The generation that the worker has taken up.", _WORKER
    ),
    "cotyledon_worker_failures": Kind(
        GaugeMetricFamily, "Deaths in a row that the back-off counts.", _WORKER
    ),
    "cotyledon_worker_backoff_seconds": Kind(
        GaugeMetricFamily, "Until the next start, while the worker backs off; else 0.", _WORKER
    ),
    "cotyledon_worker_heartbeat_age_seconds": Kind(
        GaugeMetricFamily, "Since the last heartbeat, with a watchdog.", _WORKER
    ),
    "cotyledon_worker_figure": Kind(
        GaugeMetricFamily,
        "A number that the service tells of itself; counts begin anew in each worker.",
        (*_WORKER, "figure"),
    ),
    "cotyledon_worker_private_memory_bytes": Kind(
        GaugeMetricFamily, "Memory of the worker that it shares with nobody.", _WORKER
    ),
    "cotyledon_worker_shared_memory_bytes": Kind(
        GaugeMetricFamily, "Memory of the worker that it shares with other processes.", _WORKER
    ),
    "cotyledon_worker_cpu_seconds": Kind(
        CounterMetricFamily, "CPU that the worker has used, user and system.", _WORKER
    ),
}
"""By name. What is counted is shown with ``_total`` at its end."""


class PictureCollector(Collector):
    """Makes metrics of a picture.

    Args:
        picture: of the manager.
        followers: how many follow the events.
    """

    def __init__(self, picture: Picture, followers: int) -> None:
        self._picture = picture
        self._followers = followers
        self._families: dict[str, Any] = {}

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics."""
        self._families = {
            name: kind.family(name, kind.help, labels=kind.labels) for name, kind in KINDS.items()
        }
        status = self._picture.status if self._picture.trouble is None else None
        self._put("cotyledon_up", status is not None)
        self._put("cotyledon_http_followers", self._followers)
        if status is not None:
            self._manager(status["manager"])
            names = names_of(status)
            for service in status["services"]:
                self._service(names[service["id"]], service)
        yield from (family for family in self._families.values() if family.samples)

    def _put(self, name: str, value: float | None, *labels: str) -> None:
        if value is not None:
            self._families[name].add_metric(labels, float(value))

    def _manager(self, manager: dict[str, Any]) -> None:
        who = str(manager.get("name") or ""), str(manager.get("version") or "")
        self._put("cotyledon_manager_info", 1, *who)
        self._put("cotyledon_manager_stopping", manager.get("state") != "running")
        self._put("cotyledon_manager_uptime_seconds", manager.get("uptime"))
        self._usage("manager", manager.get("pid"))

    def _usage(self, whose: str, pid: int | None, *labels: str) -> None:
        used = self._picture.used.get(pid or 0)
        if used is None:
            return
        self._put(f"cotyledon_{whose}_cpu_seconds", used.cpu_seconds, *labels)
        if used.memory is not None:
            self._put(f"cotyledon_{whose}_private_memory_bytes", used.memory.private, *labels)
            self._put(f"cotyledon_{whose}_shared_memory_bytes", used.memory.shared, *labels)

    def _service(self, name: str, service: dict[str, Any]) -> None:
        self._put("cotyledon_workers_wanted", service["wanted"], name)
        self._put("cotyledon_workers_ready", service["ready"], name)
        self._put("cotyledon_service_generation", service["generation"], name)
        self._put("cotyledon_service_gave_up", service.get("gave_up", False), name)
        rollout = "running" if service.get("reloading") else "idle"
        if service.get("rollout_failed"):
            rollout = "failed"
        for state in ROLLOUT:
            self._put("cotyledon_rollout_state", state == rollout, name, state)
        totals = service.get("totals", {})
        for what in ("starts", "deaths"):
            for reason, count in totals.get(what, {}).items():
                self._put(f"cotyledon_worker_{what}", count, name, reason)
        for what in ("start", "stop", "respawn"):
            self._histogram(what, name, totals.get(f"{what}_seconds"))
        for worker in service["workers"]:
            self._worker(name, worker)

    def _histogram(self, what: str, name: str, found: dict[str, Any] | None) -> None:
        if found is None:
            return
        buckets = [
            ("+Inf" if bound is None else str(float(bound)), float(count))
            for bound, count in found["buckets"]
        ]
        family = self._families[f"cotyledon_worker_{what}_duration_seconds"]
        family.add_metric((name,), buckets=buckets, sum_value=found["sum"])

    def _worker(self, name: str, worker: dict[str, Any]) -> None:
        labels = name, str(worker["id"])
        self._put("cotyledon_worker_state", 1, *labels, str(worker["state"]))
        self._put("cotyledon_worker_generation", worker.get("generation"), *labels)
        self._put("cotyledon_worker_failures", worker.get("failures"), *labels)
        wait = worker.get("next_start_in") if worker["state"] == "backing off" else 0
        self._put("cotyledon_worker_backoff_seconds", wait, *labels)
        self._put("cotyledon_worker_heartbeat_age_seconds", worker.get("heartbeat_age"), *labels)
        for figure, value in (worker.get("figures") or {}).items():
            self._put("cotyledon_worker_figure", value, *labels, figure)
        if worker.get("pid") is not None:
            self._put("cotyledon_worker_uptime_seconds", worker.get("uptime"), *labels)
            self._usage("worker", worker["pid"], *labels)


def exposition(picture: Picture, followers: int, accept: str) -> tuple[bytes, str]:
    """Return the metrics as text, and its type.

    Args:
        picture: of the manager.
        followers: how many follow the events.
        accept: the types that are welcome, as in HTTP.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(PictureCollector(picture, followers))
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


def shown_names(names: Iterable[str]) -> Iterator[str]:
    """Yield the names as they are in the text, without the parts of histograms."""
    for name in names:
        yield f"{name}_total" if KINDS[name].family is CounterMetricFamily else name
