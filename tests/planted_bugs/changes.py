"""Services that become others, and services that are removed."""

from tests.planted_bugs import Mutant

BUGS = [
    Mutant(
        "a removed service keeps its workers",
        "machine",
        "            self._removed[service] = None\n            self.want(service, 0)\n",
        "            self._removed[service] = None\n",
    ),
    Mutant(
        "a removed service is never forgotten",
        "machine",
        "        for service in [one for one in self._removed if not one.alive]:\n",
        "        for service in [one for one in self._removed if one.wanted]:\n",
    ),
    Mutant(
        "a removed service is forgotten while workers are left",
        "machine",
        "        for service in [one for one in self._removed if not one.alive]:\n",
        "        for service in list(self._removed):\n",
    ),
    Mutant(
        "a removed service can be asked for again",
        "machine",
        "        return () if one is None or one.removed else (one,)\n",
        "        return () if one is None else (one,)\n",
    ),
    Mutant(
        "a removed service is stopped before those that come after it",
        "machine",
        "            waits = self._ordered if self.stopping else slot.service.removed\n",
        "            waits = self._ordered and self.stopping\n",
    ),
    Mutant(
        "nobody tells a removed service that those after it are gone",
        "board",
        "        if not service.alive and (self.stopping or service.removed):\n",
        "        if not service.alive and self.stopping:\n",
    ),
    Mutant(
        "a changed policy is not taken up",
        "machine",
        "            service.policy = event.policy\n",
        "",
    ),
    Mutant(
        "a change does not forget past failures",
        "machine",
        "            deaths.forgive(self, service, anew)\n            self.recall(service)\n",
        "            self.recall(service)\n",
    ),
    Mutant(
        "successors that a new policy does not allow are started",
        "machine",
        "            self.recall(service)\n            rollout.progress",
        "            rollout.progress",
        seed=300,
    ),
    Mutant(
        "a worker is looked after by a policy that came after it",
        "health",
        "    watchdog = worker.policy.watchdog\n",
        "    watchdog = worker.slot.service.policy.watchdog\n",
    ),
]
