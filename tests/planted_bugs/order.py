"""Recycling, and the order of services."""

from tests.planted_bugs import Mutant

BUGS = [
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
        seed=506,
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
        seed=139,
    ),
]
