"""Objects that take part in everything and write down what is done to them, in which order.

A probe can be called, compared, added, iterated, formatted, entered, awaited, asked for any attribute or item. It
answers with another probe or a plain value, and sometimes raises an exception or refuses; what it does is decided by
the seed and by how much has happened before. So two functions that do the same things in the same order get the same
answers, and a function that differs in an evaluation, a truth test or a call leaves another record.
"""

import random
from collections.abc import Callable, Generator, Iterator

# All probes take part in these: names of special methods without their underscores.
_BINARY = (
    *("add", "sub", "mul", "matmul", "truediv", "floordiv", "mod", "divmod", "pow"),
    *("lshift", "rshift", "and", "xor", "or"),
)
_COMPARISONS = ["eq", "ne", "lt", "le", "gt", "ge"]
_UNARY = ["neg", "pos", "abs", "invert", "round"]
_WORDS = ("", "a", "b c", "x=1", "3", "Key", "é")


class Exhausted(BaseException):
    """More has happened than a record holds."""


class Record:
    """What has been done to the probes of one call, and what they answer next."""

    def __init__(self, seed: int, errors: tuple[type[Exception], ...], most: int = 600) -> None:
        self.events: list[str] = []
        self._random = random.Random(seed)
        self._errors = errors
        self._most = most
        self._made = 0
        self._risk = self._random.choice((0.0, 0.0, 0.02, 0.08))

    def number(self) -> int:
        """The number of the next probe."""
        self._made += 1
        return self._made

    def note(self, event: str, is_risky: bool = True) -> None:
        """Write an event down; it may raise any of the errors."""
        if len(self.events) >= self._most:
            raise Exhausted
        self.events.append(event)
        if is_risky and self._random.random() < self._risk:
            error = self._random.choice(self._errors)
            self.events.append(f"raises {error.__name__}")
            raise error(f"event {len(self.events)}")

    def truth(self) -> bool:
        """True or False."""
        return self._random.random() < 0.5

    def count(self) -> int:
        """A small number, 0 included."""
        return self._random.choice((0, 1, 1, 2, 3))

    def value(self, depth: int = 2) -> object:
        """A probe more often than not, or a plain value."""
        kind = self._random.random()
        if kind < 0.6 or depth == 0:
            return Probe(self)
        if kind < 0.9:
            return self.plain()
        if kind < 0.95:
            return [self.value(depth - 1) for _ in range(self.count())]
        return {self._random.choice(_WORDS): self.value(depth - 1) for _ in range(self.count())}

    def plain(self) -> object:
        """A number, a word, None, True or False."""
        return self._random.choice((None, True, False, 0, 1, 2, -1, 7, 1.5, *_WORDS))

    def compared(self) -> object:
        """The answer to a comparison."""
        kind = self._random.random()
        return NotImplemented if kind < 0.15 else Probe(self) if kind < 0.3 else self.truth()


