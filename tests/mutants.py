"""The planted bugs, and how a core gets one of them.

Responsible for loading the modules of the core once more, one of them changed.
"""

import builtins
import types
from collections.abc import Callable
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import cotyledon._core
from cotyledon._core.machine import Core
from tests.planted_bugs import Mutant, changes, endings, health, lives, order, rollouts

PACKAGE = cotyledon._core.__name__
SHARED = {"effects", "events"}
"""The vocabulary, by which a core with a bug must still be understood."""


def make(mutant: Mutant) -> Callable[..., Core]:
    """Return the class of a core with the bug in it: all of its modules, loaded once more."""
    source = _source(mutant.module)
    assert source.count(mutant.text) == 1, f"{mutant.name}: the text must occur exactly once"
    broken = compile(source.replace(mutant.text, mutant.becomes), mutant.module, "exec")
    loaded: dict[str, types.ModuleType] = {}

    def load(name: str) -> types.ModuleType:
        if name in SHARED:
            return import_module(f"{PACKAGE}.{name}")
        if name not in loaded:
            module = loaded[name] = types.ModuleType(f"{PACKAGE}.{name}")
            vars(module)["__builtins__"] = {**vars(builtins), "__import__": imported}
            exec(broken if name == mutant.module else _code(name), vars(module))
        return loaded[name]

    def imported(name: str, *args: Any) -> Any:
        if name == PACKAGE:
            return types.SimpleNamespace(**{part: load(part) for part in args[2]})
        if name.startswith(f"{PACKAGE}."):
            return load(name.removeprefix(f"{PACKAGE}."))
        return builtins.__import__(name, *args)

    return load("machine").Core


def _source(module: str) -> str:
    assert cotyledon._core.__file__ is not None
    return Path(cotyledon._core.__file__).with_name(f"{module}.py").read_text()


@cache
def _code(module: str) -> types.CodeType:
    return compile(_source(module), module, "exec")


MUTANTS = [*lives.BUGS, *endings.BUGS, *health.BUGS, *rollouts.BUGS, *order.BUGS, *changes.BUGS]
