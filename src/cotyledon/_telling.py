"""What people are told of the core's effects: a line in the log, a notice for ``on_event`` hooks.

Responsible for the words, and for turning the core's numbers and nanoseconds into ids and
seconds. Never decides, never logs or calls a hook itself.
"""

import signal
from collections.abc import Callable
from logging import CRITICAL, ERROR, INFO, WARNING
from typing import Any

from cotyledon import notices
from cotyledon._core import effects as fx
from cotyledon._core.effects import Effect, Reason
from cotyledon._posix.children import Account
from cotyledon.status import Death
from cotyledon.types import WorkerId

SECOND = 1_000_000_000
STOLEN = 255
"""The exit code that hooks are told when a foreign ``waitpid(-1)`` took the real one."""
BAD_ENDS = frozenset(
    {
        Reason.EXIT,
        Reason.SIGNAL,
        Reason.CORE_DUMP,
        Reason.OUT_OF_MEMORY,
        Reason.START_TIMEOUT,
        Reason.WATCHDOG,
        Reason.STOP_TIMEOUT,
    }
)


class Telling:
    """Knows the words.

    Args:
        note: takes a line for the log.
        name: tells the name of a service's number.
        public_id: tells its public id.
        pid: tells the pid of a worker's number, if it has a process.
    """

    def __init__(
        self,
        note: Callable[..., None],
        name: Callable[[int], str],
        public_id: Callable[[int], Any],
        pid: Callable[[int], int | None],
    ) -> None:
        self._note = note
        self._name = name
        self._public_id = public_id
        self._pid = pid

    # For the log

    def log(self, effect: Effect) -> None:
        """Note the line that belongs to an effect, if there is one."""
        note = self._note
        match effect:
            case fx.WorkerDied():
                self._log_death(effect)
            case fx.AllReady():
                note(INFO, "every worker is ready")
            case fx.ServiceGone(service):
                note(INFO, "%s: removed, nothing of it is left", self._name(service))
            case fx.WorkerReady(_, service, worker_id, took):
                text = "%s worker(%d): ready after %.3f s"
                note(INFO, text, self._name(service), worker_id, took / SECOND)
            case fx.WorkerSilent(_, service, worker_id, reason, silent_for):
                missed = "no heartbeat" if reason is Reason.WATCHDOG else "not ready"
                text = "%s worker(%d): %s for %.1f s, it is asked for its stacks"
                note(ERROR, text, self._name(service), worker_id, missed, silent_for / SECOND)
            case fx.WorkerRecovered(_, service, worker_id):
                note(WARNING, "%s worker(%d): heard after all", self._name(service), worker_id)
            case fx.GaveUp(service, None, _):
                text = "%s: too many failures, nothing is started any more until a reload"
                note(ERROR, text, self._name(service))
            case fx.GaveUp(service, worker_id, status):
                text = "%s worker(%d): exit status %s, not started again until a reload"
                note(ERROR, text, self._name(service), worker_id, status)
            case fx.RolloutFinished(service, generation):
                text = "%s: rollout %d has reached every worker"
                note(INFO, text, self._name(service), generation)
            case fx.RolloutFailed(service, generation, behind):
                text = "%s: rollout %d has failed, %s; %d workers still run as before it"
                why = rollout_failure(effect)
                note(ERROR, text, self._name(service), generation, why, behind)
            case fx.Unkillable(_, service, worker_id, left_behind):
                text = "%s worker(%d): still there after SIGKILL, it hangs in the kernel%s"
                left = "; left behind" if left_behind else ""
                note(CRITICAL, text, self._name(service), worker_id, left)
            case _:
                pass

    def _log_death(self, death: fx.WorkerDied) -> None:
        if death.reason is Reason.SPAWN_FAILED:
            return  # said where it happened
        self._note(
            WARNING if death.reason in BAD_ENDS and not death.stopping else INFO,
            "%s worker(%d): ended after %.1f s, %s (%s)%s",
            self._name(death.service),
            death.worker_id,
            death.uptime / SECOND,
            _how(death.status),
            death.reason.value,
            _next(death),
        )

    # For on_event hooks

    def public(self, effect: Effect) -> list[notices.Notice]:
        """Return what hooks are told of an effect."""
        match effect:
            case fx.Spawn(worker, service, worker_id, _, reason):
                pid = self._pid(worker)
                if pid is None:
                    return []  # it has failed, which is told as a death
                return [notices.WorkerStarted(*self._slot(service, worker_id), pid, reason.value)]
            case fx.WorkerReady(worker, service, worker_id, took):
                who = self._slot(service, worker_id)
                return [notices.WorkerReady(*who, self._pid(worker), took / SECOND)]
            case fx.WorkerDied():
                return self._death(effect)
            case fx.WorkerSilent(worker, service, worker_id, reason, silent_for):
                who = self._slot(service, worker_id)
                pid = self._pid(worker)
                return [notices.WorkerSilent(*who, pid, reason.value, silent_for / SECOND)]
            case fx.WorkerRecovered(worker, service, worker_id):
                who = self._slot(service, worker_id)
                return [notices.WorkerRecovered(*who, self._pid(worker))]
            case fx.GaveUp(service, worker_id, status):
                slot = None if worker_id is None else WorkerId(worker_id)
                return [notices.GaveUp(*self._service(service), slot, status)]
            case fx.AllReady():
                return [notices.AllReady()]
            case fx.ServiceGone(service):
                return [notices.ServiceGone(*self._service(service))]
            case fx.RolloutFinished(service, generation):
                return [notices.RolloutFinished(*self._service(service), generation)]
            case fx.RolloutFailed(service, generation, behind):
                why = rollout_failure(effect)
                return [notices.RolloutFailed(*self._service(service), generation, behind, why)]
            case fx.Unkillable(worker, service, worker_id):
                who = self._slot(service, worker_id)
                return [notices.Unkillable(*who, self._pid(worker))]
            case _:
                return []

    def status(
        self, service: int, worker_id: int, pid: int, text: str | None
    ) -> notices.WorkerStatus:
        """Return what hooks are told of what a service says."""
        return notices.WorkerStatus(*self._slot(service, worker_id), pid, text)

    def _death(self, died: fx.WorkerDied) -> list[notices.Notice]:
        who = self._slot(died.service, died.worker_id)
        next_in = None if died.respawn_in is None else died.respawn_in / SECOND
        death = public_death(
            died.reason,
            died.status,
            died.uptime,
            0,
            next_in,
            died.failures,
            died.account,
        )
        told: list[notices.Notice] = [notices.WorkerDied(*who, death, died.stopping)]
        if next_in:
            told.append(notices.BackingOff(*who, next_in, died.failures))
        return told

    def _service(self, service: int) -> tuple[Any, str]:
        return self._public_id(service), self._name(service)

    def _slot(self, service: int, worker_id: int) -> tuple[Any, str, WorkerId]:
        return self._public_id(service), self._name(service), WorkerId(worker_id)


def public_death(
    reason: Reason,
    status: int | None,
    uptime: int,
    ago: int,
    next_start_in: float | None,
    failures: int,
    account: object,
) -> Death:
    """Return the public form of a death; the durations are nanoseconds but for the wait."""
    pid, usage, stacks = account if isinstance(account, Account) else (None, None, None)
    return Death(
        reason.value,
        status,
        uptime / SECOND,
        ago / SECOND,
        pid,
        usage,
        stacks,
        next_start_in,
        failures,
    )


def rollout_failure(failed: fx.RolloutFailed) -> str:
    """Return why a rollout has failed."""
    return "workers have failed for good" if failed.gave_up else "it makes no progress"


def _how(status: int | None) -> str:
    if status is None:
        return "status unknown (taken by a foreign wait)"
    if status >= 0:
        return f"exit status {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"


def _next(death: fx.WorkerDied) -> str:
    if death.respawn_in is None:
        return ""
    if not death.respawn_in:
        return ", respawned at once"
    return f", respawned in {death.respawn_in / SECOND:.1f} s ({death.failures} deaths in a row)"
