"""Planted bugs: changes of the core's source that the simulation must notice.

Responsible for the list, and for making a core with one of them. Each is something that somebody
could write by mistake: a forgotten condition, a wrong comparison, a missing reset.
"""

import types
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

from cotyledon._core.machine import Core


class Mutant(NamedTuple):
    """One planted bug: the module of the core, the text, and what it becomes."""

    name: str
    module: str
    text: str
    becomes: str


def make(mutant: Mutant) -> Callable[..., Core]:
    """Return the class of a core with the bug in it."""
    original = import_module(f"cotyledon._core.{mutant.module}")
    assert original.__file__ is not None
    source = Path(original.__file__).read_text()
    assert source.count(mutant.text) == 1, f"{mutant.name}: the text must occur exactly once"
    broken = _load(original.__name__, source.replace(mutant.text, mutant.becomes))
    if mutant.module == "machine":
        return broken.Core
    machine = import_module("cotyledon._core.machine")
    assert machine.__file__ is not None
    core = _load(machine.__name__, Path(machine.__file__).read_text())
    for name in ("bounded", "Slot", "Worker", "ServiceState"):
        if hasattr(broken, name):
            setattr(core, name, getattr(broken, name))
    if mutant.module == "backoff":
        vars(core)["backoff"] = broken
    return core.Core


def _load(name: str, source: str) -> types.ModuleType:
    module = types.ModuleType(name)
    exec(compile(source, name, "exec"), module.__dict__)
    return module


