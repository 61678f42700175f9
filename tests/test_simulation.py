"""The core in virtual time: random scenarios, and planted bugs that they must notice."""

import time

import pytest

from cotyledon.testing import Violation, play
from tests.mutants import MUTANTS, make
from tests.planted_bugs import Mutant

SEEDS = 400
ENOUGH_FOR_A_BUG = 1500

pytestmark = pytest.mark.sim


@pytest.mark.parametrize("first", range(0, SEEDS, 50))
def test_scenarios_break_no_promise(first: int) -> None:
    """Whatever happens to the workers, every promise of the core holds on every step."""
    for seed in range(first, first + 50):
        try:
            play(seed)
        except Violation as violation:
            pytest.fail(f"seed {seed}: {violation} (replay it: make sim SEED={seed})")


@pytest.mark.mutants
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_planted_bug_is_noticed(mutant: Mutant) -> None:
    """A core with this bug breaks a promise, or itself, within a number of scenarios."""
    core = make(mutant)
    for seed in (mutant.seed, *range(ENOUGH_FOR_A_BUG)):
        try:
            play(seed, core)
        except Exception:
            return
    pytest.fail("nothing was noticed")


def test_the_same_seed_gives_the_same_run() -> None:
    """A seed that has failed can be replayed: nothing in a run depends on anything else."""
    assert [play(seed) for seed in range(20)] == [play(seed) for seed in range(20)]


def test_it_is_fast_enough_to_be_used() -> None:
    """A few hundred scenarios take seconds: far more than the promised events per second."""
    began = time.process_time()
    events = sum(play(seed).events for seed in range(60))
    # 20,000 per second are promised; a quarter of it is asserted, for a machine that is busy.
    assert events / (time.process_time() - began) > 5_000
