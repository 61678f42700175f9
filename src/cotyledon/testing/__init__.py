"""Testing supervision in virtual time.

:class:`Simulation` runs the real core against a fake operating system; a :class:`Referee` checks
the promises of the core on every step, there or on a recording of a real run. :func:`play` runs
the random scenario of one seed.

Example:
    How long does a crash loop take with this policy? ::

        sim = Simulation(seed=1)
        web = sim.add(2, Behaviour(start_fails=1.0), Policy(backoff=Backoff(cap=5)))
        sim.run(60)
        deaths = sim.notices(WorkerDied)
"""

from cotyledon._core.effects import (
    AllReady,
    DumpStacks,
    Exit,
    GaveUp,
    Kill,
    MeasureMemory,
    ReadBeat,
    Reload,
    RolloutFailed,
    RolloutFinished,
    Spawn,
    StopManager,
    Terminate,
    Unkillable,
    WorkerDied,
    WorkerReady,
    WorkerRecovered,
    WorkerSilent,
)
from cotyledon.testing._books import Violation
from cotyledon.testing._processes import Behaviour
from cotyledon.testing._referee import Referee
from cotyledon.testing._scenarios import Result, play
from cotyledon.testing._simulation import Simulation

__all__ = [
    "AllReady",
    "Behaviour",
    "DumpStacks",
    "Exit",
    "GaveUp",
    "Kill",
    "MeasureMemory",
    "ReadBeat",
    "Referee",
    "Reload",
    "Result",
    "RolloutFailed",
    "RolloutFinished",
    "Simulation",
    "Spawn",
    "StopManager",
    "Terminate",
    "Unkillable",
    "Violation",
    "WorkerDied",
    "WorkerReady",
    "WorkerRecovered",
    "WorkerSilent",
    "play",
]
