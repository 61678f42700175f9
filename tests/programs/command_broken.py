"""A target whose import fails deep inside."""

from typing import Any


def inner() -> Any:
    return dict[str, Any]()["missing"]


VALUE = inner()
