"""``python -m cotyledon.testing``: play seeds.

Responsible for running many scenarios, or one again, and for printing what a person needs to
replay a failure. Never decides what a failure is.
"""

import argparse
import sys
import time
import traceback

from cotyledon.testing import Violation, play


def main() -> int:
    """Play the seeds that the command line asks for; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m cotyledon.testing", description=__doc__)
    parser.add_argument("--seed", type=int, help="play this one seed")
    parser.add_argument("--seeds", type=int, default=1000, help="play so many (default 1000)")
    parser.add_argument("--first", type=int, default=0, help="the first of them (default 0)")
    options = parser.parse_args()
    if options.seed is not None:
        seeds = range(options.seed, options.seed + 1)
    else:
        seeds = range(options.first, options.first + options.seeds)
    events = failures = 0
    began = time.perf_counter()
    for seed in seeds:
        try:
            events += play(seed).events
        except Violation as violation:
            failures += 1
            print(f"seed {seed}: {violation} (replay it: make sim SEED={seed})", file=sys.stderr)
            if len(seeds) == 1:
                traceback.print_exc()
    took = time.perf_counter() - began
    print(
        f"{len(seeds)} seeds, {events} events, {failures} violations, "
        f"{events / took:,.0f} events per second"
    )
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
