"""What ``module:name`` stands for.

Responsible for importing it and for deciding whether it is a service, a factory of services or a
manager, with errors of one line. Never runs it, except for a function that makes a manager.

The rules, in this order:

1. a ``ServiceManager``: it is run as it is;
2. a class: a service, if it has ``run``, ``terminate`` and ``reload``;
3. a function that takes an argument: a factory, called in each worker with the worker's id;
4. a function that takes none: it is called once, in the master, and returns a ``ServiceManager``.
"""

import importlib
import inspect
import os
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

from cotyledon.cli.faults import Exit, Fault
from cotyledon.cli.words import close_to

METHODS = ("run", "terminate", "reload")


class Target(NamedTuple):
    """Something that can be run."""

    kind: str
    """``service``, ``factory``, ``manager`` or ``builder`` (of a manager)."""
    value: Any


def current_directory_first() -> None:
    """Have modules of the current directory found, as ``python -m`` does."""
    here = os.getcwd()
    if sys.path[:1] not in ([here], [""]):
        sys.path.insert(0, here)


def resolve(text: str) -> Target:
    """Import ``module:name`` and tell what it is.

    Raises:
        Fault: there is no such thing, or it cannot be run.
    """
    module, colon, path = text.partition(":")
    if not colon or not module or not path:
        hint = "'module:name', such as 'shop.web:Web', or a file that ends in .toml"
        raise Fault(Exit.USAGE, f"the target must be {hint}, not: {text!r}")
    value: Any = load_module(module)
    seen = module
    for name in path.split("."):
        try:
            value = getattr(value, name)
        except AttributeError:
            what = "module" if isinstance(value, ModuleType) else "object"
            hint = close_to(name, [one for one in dir(value) if one[0] != "_"])
            raise Fault(Exit.USAGE, f"{what} {seen!r} has no {name!r}{hint}") from None
        seen = f"{seen}.{name}"
    return classify(text, value)


def load_module(name: str) -> ModuleType:
    """Import a module.

    Raises:
        Fault: there is none, or importing it fails.
    """
    try:
        return importlib.import_module(name)
    except KeyboardInterrupt:
        raise
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(error.name + ".")):
            if error.name == name:
                text = f"there is no module {name!r}"
            else:
                text = f"there is no module {name!r}: {error.msg}"
            raise Fault(Exit.USAGE, f"{text} (looked in {os.getcwd()} and in sys.path)") from None
        raise Fault(Exit.USAGE, f"importing {name!r} fails: {innermost(error)}") from None
    except (TypeError, ValueError) as error:
        if name.startswith(".") or ".." in name:
            raise Fault(Exit.USAGE, f"{name!r} is no name of a module") from None
        raise Fault(Exit.USAGE, f"importing {name!r} fails: {innermost(error)}") from None
    except BaseException as error:  # also a module that ends the program when it is imported
        raise Fault(Exit.USAGE, f"importing {name!r} fails: {innermost(error)}") from None


def innermost(error: BaseException) -> str:
    """Return in one line what has gone wrong, and where."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    text = str(error).replace("\n", " ")
    if isinstance(error, SyntaxError) and error.filename:
        where = f"{_short(error.filename)}:{error.lineno}: "
        text = error.msg
    elif frame is not None and "importlib" not in frame.tb_frame.f_code.co_filename:
        where = f"{_short(frame.tb_frame.f_code.co_filename)}:{frame.tb_lineno}: "
    else:
        where = ""
    return f"{where}{type(error).__name__}{': ' if text else ''}{text}"


def _short(path: str) -> str:
    near = os.path.relpath(path)
    return path if near.startswith("..") else near


def classify(text: str, value: Any) -> Target:
    """Tell what something is by the rules above.

    Raises:
        Fault: nothing that can be run.
    """
    from cotyledon import ServiceManager

    if isinstance(value, ServiceManager):
        return Target("manager", value)
    if isinstance(value, type):
        if all(callable(getattr(value, name, None)) for name in METHODS):
            return Target("service", value)
        raise _neither(text, f"the class {value.__name__}")
    if not callable(value):
        raise _neither(text, f"of the type {type(value).__name__}")
    if _accepts(value, 1):
        return Target("factory", value)
    if _accepts(value, 0):
        return Target("builder", value)
    raise _neither(text, "a function that needs several arguments")


def build(text: str, function: Callable[[], Any]) -> Any:
    """Call a function that makes a manager.

    Raises:
        Fault: it fails, or returns something else.
    """
    from cotyledon import ServiceManager

    try:
        made = function()
    except Exception as error:
        raise Fault(Exit.USAGE, f"{text}() fails: {innermost(error)}") from None
    if not isinstance(made, ServiceManager):
        raise Fault(
            Exit.USAGE,
            f"{text} takes no argument, so it should return a ServiceManager, but it returned "
            f"{made!r}; a factory takes the worker's id",
        )
    return made


def _accepts(function: Callable[..., Any], count: int) -> bool:
    try:
        inspect.signature(function).bind(*range(count))
    except (TypeError, ValueError):
        return False
    return True


def _neither(text: str, what: str) -> Fault:
    return Fault(
        Exit.USAGE,
        f"{text} is {what}: neither a Service, an AsyncService or a factory of them, nor a "
        "ServiceManager or a function without arguments that returns one",
    )
