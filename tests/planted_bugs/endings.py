"""Which ends are followed by another worker, and when a service is given up or done."""

from tests.planted_bugs import Mutant

BUGS = [
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
        seed=269,
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
        seed=511,
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
        seed=229,
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
        "    if board.stopping or board.escalated or service.gave_up or service.removed:\n",
        "    if board.stopping or service.removed:\n",
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
]
