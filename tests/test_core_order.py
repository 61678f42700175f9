"""The order of services, told in virtual time."""

import pytest

from cotyledon._core import events as ev
from cotyledon.testing import (
    Behaviour,
    Simulation,
    Spawn,
    Terminate,
    WorkerDied,
)

SECOND = 1_000_000_000
pytestmark = pytest.mark.sim


def times(simulation: Simulation, *kinds: type) -> list[float]:
    """Return when the core has said something of these kinds."""
    return [when for when, _ in simulation.notices(*kinds)]


def test_services_start_after_those_that_they_come_after_and_stop_before_them() -> None:
    """A chain starts from its first service and stops from its last."""
    simulation = Simulation()
    first = simulation.add(2, Behaviour(start=(1.0, 1.0)))
    second = simulation.add(2, Behaviour(start=(1.0, 1.0)), after=(first,))
    third = simulation.add(2, after=(second,))
    simulation.run(10)
    starts = [effect.service for _, effect in simulation.notices(Spawn)]  # type: ignore[union-attr]
    assert starts == [first] * 2 + [second] * 2 + [third] * 2
    simulation.stop()
    simulation.run(10)
    ends = [effect.service for _, effect in simulation.notices(WorkerDied)]  # type: ignore[union-attr]
    assert ends == [third] * 2 + [second] * 2 + [first] * 2


def test_a_service_that_is_empty_does_not_break_the_order() -> None:
    """What comes after a paused service still stops before what that comes after."""
    simulation = Simulation()
    first = simulation.add(1)
    second = simulation.add(1, after=(first,))
    simulation.add(1, Behaviour(stop=(5.0, 5.0)), after=(second,))
    simulation.run(10)
    simulation.scale(second, 0)
    simulation.run(1)
    before = len(times(simulation, Terminate))
    simulation.stop()
    simulation.run(20)
    told = times(simulation, Terminate)[before:]
    assert told[1] - told[0] >= 5


def test_a_service_that_does_not_stop_holds_the_others_up_for_a_part_of_the_time() -> None:
    """After three quarters of a bounded stop everybody is told, so nobody is killed unasked."""
    simulation = Simulation(grace=40)
    first = simulation.add(1)
    simulation.add(1, Behaviour(deaf=1.0), after=(first,))
    simulation.run(10)
    simulation.stop()
    simulation.run(60)
    told = times(simulation, Terminate)
    assert told[1] - told[0] == pytest.approx(30)


def test_a_loop_that_is_late_tells_before_it_kills() -> None:
    """Whoever is told when the stop is over already is killed later than it is told."""
    simulation = Simulation()
    first = simulation.add(1)
    simulation.add(1, Behaviour(deaf=1.0), after=(first,))
    simulation.run(10)
    simulation.lateness = 0.4
    simulation.send(ev.StopRequested(SECOND // 100))
    simulation.run(60)
    assert simulation.exit_status == 1
