"""Planted bugs: changes of the core's source that the simulation must notice.

Responsible for the list, and for making a core with one of them. Each is something that somebody
could write by mistake: a forgotten condition, a wrong comparison, a missing reset.
"""

import builtins
import types
from collections.abc import Callable
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import cotyledon._core
from cotyledon._core.machine import Core

PACKAGE = cotyledon._core.__name__
SHARED = {"effects", "events"}
"""The vocabulary, by which a core with a bug must still be understood."""


class Mutant(NamedTuple):
    """One planted bug: the module of the core, the text, and what it becomes."""

    name: str
    module: str
    text: str
    becomes: str


def make(mutant: Mutant) -> Callable[..., Core]:
    """Return the class of a core with the bug in it: all of its modules, loaded once more."""
    source = _source(mutant.module)
    assert source.count(mutant.text) == 1, f"{mutant.name}: the text must occur exactly once"
    broken = compile(source.replace(mutant.text, mutant.becomes), mutant.module, "exec")
    loaded: dict[str, types.ModuleType] = {}

    def load(name: str) -> types.ModuleType:
        if name in SHARED:
            return import_module(f"{PACKAGE}.{name}")
        if name not in loaded:
            module = loaded[name] = types.ModuleType(f"{PACKAGE}.{name}")
            vars(module)["__builtins__"] = {**vars(builtins), "__import__": imported}
            exec(broken if name == mutant.module else _code(name), vars(module))
        return loaded[name]

    def imported(name: str, *args: Any) -> Any:
        if name == PACKAGE:
            return types.SimpleNamespace(**{part: load(part) for part in args[2]})
        if name.startswith(f"{PACKAGE}."):
            return load(name.removeprefix(f"{PACKAGE}."))
        return builtins.__import__(name, *args)

    return load("machine").Core


def _source(module: str) -> str:
    assert cotyledon._core.__file__ is not None
    return Path(cotyledon._core.__file__).with_name(f"{module}.py").read_text()


@cache
def _code(module: str) -> types.CodeType:
    return compile(_source(module), module, "exec")


