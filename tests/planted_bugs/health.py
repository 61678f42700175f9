"""Start timeouts, the watchdog, and looks at memory and age."""

from tests.planted_bugs import Mutant

BUGS = [
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
        "        if worker.beat > worker.asked_at or worker.beat + timeout > now:\n",
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
        seed=216,
    ),
    Mutant(
        "a worker that recovers is never asked again",
        "health",
        "            worker.beat_due = max(worker.beat + timeout, now + 1)\n",
        "            worker.beat_due = None\n",
    ),
]
