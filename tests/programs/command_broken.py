"""A target whose import fails deep inside."""

from typing import Any


def inner() -> Any:
    return {}["missing"]


VALUE = inner()