MUTANTS = [
    Mutant(
        "a stop does not end the starting of workers",
        "machine",
        "            self.stopping = True\n            self.startable.clear()\n",
        "            self.stopping = True\n",
    ),
    Mutant(
        "a slot that was scaled away while it waited is filled",
        "machine",
        "            if not slot.startable or (slot.worker is not None and not slot.surging):\n",
        "            if slot.worker is not None and not slot.surging:\n",
    ),
    Mutant(
        "scaling down leaves workers alone",
        "machine",
        "elif self.stopping or not slot.wanted:",
        "elif self.stopping:",
    ),
    Mutant(
        "scaling up settles nothing",
        "board",
        "        service.slots.extend(Slot(service, i) for i in range(len(service.slots), wanted))\n"
        "        self.touch_all(service)\n",
        "        service.slots.extend(Slot(service, i) for i in range(len(service.slots), wanted))\n",
    ),
    Mutant(
        "a death settles nothing, so nobody is respawned",
        "deaths",
        "    board.touch(slot)\n    board.effects.append(\n        WorkerDied(",
        "    board.effects.append(\n        WorkerDied(",
    ),
    Mutant(
        "the back-off is not waited for",
        "deaths",
        "    slot.not_before = now + wait\n",
        "    slot.not_before = now\n",
    ),
    Mutant(
        "the end of a back-off is forgotten",
        "machine",
        "            else:\n                self.hint(slot.not_before, slot)\n",
        "",
    ),
    Mutant(
        "the first respawn waits as well",
        "backoff",
        "    if failures <= 1:\n",
        "    if failures <= 0:\n",
    ),
    Mutant(
        "deaths that were asked for count as failures",
        "deaths",
        "    failure = worker.cause is None or worker.cause in FAULTS\n",
        "    failure = True\n",
    ),
    Mutant(
        "a reload does not clear the back-off",
        "deaths",
        "        slot.failures = 0\n        slot.not_before = 0\n",
        "        slot.failures = 0\n",
    ),
    Mutant(
        "a new worker does not mark its slot as filled",
        "board",
        "            slot.worker = worker\n            reason = Reason.RESPAWN",
        "            reason = Reason.RESPAWN",
    ),
    Mutant(
        "STOPPING has no deadline",
        "board",
        "        self.enter(worker, Phase.STOPPING, deadline, now)\n",
        "        self.enter(worker, Phase.STOPPING, None, now)\n",
    ),
    Mutant(
        "the manager's stop does not shorten a worker's own",
        "machine",
        "            if worker.phase is Phase.STOPPING:\n"
        "                self.set_deadline(worker, earlier(worker.deadline, self.stop_at))\n"
        "            elif",
        "            if",
    ),
    Mutant(
        "a worker is killed too early",
        "board",
        "deadline = earlier(now + grace + MARGIN if grace else None, self.stop_at)",
        "deadline = earlier(now + grace // 2 if grace else None, self.stop_at)",
    ),
    Mutant(
        "a worker without a timeout of its own is never bounded",
        "board",
        "deadline = earlier(now + grace + MARGIN if grace else None, self.stop_at)",
        "deadline = now + grace + MARGIN if grace else None",
    ),
    Mutant(
        "a worker that is told late has its deadline in the past",
        "board",
        "            deadline = max(deadline, now + 1)  # the stop may be over when it is told, late\n",
        "            pass\n",
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
        "        self._aborted = True\n        self.status = 1\n",
        "        self._aborted = True\n",
    ),
    Mutant(
        "an end after the deadline of the stop ends with status 0",
        "machine",
        "            self.status = 1  # it was killed for that, or would have been\n",
        "            pass\n",
    ),
    Mutant(
        "a kill at a worker's own deadline ends with status 1",
        "board",
        "        worker.cause = reason\n        self.enter(worker, Phase.KILLED",
        "        self.status = 1\n"
        "        worker.cause = reason\n"
        "        self.enter(worker, Phase.KILLED",
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
        "        if self.stop_at is None or deadline < self.stop_at:\n",
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
        "rollout",
        "        elif not worker.available or spare > 0:\n",
        "        else:\n",
    ),
    Mutant(
        "a rollout restarts one too many",
        "rollout",
        "        elif not worker.available or spare > 0:\n",
        "        elif not worker.available or spare >= 0:\n",
    ),
    Mutant(
        "a rollout does not count the workers that are missing already",
        "rollout",
        "    spare = limits.allowed(service.wanted) - expected + service.available\n",
        "    spare = limits.allowed(service.wanted)\n",
    ),
    Mutant(
        "a rollout does not note what it has taken in this step",
        "rollout",
        "            spare -= worker.available\n",
        "",
    ),
    Mutant(
        "a rollout goes on at no event, so it stops after its first batch",
        "board",
        "        if service.rolling or service.replacing:\n"
        "            self.to_roll[service] = None\n",
        "",
    ),
    Mutant(
        "a rollout is called finished when the last old worker was told",
        "rollout",
        "    if service.rolling and not behind and service.available >= expected:\n",
        "    if service.rolling and not behind:\n",
    ),
    Mutant(
        "a rollout never gets finished",
        "rollout",
        "        service.rolling = False\n"
        "        service.progress_by = None\n"
        "        board.effects.append(RolloutFinished",
        "        service.progress_by = None\n        board.effects.append(RolloutFinished",
    ),
    Mutant(
        "a worker with its own reload() is restarted",
        "rollout",
        "            if worker.born >= service.renew and worker.reloads is not False:\n",
        "            if False:\n",
    ),
    Mutant(
        "a worker is told of a reload at every step",
        "rollout",
        "        worker.told = generation\n",
        "",
    ),
    Mutant(
        "a worker that is stopping is told to reload",
        "rollout",
        "        if worker is None or worker.phase >= Phase.STOPPING:\n"
        "            continue\n"
        "        stale",
        "        if worker is None:\n            continue\n        stale",
    ),
    Mutant(
        "a worker that is being built is taken for an old one that is ready",
        "rollout",
        "        if worker.phase is Phase.STARTING:\n"
        "            board.terminate(worker, _reason(worker), now)  # costs no capacity\n"
        "        elif",
        "        if worker.phase is Phase.STARTING:\n            continue\n        elif",
    ),
    Mutant(
        "what a worker can do is not learned from it",
        "machine",
        "        worker.reloads = worker.slot.service.reloads = event.reloads\n",
        "",
    ),
    Mutant(
        "a reload is taken up before it is done",
        "rollout",
        "        worker.told = generation\n",
        "        worker.told = worker.generation = generation\n",
    ),
    Mutant(
        "AllReady is said at the first worker",
        "machine",
        "all(s.complete for s in self.services.values())",
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
        "board",
        "        self.enter(worker, Phase.KILLED, None, worker.since)\n        slot",
        "        slot",
    ),
    Mutant(
        "a worker that is told to stop goes on counting as ready",
        "board",
        "        self._count(worker, -1)\n        if phase >= Phase.STOPPING:\n",
        "        if phase >= Phase.STOPPING:\n",
    ),
    Mutant(
        "a late message revives a worker that is stopping",
        "machine",
        "        if worker.phase is not Phase.STARTING:\n            return\n",
        "",
    ),
    Mutant(
        "a doubled exit is counted twice",
        "board",
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
        "self.startable.popitem(last=False)",
        "self.startable.popitem(last=True)",
    ),
    Mutant(
        "a killed process that stays is given up though nothing is stopping",
        "machine",
        "        if self.stopping:\n            self.status = 1\n            self.leave",
        "        if True:\n            self.status = 1\n            self.leave",
    ),
    Mutant(
        "the manager waits for ever for a process that cannot be killed",
        "board",
        "        self.enter(worker, Phase.KILLED, now + UNKILLABLE, now)\n",
        "        self.enter(worker, Phase.KILLED, None, now)\n",
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
    Mutant(
        "a status that is hopeless is tried again",
        "deaths",
        "    hopeless = worker.cause is None and status in policy.no_retry\n",
        "    hopeless = False\n",
    ),
    Mutant(
        "a hopeless end is not told",
        "deaths",
        "        board.effects.append(GaveUp(service.key, slot.worker_id, status))\n",
        "",
    ),
    Mutant(
        "an end that was asked for is judged as the worker's own",
        "deaths",
        "    if failure and event is not None and not board.stopping:\n",
        "    if event is not None and not board.stopping:\n",
    ),
    Mutant(
        "on-failure restarts after a success",
        "deaths",
        'policy.restart == "never" or (policy.restart == "on-failure" and success)',
        'policy.restart == "never"',
    ),
    Mutant(
        "on-failure restarts after no end at all",
        "deaths",
        '(policy.restart == "on-failure" and success)',
        'policy.restart == "on-failure"',
    ),
    Mutant(
        "never restarts after a failure",
        "deaths",
        'policy.restart == "never" or (policy.restart == "on-failure" and success)',
        'policy.restart != "always" and success',
    ),
    Mutant(
        "a missed start timeout is no failure",
        "deaths",
        "FAULTS = (Reason.WATCHDOG, Reason.START_TIMEOUT)",
        "FAULTS = (Reason.WATCHDOG,)",
    ),
    Mutant(
        "a missed heartbeat is no failure",
        "deaths",
        "FAULTS = (Reason.WATCHDOG, Reason.START_TIMEOUT)",
        "FAULTS = (Reason.START_TIMEOUT,)",
    ),
    Mutant(
        "a reload starts again what was done",
        "deaths",
        "        if slot.ending is Ending.FAILED:\n            board.reopen(slot)\n",
        "        board.reopen(slot)\n",
    ),
    Mutant(
        "a reload does not start again what has failed",
        "deaths",
        "        if slot.ending is Ending.FAILED:\n            board.reopen(slot)\n",
        "",
    ),
    Mutant(
        "a restart of one worker starts again what was done in other slots",
        "machine",
        "        deaths.forgive(self, service, slots)\n",
        "        deaths.forgive(self, service, service.slots)\n",
    ),
    Mutant(
        "a restart does not start again what was done",
        "machine",
        "            deaths.forgive(self, service, service.slots)\n",
        "            deaths.forgive(self, service)\n",
    ),
    Mutant(
        "a slot that was scaled away remembers that it was done",
        "board",
        "        for slot in service.slots[wanted:]:\n            self.reopen(slot)\n",
        "",
    ),
    Mutant(
        "a slot that is not wanted ends for good",
        "deaths",
        "    elif not slot.wanted:\n"
        "        pass  # it has been scaled away; should it be wanted again, it starts afresh\n",
        "",
    ),
    Mutant(
        "a worker beside another one ends their slot",
        "deaths",
        "        alone = first and slot.worker is None\n",
        "        alone = True\n",
    ),
    Mutant(
        "one failure less is too many",
        "deaths",
        "    if len(recent) > intensity.failures:\n",
        "    if len(recent) >= intensity.failures:\n",
    ),
    Mutant(
        "failures are counted for ever",
        "deaths",
        "    while recent[0] <= now - round(intensity.within * SECOND):\n"
        "        recent.popleft()\n",
        "",
    ),
    Mutant(
        "a success is counted as a failure",
        "deaths",
        "    if not success:\n        _count_failure",
        "    if True:\n        _count_failure",
    ),
    Mutant(
        "a fork that fails is counted as a failure",
        "deaths",
        "    if failure and event is not None and not board.stopping:\n"
        "        alone = first and slot.worker is None\n"
        "        _judge(board, worker, event.status,",
        "    if failure and not board.stopping:\n"
        "        alone = first and slot.worker is None\n"
        "        _judge(board, worker, event and event.status,",
    ),
    Mutant(
        "a service that was given up is started",
        "state",
        "            and not service.gave_up\n",
        "",
    ),
    Mutant(
        "a reload does not try a given-up service again",
        "deaths",
        "    service.gave_up = False\n    service.failed_at",
        "    service.failed_at",
    ),
    Mutant(
        "a reload does not forget the failures",
        "deaths",
        "    service.failed_at.clear()\n",
        "",
    ),
    Mutant(
        "too many failures stop the manager with status 0",
        "deaths",
        "            board.escalate(service, 1, Escalation.INTENSITY)\n",
        "            board.escalate(service, 0, Escalation.INTENSITY)\n",
    ),
    Mutant(
        "too many failures stop nothing",
        "deaths",
        '        if intensity.then == "stop":\n'
        "            board.escalate(service, 1, Escalation.INTENSITY)\n",
        "",
    ),
    Mutant(
        "the manager is asked to stop again and again",
        "board",
        "        if self.stopping or self.escalated:\n            return\n",
        "        if self.stopping:\n            return\n",
    ),
    Mutant(
        "workers are started after a service has asked for a stop",
        "machine",
        "elif slot.worker is None and slot.startable and not self.escalated:",
        "elif slot.worker is None and slot.startable:",
    ),
    Mutant(
        "what waits for its start is started after a service has asked for a stop",
        "board",
        "        self.status = status\n        self.startable.clear()\n",
        "        self.status = status\n",
    ),
    Mutant(
        "a rollout of a service that is given up goes on",
        "deaths",
        "        board.effects.append(GaveUp(service.key, None, status))\n"
        "        rollout.fail(board, service, now, gave_up=True)\n",
        "        board.effects.append(GaveUp(service.key, None, status))\n",
    ),
    Mutant(
        "what runs is recycled though nothing is started any more",
        "rollout",
        "    if board.stopping or board.escalated or service.gave_up:\n",
        "    if board.stopping:\n",
    ),
    Mutant(
        "a significant service is done while it lives",
        "deaths",
        "    if service.alive or not service.wanted:\n",
        "    if not service.wanted:\n",
    ),
    Mutant(
        "a significant service is never done",
        "deaths",
        "    return service.gave_up or service.ended == service.wanted\n",
        "    return service.gave_up\n",
    ),
    Mutant(
        "a significant service that was given up is not done",
        "deaths",
        "    return service.gave_up or service.ended == service.wanted\n",
        "    return service.ended == service.wanted\n",
    ),
    Mutant(
        "a significant service that has failed is done in success",
        "machine",
        "slot.ending is Ending.FAILED for slot in service.slots",
        "False for slot in service.slots",
    ),
    Mutant(
        "a slot that ends again is counted twice",
        "board",
        "        if slot.ending is not None and slot.wanted:\n"
        "            slot.service.ended -= 1\n",
        "        if False:\n            slot.service.ended -= 1\n",
    ),
    Mutant(
        "a start timeout comes too early",
        "board",
        "now + round(timeout * SECOND))\n        self.effects",
        "now + round(timeout * SECOND / 2))\n        self.effects",
    ),
    Mutant(
        "a start timeout never comes",
        "board",
        "        if timeout is not None:\n",
        "        if False:\n",
    ),
    Mutant(
        "a slow starter is killed without time for its stacks",
        "health",
        "            board.set_deadline(worker, now + STACKS)\n",
        "            board.set_deadline(worker, now + 1)\n",
    ),
    Mutant(
        "an extension shortens the time",
        "health",
        "        deadline = max(deadline, worker.deadline)\n",
        "        pass\n",
    ),
    Mutant(
        "an extension is counted from the old deadline",
        "health",
        "    deadline = now + max(by, 1)\n",
        "    deadline = worker.deadline + max(by, 1)\n",
    ),
    Mutant(
        "a worker that asks for more time late is killed all the same",
        "health",
        "    _heard_after_all(board, worker)\n    board.set_deadline(worker, deadline)\n",
        "    if not worker.asked_at:\n        board.set_deadline(worker, deadline)\n",
    ),
    Mutant(
        "a worker that is ready late is not called recovered",
        "health",
        "    _heard_after_all(board, worker)\n    worker.ready_at",
        "    worker.asked_at = 0\n    worker.ready_at",
    ),
    Mutant(
        "a worker that is ready late is taken for a silent one",
        "health",
        "    _heard_after_all(board, worker)\n    worker.ready_at",
        "    worker.ready_at",
    ),
    Mutant(
        "the watchdog never looks",
        "health",
        "        worker.beat_due = now + round(policy.watchdog * SECOND)\n",
        "        pass\n",
    ),
    Mutant(
        "every look is followed by another one at once",
        "health",
        "        worker.beat_due = now + ANSWER\n",
        "        worker.beat_due = now + 1\n",
    ),
    Mutant(
        "a look that is not answered is the last one",
        "health",
        "        worker.beat_due = now + ANSWER\n",
        "        worker.beat_due = None\n",
    ),
    Mutant(
        "a beating worker is called silent",
        "health",
        "    elif worker.beat + timeout > now:\n",
        "    elif worker.beat > now:\n",
    ),
    Mutant(
        "a silent worker is killed without a word",
        "health",
        "    else:\n"
        "        _ask(board, worker, Reason.WATCHDOG, now - worker.beat, now)\n"
        "        worker.beat_due = now + STACKS\n",
        "    else:\n        board.kill(worker, Reason.WATCHDOG, now)\n        return\n",
    ),
    Mutant(
        "a silent worker has no time for its stacks",
        "health",
        "        elif now >= worker.asked_at + STACKS:\n",
        "        else:\n"
        "            board.kill(worker, Reason.WATCHDOG, now)\n"
        "            return\n"
        "        if now >= worker.asked_at + STACKS:\n",
    ),
    Mutant(
        "a worker that beats again is killed all the same",
        "health",
        "        if worker.beat > worker.asked_at:\n",
        "        if False:\n",
    ),
    Mutant(
        "a silent worker is never killed",
        "health",
        "            board.kill(worker, Reason.WATCHDOG, now)\n            return\n",
        "            worker.beat_due = now + ANSWER\n",
    ),
    Mutant(
        "a worker is looked at from its start, not from its last beat",
        "health",
        "        worker.beat_due = worker.beat + timeout\n    else:",
        "        worker.beat_due = now + timeout\n    else:",
    ),
    Mutant(
        "a worker that is told to stop is watched",
        "health",
        "    if worker.phase is not Phase.READY or watchdog is None:\n"
        "        return\n"
        "    worker.beat",
        "    if watchdog is None:\n        return\n    worker.beat",
    ),
    Mutant(
        "a worker that recovers is never asked again",
        "health",
        "            worker.beat_due = max(worker.beat + timeout, now + 1)\n",
        "            worker.beat_due = None\n",
    ),
    Mutant(
        "a successor takes its place before it has proved itself",
        "health",
        "    if not policy.rollout.min_ready:\n        rollout.available",
        "    if True:\n        rollout.available",
    ),
    Mutant(
        "a worker that was not ready for long counts",
        "health",
        "    if not worker.available and now >= _mature_at(worker):\n",
        "    if not worker.available:\n",
    ),
    Mutant(
        "the old worker is not told when its successor counts",
        "rollout",
        "        if old is not None and old.phase < Phase.STOPPING:\n",
        "        if False:\n",
    ),
    Mutant(
        "the successor does not take its place",
        "board",
        "        slot.worker, slot.second = new, old\n",
        "",
    ),
    Mutant(
        "more successors than allowed are started",
        "rollout",
        "    if surging:\n        surge -=",
        "    if False:\n        surge -=",
    ),
    Mutant(
        "successors that are on the way are not counted",
        "rollout",
        "            slot.surging = True\n"
        "            board.startable[slot] = None\n"
        "            surge -= 1\n",
        "            slot.surging = True\n            board.startable[slot] = None\n",
    ),
    Mutant(
        "a predecessor that has not left is not counted",
        "rollout",
        "sum(slot.surging or slot.second is not None for slot in service.slots)",
        "sum(slot.surging for slot in service.slots)",
    ),
    Mutant(
        "a slot whose successor fails gives up its old worker",
        "rollout",
        "        elif surging and slot.not_before > now:\n"
        "            board.hint(slot.not_before, slot)  # its last successor has just failed\n"
        "        elif surge > 0:\n",
        "        elif surge > 0 and slot.not_before <= now:\n",
    ),
    Mutant(
        "a successor whose slot was emptied is started without a wait",
        "board",
        "            # Whether and when it gets another one is decided anew.\n"
        "            self.unqueue(slot)\n",
        "",
    ),
    Mutant(
        "a successor is not counted when its predecessor has died",
        "board",
        "                slot.worker, slot.second = second, None\n"
        "                self._count(second, 1)\n",
        "                slot.worker, slot.second = second, None\n",
    ),
    Mutant(
        "a successor dies with its predecessor's slot",
        "board",
        "            if second is not None and second.phase < Phase.STOPPING:\n"
        "                slot.worker",
        "            if False:\n                slot.worker",
    ),
    Mutant(
        "an outdated successor stays",
        "rollout",
        "        else:\n            board.terminate(second, Reason.RELOAD, now)\n",
        "",
    ),
    Mutant(
        "a restart of a service reloads it",
        "rollout",
        "    if renew:\n        service.renew = service.generation\n",
        "",
    ),
    Mutant(
        "a rollout never fails",
        "rollout",
        "        board.hint(service.progress_by, service)\n",
        "        pass\n",
    ),
    Mutant(
        "progress does not help a rollout",
        "rollout",
        "    if worker.generation == service.generation:\n        progress(board, service, now)\n",
        "",
    ),
    Mutant(
        "a reload that is done is no progress",
        "machine",
        "                rollout.progress(self, worker.slot.service, now)\n",
        "                pass\n",
    ),
    Mutant(
        "a rollout that has failed goes on",
        "rollout",
        "    service.rolling = False\n    service.rollout_failed = True\n",
        "    service.rollout_failed = True\n",
    ),
    Mutant(
        "a rollout fails again and again",
        "machine",
        "owner.progress_by is not None and owner.progress_by <= now",
        "True and now",
    ),
    Mutant(
        "the successor of a failed rollout stays",
        "rollout",
        "            if second is not None and second.phase < Phase.STOPPING:\n"
        "                board.terminate(second, Reason.RELOAD, now)\n"
        "    board",
        "            pass\n    board",
    ),
    Mutant(
        "a failed rollout starts another successor",
        "rollout",
        "            slot.surging = False\n",
        "",
    ),
    Mutant(
        "a rollout fails by the death of an old worker",
        "deaths",
        "        if hopeless and worker.generation == service.generation:\n",
        "        if hopeless:\n",
    ),
    Mutant(
        "a successor's hopeless end is ignored",
        "deaths",
        "        if hopeless and worker.generation == service.generation:\n",
        "        if False:\n",
    ),
    Mutant(
        "a reload of one service reloads all",
        "machine",
        "self.services.values() if service is None else (self.services[service],)",
        "self.services.values()",
    ),
    Mutant(
        "a restart of one worker does nothing",
        "machine",
        "            self.empty(slot, Reason.RESTART, now)\n",
        "            pass\n",
    ),
    Mutant(
        "a young worker is recycled",
        "health",
        "round(max(first, recycle.min_life) * SECOND)",
        "round(first * SECOND)",
    ),
    Mutant(
        "jitter makes a life shorter than it may be",
        "health",
        "lifetime = recycle.lifetime * (1 - recycle.jitter * board.chance())",
        "lifetime = recycle.lifetime * (1 - board.chance())",
    ),
    Mutant(
        "a lifetime ends for nobody",
        "health",
        "        if worker.retire_at is not None and now >= worker.retire_at:\n",
        "        if False:\n",
    ),
    Mutant(
        "memory is looked at once",
        "health",
        "            worker.measure_at = now + round(recycle.every * SECOND)\n",
        "            worker.measure_at = None\n",
    ),
    Mutant(
        "memory is looked at too often",
        "health",
        "            worker.measure_at = now + round(recycle.every * SECOND)\n",
        "            worker.measure_at = now + round(recycle.every * SECOND / 2)\n",
    ),
    Mutant(
        "any memory is too much",
        "health",
        "limit is not None and private > limit:",
        "limit is not None:",
    ),
    Mutant(
        "no memory is too much",
        "health",
        "limit is not None and private > limit:",
        "limit is None:",
    ),
    Mutant(
        "recycled workers go without regard to the others",
        "board",
        "            worker.replace = reason\n"
        "            worker.slot.service.replacing += 1\n"
        "            self.touch(worker.slot)\n",
        "            worker.replace = reason\n"
        "            worker.slot.service.replacing += 1\n"
        "            self.touch(worker.slot)\n"
        "            self.terminate(worker, reason, worker.since + 10**12)\n",
    ),
    Mutant(
        "recycling stops after the first",
        "board",
        "                worker.slot.service.replacing -= 1\n",
        "                worker.slot.service.replacing = 0\n",
    ),
    Mutant(
        "a service is started before those that it comes after",
        "machine",
        "            service.open = False\n",
        "",
    ),
    Mutant(
        "a service is opened by the first that it comes after",
        "machine",
        "            if all(one.open and one.complete for one in service.after):\n",
        "            if any(one.open and one.complete for one in service.after):\n",
    ),
    Mutant(
        "a service that is opened is not started",
        "machine",
        "                rollout.progress(self, service, now)\n"
        "                self.touch_all(service)\n",
        "                rollout.progress(self, service, now)\n",
    ),
    Mutant(
        "what is done keeps the next service closed",
        "state",
        "        return self.ready + self.done >= self.wanted\n",
        "        return self.ready >= self.wanted\n",
    ),
    Mutant(
        "everybody stops at once",
        "machine",
        "any(one.alive for one in slot.service.below):",
        "False:",
    ),
    Mutant(
        "a stop in order looks at the next service only",
        "machine",
        "        for one in service.above:\n            one.below.append(service)\n",
        "        for one in service.after:\n            one.below.append(service)\n",
    ),
    Mutant(
        "the next service is not told when its turn comes",
        "board",
        "            for one in service.above:\n                self.touch_all(one)\n",
        "            pass\n",
    ),
    Mutant(
        "the order of a stop is kept until its deadline",
        "machine",
        "self._order_until = earlier(self._order_until, now +",
        "earlier(self._order_until, now +",
    ),
    Mutant(
        "the order of a stop is given up early",
        "machine",
        "now + within * share // whole + 1)",
        "now + within * share // whole // 2 + 1)",
    ),
    Mutant(
        "a second request to stop does not end the order",
        "machine",
        "        self._begin_stop()\n"
        "        self._end_order()\n"
        "        self._bound_stop(now + HURRY)\n",
        "        self._begin_stop()\n        self._bound_stop(now + HURRY)\n",
    ),
]
