"""Successors, restarts and failed rollouts."""

from tests.planted_bugs import Mutant

BUGS = [
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
        seed=898,
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
        "        if service is None:\n            return [one for",
        "        if True:\n            return [one for",
    ),
    Mutant(
        "a restart of one worker does nothing",
        "machine",
        "            self.empty(slot, Reason.RESTART, now)\n",
        "            pass\n",
    ),
    Mutant(
        "a rollout takes slots that have failed for slots that are not wanted",
        "rollout",
        "    expected = service.wanted - service.done  #",
        "    expected = service.wanted - service.ended  #",
        seed=360,
    ),
    Mutant(
        "a rollout goes on when a slot has failed for good",
        "deaths",
        "    if slot.ending is Ending.FAILED:\n        rollout.fail(",
        "    if False:\n        rollout.fail(",
    ),
    Mutant(
        "a successor that has failed for good is followed by another one",
        "deaths",
        "                slot.barren = True  # its",
        "                pass  # its",
        seed=255,
    ),
]