MUTANTS = [
    Mutant(
        "a stop does not end the starting of workers",
        "machine",
        "            self._startable.clear()\n",
        "",
    ),
    Mutant(
        "a slot that was scaled away while it waited is filled",
        "machine",
        "            if not slot.wanted:\n",
        "            if False:\n",
    ),
    Mutant(
        "scaling down leaves workers alone",
        "machine",
        "elif self.stopping or not slot.wanted:",
        "elif self.stopping:",
    ),
    Mutant(
        "scaling up settles nothing",
        "machine",
        "        for slot in service.slots:\n            self._touch(slot)\n\n    def _forgive",
        "\n    def _forgive",
    ),
    Mutant(
        "a death settles nothing, so nobody is respawned",
        "machine",
        "        slot.deaths.append(DeathRecord(reason, status, worker.started_at, now))\n"
        "        self._touch(slot)\n",
        "        slot.deaths.append(DeathRecord(reason, status, worker.started_at, now))\n",
    ),
    Mutant(
        "the back-off is not waited for",
        "machine",
        "            slot.not_before = now + wait\n",
        "            slot.not_before = now\n",
    ),
    Mutant(
        "the end of a back-off is forgotten",
        "machine",
        "                self._hint(slot.not_before, slot)\n",
        "                pass\n",
    ),
    Mutant(
        "the first respawn waits as well",
        "machine",
        "            slot.failures = backoff.count(slot.failures, lived, policy.backoff)\n",
        "            slot.failures = backoff.count(slot.failures, lived, policy.backoff) + 1\n"
        "            slot.not_before = 10**15\n"
        "            policy = policy._replace()\n",
    ),
    Mutant(
        "deaths that were asked for count as failures",
        "machine",
        "        if worker.cause is None:\n            lived",
        "        if True:\n            lived",
    ),
    Mutant(
        "a reload does not clear the back-off",
        "machine",
        "            self._to_roll[service] = None\n            self._forgive(service)\n",
        "            self._to_roll[service] = None\n            self._forgive(service)\n"
        "            for slot in service.slots:\n"
        "                slot.not_before = 10**15 if slot.worker is None else 0\n",
    ),
    Mutant(
        "a new worker does not mark its slot as filled",
        "machine",
        "        slot.worker = worker\n",
        "",
    ),
    Mutant(
        "STOPPING has no deadline",
        "machine",
        "        self._enter(worker, Phase.STOPPING, deadline, now)\n",
        "        self._enter(worker, Phase.STOPPING, None, now)\n",
    ),
    Mutant(
        "the manager's stop does not shorten a worker's own",
        "machine",
        "            if worker.phase is Phase.STOPPING:\n"
        "                self._set_deadline(worker, "
        "self._earlier(worker.deadline, self._stop_at))\n            elif",
        "            if",
    ),
    Mutant(
        "a worker is killed too early",
        "machine",
        "deadline = self._earlier(now + grace + MARGIN if grace else None, self._stop_at)",
        "deadline = self._earlier(now + grace // 2 if grace else None, self._stop_at)",
    ),
    Mutant(
        "a worker without a timeout of its own is never bounded",
        "machine",
        "deadline = self._earlier(now + grace + MARGIN if grace else None, self._stop_at)",
        "deadline = now + grace + MARGIN if grace else None",
    ),
    Mutant(
        "an abort waits like a stop",
        "machine",
        "        self._aborted = True\n",
        "",
    ),
    Mutant(
        "an abort ends with status 0",
        "machine",
        "        self._status = 1\n        for worker",
        "        for worker",
    ),
    Mutant(
        "an end after the deadline of the stop ends with status 0",
        "machine",
        "            self._status = 1  # it was killed for that, or would have been\n",
        "            pass\n",
    ),
    Mutant(
        "a kill at a worker's own deadline ends with status 1",
        "machine",
        "        worker.cause = reason\n        self._enter(worker, Phase.KILLED",
        "        self._status = 1\n        worker.cause = reason\n"
        "        self._enter(worker, Phase.KILLED",
    ),
    Mutant(
        "the second request to stop is not heard",
        "machine",
        "        self._bound_stop(now + HURRY)\n",
        "",
    ),
    Mutant(
        "a later, longer stop lengthens the first",
        "machine",
        "        if self._stop_at is None or deadline < self._stop_at:\n",
        "        if True:\n",
    ),
    Mutant(
        "the time that hooks have used is given to the workers again",
        "machine",
        "        within = self.grace if event.within is None else event.within\n",
        "        within = self.grace\n",
    ),
    Mutant(
        "a rollout restarts every worker at once",
        "machine",
        "            elif spare > 0:\n",
        "            else:\n",
    ),
    Mutant(
        "a rollout restarts one too many",
        "machine",
        "            elif spare > 0:\n",
        "            elif spare >= 0:\n",
    ),
    Mutant(
        "a rollout does not count the workers that are missing already",
        "machine",
        "spare = service.policy.rollout.allowed(service.wanted) - service.wanted + service.ready",
        "spare = service.policy.rollout.allowed(service.wanted)",
    ),
    Mutant(
        "a rollout goes on at no event, so it stops after its first batch",
        "machine",
        "        if slot.service.rolling:\n            self._to_roll[slot.service] = None\n",
        "",
    ),
    Mutant(
        "a rollout is called finished when the last old worker was told",
        "machine",
        "        if not behind and service.ready >= service.wanted:\n",
        "        if not behind:\n",
    ),
    Mutant(
        "a rollout never gets finished",
        "machine",
        "            service.rolling = False\n",
        "            pass\n",
    ),
    Mutant(
        "a worker with its own reload() is restarted",
        "machine",
        "            if worker.reloads:\n",
        "            if False:\n",
    ),
    Mutant(
        "a worker is told of a reload at every step",
        "machine",
        "                    worker.told = target\n",
        "",
    ),
    Mutant(
        "a worker that is stopping is told to reload",
        "machine",
        "worker is None or worker.generation >= target or worker.phase >= Phase.STOPPING:",
        "worker is None or worker.generation >= target:",
    ),
    Mutant(
        "a worker that is being built is taken for an old one that is ready",
        "machine",
        "            elif worker.phase is Phase.STARTING:\n"
        "                self._terminate(worker, Reason.RELOAD, now)  # costs no capacity\n",
        "",
    ),
    Mutant(
        "what a worker can do is not learned from it",
        "machine",
        "        worker.reloads = service.reloads = event.reloads\n",
        "",
    ),
    Mutant(
        "a reload is taken up before it is done",
        "machine",
        "                    worker.told = target\n",
        "                    worker.told = worker.generation = target\n",
    ),
    Mutant(
        "AllReady is said at the first worker",
        "machine",
        "all(s.ready >= s.wanted for s in self.services.values())",
        "any(s.ready for s in self.services.values())",
    ),
    Mutant(
        "AllReady is said again and again",
        "machine",
        "            self._announced = True\n",
        "",
    ),
    Mutant(
        "the exit comes while workers are left",
        "machine",
        "            if not self.workers:\n",
        "            if len(self.workers) < 2:\n",
    ),
    Mutant(
        "ready workers that die go on counting",
        "machine",
        "        worker.slot.service.ready -= worker.phase is Phase.READY\n",
        "",
    ),
    Mutant(
        "a worker that is told to stop goes on counting as ready",
        "machine",
        "        service.ready += (phase is Phase.READY) - (worker.phase is Phase.READY)\n",
        "        service.ready += phase is Phase.READY\n",
    ),
    Mutant(
        "a late message revives a worker that is stopping",
        "machine",
        "        if worker.phase is not Phase.STARTING:\n            return\n",
        "",
    ),
    Mutant(
        "a doubled exit is counted twice",
        "machine",
        "        del self.workers[worker.key]\n",
        "        self._doubled = worker\n",
    ),
    Mutant(
        "one slot is started without end at one instant",
        "machine",
        "                self._spawn_at = now + 1\n",
        "                pass\n",
    ),
    Mutant(
        "the pause between spawns is not kept",
        "machine",
        "                self._spawn_at = now + self._spawn_interval\n",
        "                self._spawn_at = now + 1\n",
    ),
    Mutant(
        "the newest slot is started first",
        "machine",
        "self._startable.popitem(last=False)",
        "self._startable.popitem(last=True)",
    ),
    Mutant(
        "a killed process that stays is given up though nothing is stopping",
        "machine",
        "        if self.stopping:\n            self._status = 1\n            self._leave",
        "        if True:\n            self._status = 1\n            self._leave",
    ),
    Mutant(
        "the manager waits for ever for a process that cannot be killed",
        "machine",
        "        self._enter(worker, Phase.KILLED, now + UNKILLABLE, now)\n",
        "        self._enter(worker, Phase.KILLED, None, now)\n",
    ),
    Mutant(
        "the first hint hides all later deadlines",
        "machine",
        "            heappop(hints)\n        deadline",
        "            break\n        deadline",
    ),
    Mutant(
        "the back-off grows without a cap",
        "backoff",
        "    wait = min(backoff.cap, backoff.initial * backoff.factor ** min(failures - 2, 64))\n",
        "    wait = backoff.initial * backoff.factor ** min(failures - 2, 64)\n",
    ),
    Mutant(
        "the back-off does not grow",
        "backoff",
        "    wait = min(backoff.cap, backoff.initial * backoff.factor ** min(failures - 2, 64))\n",
        "    wait = backoff.initial\n",
    ),
    Mutant(
        "a long life forgives nothing",
        "backoff",
        "    return max(0, failures - lived // round(backoff.forgive * SECOND)) + 1\n",
        "    return failures + 1\n",
    ),
    Mutant(
        "any life forgives everything",
        "backoff",
        "    return max(0, failures - lived // round(backoff.forgive * SECOND)) + 1\n",
        "    return 1\n",
    ),
    Mutant(
        "jitter makes the wait shorter than it may be",
        "backoff",
        "    return round(wait * (1 - backoff.jitter * chance) * SECOND)\n",
        "    return round(wait * (1 - chance) * SECOND)\n",
    ),
    Mutant(
        "the manager's timeout does not bound a service's own",
        "grace",
        "    return min(own, managers) if own else managers\n",
        "    return own\n",
    ),
]
