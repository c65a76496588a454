"""Whatever a function returns, raises or leaves behind, as a text that is equal for equal things."""

import types
from collections.abc import Callable, Coroutine, Iterable, Iterator
from itertools import islice

from clmeeval_data.paraphrase.sandbox.probes import Probe

_DEPTH = 6
_ITEMS = 40
_PLAIN = (int, float, complex, str, bytes, bytearray, range)
_NAMED = (types.FunctionType, types.BuiltinFunctionType, types.MethodType, types.ModuleType, type)
_ITERATORS = (types.GeneratorType, map, filter, zip, enumerate, reversed)


def shown(value: object, depth: int = _DEPTH) -> str:
    """The type and content of a value, as far as the limits go; without addresses."""
    kind = type(value).__qualname__
    if isinstance(value, Probe):
        return f"probe {Probe.number_of(value)}"
    if value is None or isinstance(value, _PLAIN):
        return f"{kind} {value!r}"[:2000] if type(value).__module__ == "builtins" else f"{kind} value"
    if isinstance(value, _NAMED):
        return f"{kind} {value.__name__}"
    return f"{kind}({', '.join(_inside(value, depth - 1))})" if depth else kind


def _inside(value: object, depth: int) -> Iterable[str]:
    """What a value holds, each part as a text."""
    match value:
        case list() | tuple():
            return [str(len(value)), *(shown(item, depth) for item in value[:_ITEMS])]
        case dict():
            pairs = islice(value.items(), _ITEMS)
            return [str(len(value)), *(f"{shown(key, depth)}: {shown(item, depth)}" for key, item in pairs)]
        case set() | frozenset():
            return [str(len(value)), *sorted(shown(item, depth) for item in value)]
        case types.CoroutineType():
            return [shown(driven(value), depth)]
    if isinstance(value, (BaseException, *_ITERATORS)):
        items = value.args if isinstance(value, BaseException) else islice(value, _ITEMS)
        return [shown(item, depth) for item in items]
    attributes = getattr(value, "__dict__", {})
    return [f"{name}={shown(item, depth)}" for name, item in islice(attributes.items(), _ITEMS)]


def driven(coroutine: Coroutine[object, None, object]) -> object:
    """What a coroutine returns that never has to wait."""
    for _ in range(_ITEMS):
        try:
            coroutine.send(None)
        except StopIteration as end:
            return end.value
    coroutine.close()
    return "never ends"


def outcome(call: Callable[[], object], left: Callable[[], Iterator[str]]) -> tuple[str, list[str]]:
    """How a call ends, and what ``left`` says after it: "returned ...", or "raised ..." with the type alone."""
    try:
        ended = f"returned {shown(call())}"
    except Exception as error:
        ended = f"raised {type(error).__qualname__}"
    except (SystemExit, KeyboardInterrupt, GeneratorExit) as error:
        ended = f"raised {type(error).__qualname__}"
    return ended, list(left())
