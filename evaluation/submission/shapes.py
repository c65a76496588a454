"""The forms of JSON values: what a file of a run must hold, before anybody looks at its numbers."""

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from clmeeval_data.evaluation.submission.findings import Fault, shown

NAMES = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    dict: "an object",
    list: "a list",
    bool: "true or false",
}
Shape = Any  # a type, None, a tuple of alternatives, [shape of each item], or {key: shape}; other keys are free


def misfits(value: Any, shape: Shape, path: str) -> Iterator[Fault]:
    """Where a JSON value departs from a shape; ``path`` names the value."""
    if isinstance(shape, Mapping):
        if not isinstance(value, Mapping):
            yield Fault(f"{path} has another form", "an object", shown(value))
            return
        for key, below in shape.items():
            if key in value:
                yield from misfits(value[key], below, f"{path}.{key}")
            else:
                yield Fault(f"{path}.{key} is missing", _name(below), "nothing")
    elif isinstance(shape, list):
        if not isinstance(value, list):
            yield Fault(f"{path} has another form", "a list", shown(value))
            return
        for item in value:
            yield from misfits(item, shape[0], f"{path}[]")
    elif not _fits(value, shape):
        yield Fault(f"{path} has another form", _name(shape), shown(value))


def is_number(value: Any) -> bool:
    """Whether a JSON value is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def parsed(content: bytes) -> dict[str, Any] | Fault:
    """One JSON object, or what keeps it from being one."""
    try:
        found = json.loads(content, parse_constant=_infinite, parse_float=_finite)
    except _NotFinite as error:
        return Fault("a number is not finite", "finite numbers", shown(error.token))
    except (ValueError, RecursionError) as error:
        return Fault("not JSON", "a JSON object", shown(str(error)))
    return found if isinstance(found, dict) else Fault("not a JSON object", "a JSON object", shown(found))


class _NotFinite(Exception):  # noqa: N818 - it never leaves this module
    def __init__(self, token: str) -> None:
        super().__init__(token)
        self.token = token


def _infinite(token: str) -> float:
    raise _NotFinite(token)


def _finite(token: str) -> float:
    value = float(token)
    return value if math.isfinite(value) else _infinite(token)


def _fits(value: Any, shape: Shape) -> bool:
    if isinstance(shape, tuple):
        return any(not list(misfits(value, option, "")) for option in shape)
    if shape is None:
        return value is None
    if shape is float:
        return is_number(value)
    return isinstance(value, shape) and not isinstance(value, bool)


def _name(shape: Shape) -> str:
    if isinstance(shape, tuple):
        return " or ".join(map(_name, shape))
    if isinstance(shape, Mapping):
        return "an object"
    if isinstance(shape, list):
        return "a list"
    return "nothing" if shape is None else NAMES[shape]