class Probe:
    """An object that takes part in everything and writes it down."""

    __slots__ = ("_attributes", "_number", "_record")

    def __init__(self, record: Record) -> None:
        object.__setattr__(self, "_record", record)
        object.__setattr__(self, "_number", record.number())
        object.__setattr__(self, "_attributes", {})

    @staticmethod
    def number_of(probe: "Probe") -> int:
        """The number under which a probe appears in the record."""
        number: int = object.__getattribute__(probe, "_number")
        return number

    def __getattribute__(self, name: str) -> object:
        if name.startswith("__") and name.endswith("__"):
            return object.__getattribute__(self, name)
        attributes: dict[str, object] = object.__getattribute__(self, "_attributes")
        record = _note(self, f"get {name}")
        if name not in attributes:
            attributes[name] = record.value()
        return attributes[name]

    def __setattr__(self, name: str, value: object) -> None:
        _note(self, f"set {name}", value)
        object.__getattribute__(self, "_attributes")[name] = value

    def __delattr__(self, name: str) -> None:
        _note(self, f"del {name}")
        object.__getattribute__(self, "_attributes").pop(name, None)

    def __call__(self, *arguments: object, **named: object) -> object:
        """Another probe, or a plain value."""
        return _note(self, "call", *arguments, *(f"{name}={describe(value)}" for name, value in named.items())).value()

    def __getitem__(self, key: object) -> object:
        return _note(self, "item", key).value()

    def __setitem__(self, key: object, value: object) -> None:
        _note(self, "set item", key, value)

    def __delitem__(self, key: object) -> None:
        _note(self, "del item", key)

    def __contains__(self, item: object) -> bool:
        return _note(self, "contains", item).truth()

    def __iter__(self) -> Iterator[object]:
        record = _note(self, "iter")
        for _ in range(record.count()):
            _note(self, "iter next")
            yield record.value()
        _note(self, "iter end", is_risky=False)

    def __next__(self) -> object:
        record = _note(self, "next")
        if record.truth():
            return record.value()
        raise StopIteration

    def __reversed__(self) -> Iterator[object]:
        _note(self, "reversed")
        return iter(self)

    def __len__(self) -> int:
        return _note(self, "len").count()

    def __bool__(self) -> bool:
        return _note(self, "bool").truth()

    def __index__(self) -> int:
        return _note(self, "index").count()

    def __int__(self) -> int:
        return _note(self, "int").count()

    def __float__(self) -> float:
        return _note(self, "float").count() / 2

    def __str__(self) -> str:
        return f"{_note(self, 'str').plain()}"

    def __repr__(self) -> str:
        _note(self, "repr")
        return f"<{Probe.number_of(self)}>"

    def __format__(self, spec: str) -> str:
        _note(self, "format", spec)
        return f"[{Probe.number_of(self)}]"

    def __hash__(self) -> int:
        return Probe.number_of(self)

    def __instancecheck__(self, instance: object) -> bool:
        return _note(self, "instance check", instance).truth()

    def __subclasscheck__(self, subclass: object) -> bool:
        return _note(self, "subclass check", subclass).truth()

    def __enter__(self) -> object:
        return _note(self, "enter").value()

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> bool:
        return _note(self, "exit", "" if kind is None else kind.__name__).truth()

    async def __aenter__(self) -> object:
        return _note(self, "enter").value()

    async def __aexit__(self, kind: type[BaseException] | None, error: object, trace: object) -> bool:
        return _note(self, "exit", "" if kind is None else kind.__name__).truth()

    def __await__(self) -> Generator[None, None, object]:
        yield
        return _note(self, "await").value()

    async def __aiter__(self) -> object:
        record = _note(self, "iter")
        for _ in range(record.count()):
            _note(self, "iter next")
            yield record.value()


def describe(value: object, depth: int = 3) -> str:
    """A value in the record: without asking it anything."""
    match value:
        case Probe():
            return f"p{Probe.number_of(value)}"
        case None | bool() | int() | float() | str() | bytes():
            return repr(value)[:200] if type(value).__module__ == "builtins" else type(value).__name__
        case list() | tuple() | set() | frozenset() if depth:
            return f"{type(value).__name__}({', '.join(describe(item, depth - 1) for item in value)})"
        case dict() if depth:
            pairs = ", ".join(f"{describe(k, depth - 1)}: {describe(v, depth - 1)}" for k, v in value.items())
            return f"{type(value).__name__}({pairs})"
        case _:
            return type(value).__name__


def _note(probe: Probe, event: str, *arguments: object, is_risky: bool = True) -> Record:
    record: Record = object.__getattribute__(probe, "_record")
    described = "".join(f" {describe(argument)}" for argument in arguments)
    record.note(f"{Probe.number_of(probe)} {event}{described}", is_risky)
    return record


def _operator(name: str, answer: Callable[[Record], object]) -> Callable[..., object]:
    def operate(self: Probe, *others: object) -> object:
        return answer(_note(self, name, *others))

    return operate


for _name in _BINARY:
    for _prefix in ("", "r", "i"):
        setattr(Probe, f"__{_prefix}{_name}__", _operator(_prefix + _name, Record.value))
for _name in _UNARY:
    setattr(Probe, f"__{_name}__", _operator(_name, Record.value))
for _name in _COMPARISONS:
    setattr(Probe, f"__{_name}__", _operator(_name, Record.compared))
