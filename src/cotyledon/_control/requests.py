"""From a line to a request: what clients may ask, and what is wrong with what they ask.

Responsible for reading JSON that anybody may have written, and for the texts of errors about it.
Never knows what there is to be asked about.
"""

import json
import signal
from typing import Any, NamedTuple

MOST_BRACKETS = 64
"""In a line: a request needs one pair. The parser of JSON needs C stack for each level."""
COMMANDS = frozenset({"scale", "reload", "restart", "signal", "stop"})
"""What changes something."""
LONGEST_ID = 200
LARGEST = 1 << 63


class Refused(Exception):
    """A request that cannot be done.

    Args:
        kind: one of the protocol's kinds of errors.
        text: a line for people.
    """

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind
        self.text = text


class Request(NamedTuple):
    """One request, with all of its fields."""

    do: str
    fields: dict[str, Any]


_NEEDED = object()
_NULL = type(None)
_TEXTS = {
    str: "a string",
    int: "an integer >= 0",
    _NULL: "null",
}
_FIELDS: dict[str, dict[str, tuple[tuple[type, ...], Any]]] = {
    "status": {},
    "events": {"last": ((int,), 0)},
    "scale": {"service": ((str,), _NEEDED), "workers": ((int,), _NEEDED)},
    "reload": {"service": ((str, _NULL), None)},
    "restart": {"service": ((str,), _NEEDED), "worker": ((int, _NULL), None)},
    "signal": {
        "service": ((str,), _NEEDED),
        "worker": ((int, _NULL), None),
        "signal": ((str, int), _NEEDED),
    },
    "stop": {},
    "trace": {},
    "stacks": {"service": ((str,), _NEEDED), "worker": ((int,), _NEEDED)},
}


def shown(value: Any) -> str:
    """Return a short form of something that a client has sent."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."


def _bad(text: str) -> Refused:
    return Refused("bad-request", text)


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a field is given twice")
    return found


def _integer(text: str) -> int:
    if len(text) > 20:
        raise ValueError("a number is too large")
    return int(text)


def _constant(text: str) -> Any:
    raise ValueError(f"{text} is no JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_pairs, parse_int=_integer, parse_constant=_constant)


def read(line: bytes) -> tuple[int | str | None, dict[str, Any]]:
    """Return the id and the fields of a request.

    Raises:
        Refused: the line is no JSON object, or its id is none.
    """
    if line.count(b"{") + line.count(b"[") > MOST_BRACKETS:
        raise _bad("a request is one object: this has too many brackets")
    try:
        found = _DECODER.decode(line.decode())
    except UnicodeDecodeError:
        raise _bad("a request must be JSON in UTF-8") from None
    except (ValueError, RecursionError) as error:
        raise _bad(f"a request must be a line of JSON: {str(error)[:100]}") from None
    if not isinstance(found, dict):
        raise _bad(f"a request must be a JSON object, not: {shown(found)}")
    given = found.pop("id", None)
    text = isinstance(given, str) and len(given) <= LONGEST_ID
    number = type(given) is int and abs(given) <= LARGEST
    if not (text or number or given is None):
        raise _bad(f"'id' must be a short string, an integer or null, not: {shown(given)}")
    return given, found


def check(found: dict[str, Any]) -> Request:
    """Return a request, all of whose fields are there and have the right types.

    Raises:
        Refused: it is none.
    """
    do = found.pop("do", None)
    known = _FIELDS.get(do) if isinstance(do, str) else None
    if known is None:
        raise _bad(f"'do' must be one of {', '.join(_FIELDS)}, not: {shown(do)}")
    fields = {name: default for name, (_, default) in known.items()}
    for name, value in found.items():
        if name not in known:
            raise _bad(f"{do}: there is no field {shown(name)}{_those(known)}")
        kinds = known[name][0]
        if type(value) not in kinds or (type(value) is int and not 0 <= value < LARGEST):
            wanted = " or ".join(_TEXTS[kind] for kind in kinds)
            raise _bad(f"{do}: {name!r} must be {wanted}, not: {shown(value)}")
        fields[name] = value
    for name, value in fields.items():
        if value is _NEEDED:
            raise _bad(f"{do}: the field {name!r} is missing")
    if do == "signal":
        fields["signal"] = _signal(fields["signal"])
    return Request(do, fields)


def _those(known: dict[str, Any]) -> str:
    return f": there are {', '.join(known)}" if known else ": it has none"


def _signal(given: str | int) -> int:
    if isinstance(given, int):
        if given in signal.valid_signals():
            return given
    else:
        name = given.upper() if given.upper().startswith("SIG") else f"SIG{given.upper()}"
        if name in signal.Signals.__members__:
            return int(signal.Signals[name])
    raise _bad(f"signal: there is no signal {shown(given)}")
