"""Starts, deaths, back-off, deadlines and the stop: what holds whatever a policy says."""

from tests.planted_bugs import Mutant

BUGS = [
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
        "(len(service.slots), wanted))\n        self.touch_all(service)\n",
        "(len(service.slots), wanted))\n",
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
        "deadline = max(deadline, now + 1)",
        "pass",
        seed=253,
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
        seed=1111,
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
]
