"""Planted bugs: changes of the core's source that the simulation must notice.

Each is something that somebody could write by mistake: a forgotten condition, a wrong comparison,
a missing reset. ``tests/mutants.py`` makes a core with one of them.
"""

from typing import NamedTuple


class Mutant(NamedTuple):
    """One planted bug: the module of the core, the text, and what it becomes.

    Where it takes many scenarios to notice it, ``seed`` is one that does, and is tried first.
    """

    name: str
    module: str
    text: str
    becomes: str
    seed: int = 0
