"""What every editing method is: a configuration, and the functions that turn requests into edits."""

import dataclasses
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, TypeVar

from clmeeval_data.errors import ConfigError

if TYPE_CHECKING:  # so that a case can be had without torch
    from clmeeval_data.evaluation.model.edits import Edit
    from clmeeval_data.evaluation.model.lm import LanguageModel

Family = Literal["floor", "memory", "global optimisation", "locate-then-edit"]
C = TypeVar("C", bound="EditorConfig")
T = TypeVar("T")


@dataclass(frozen=True)
class EditRequest:
    """All that an editor sees of a case: make the model answer ``target`` to ``prompt``."""

    case_id: str
    prompt: str
    target: str


@dataclass(frozen=True)
class Case:
    """One case as the model reads it: full prompts in the benchmark's template.

    An editor sees the request alone. Only training, which runs on the train and validation splits, sees whole cases.
    """

    case_id: str
    prompt: str
    rephrased_prompt: str
    target: str
    neighbour_prompts: tuple[str, ...]

    @property
    def prompts(self) -> tuple[str, ...]:
        """All prompts that are asked: the prompt, the rephrased one, the neighbours."""
        return (self.prompt, self.rephrased_prompt, *self.neighbour_prompts)

    @property
    def request(self) -> EditRequest:
        """What an editor may see of the case."""
        return EditRequest(self.case_id, self.prompt, self.target)

    def as_dict(self) -> dict[str, Any]:
        """The texts as JSON values, without the id."""
        values = asdict(self)
        del values["case_id"]
        values["neighbour_prompts"] = list(self.neighbour_prompts)
        return values


class Track(Protocol):
    """Shows the advance of a long loop: yields the items of ``steps`` one by one."""

    def __call__(self, steps: Iterable[T], description: str, total: int) -> Iterable[T]:
        """The same items."""


def untracked(steps: Iterable[T], description: str, total: int) -> Iterable[T]:
    """The items, with nothing shown."""
    return steps


@dataclass(frozen=True)
class EditorConfig:
    """Configuration of a method: plain numbers and strings, all of which can change its results.

    ``reference``: the values with which the method repeats the benchmark's released code where that is known to be
    defective (docs/reference-defects.md); empty for methods whose settings have no such switch.
    """

    reference: ClassVar[Mapping[str, Any]] = {}

    @property
    def edited_layers(self) -> tuple[int, ...]:
        """The decoder layers the method changes, lowest first."""
        return ()

    def as_dict(self) -> dict[str, Any]:
        """The configuration as JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls: type[C], values: Mapping[str, Any]) -> C:
        """A configuration from JSON or TOML values.

        Raises:
            ConfigError: If a name is unknown, one without default is missing, or a value has the wrong type.
        """
        kinds = typing.get_type_hints(cls)
        fields = {field.name: field for field in dataclasses.fields(cls)}
        for name, value in values.items():
            if name not in fields:
                raise ConfigError(f"{cls.__name__} has no setting {name!r}. Known: {', '.join(fields) or 'none'}.")
            if not _fits(value, kinds[name]):
                raise ConfigError(f"{cls.__name__}.{name} is {value!r}; expected {_type_name(kinds[name])}.")
        missing = [n for n, f in fields.items() if f.default is dataclasses.MISSING and n not in values]
        if missing:
            raise ConfigError(f"{cls.__name__} needs a value for {', '.join(missing)}.")
        return cls(**{name: _converted(value, kinds[name]) for name, value in values.items()})

    def _require(self, holds: bool, name: str, expected: str) -> None:
        if not holds:
            raise ConfigError(f"{type(self).__name__}.{name} is {getattr(self, name)!r}; expected {expected}.")


class Editor(Protocol):
    """A model-editing method.

    Invariant: an editor never leaves the model changed. ``name`` is its name in the registry, ``summary`` one line on
    what it does, ``config_class`` its configuration's type. ``family``: of the paper's taxonomy. ``changes``: what an
    edit changes; ``needs``: what it needs first, besides the model. A class may have a further one, ``cannot``: the
    protocols under which it cannot be evaluated ("batch", "sequential"), with the reason (see ``cannot_do``).
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    family: ClassVar[Family]
    changes: ClassVar[str]
    needs: ClassVar[str]
    config_class: ClassVar[type[EditorConfig]]

    @property
    def config(self) -> EditorConfig:
        """The configuration in use."""

    def inputs(self, train: Sequence[EditRequest]) -> Mapping[str, Any]:
        """What besides the configuration determines the edits, as JSON values: a corpus, a trained file; often {}."""

    def prepare(self, lm: "LanguageModel", train: Sequence[EditRequest], track: Track = untracked) -> None:
        """Do, once for a model, what does not depend on the requests: nothing, statistics, or reading a trained file.

        Args:
            lm: The model.
            train: The requests of the training split.
            track: Shows the advance of what takes long.
        """

    def edit(self, lm: "LanguageModel", requests: Sequence[EditRequest]) -> "Edit":
        """One edit that holds all the requests."""

    def edit_each(self, lm: "LanguageModel", requests: Sequence[EditRequest]) -> "list[Edit]":
        """Independent edits, one per request, computed together; equal to one at a time."""


def cannot_do(editor: object, protocol: str) -> str | None:
    """Why a method, or its class, cannot be evaluated under a protocol; None where it can, as most do."""
    refused: Mapping[str, str] = getattr(editor, "cannot", {})
    return refused.get(protocol)


def _fits(value: object, kind: object) -> bool:
    if isinstance(kind, types.UnionType):
        return any(_fits(value, option) for option in typing.get_args(kind))
    if typing.get_origin(kind) is typing.Literal:
        return value in typing.get_args(kind)
    if typing.get_origin(kind) is tuple:
        return isinstance(value, list | tuple) and all(_fits(item, typing.get_args(kind)[0]) for item in value)
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, kind) if isinstance(kind, type) else True


def _converted(value: Any, kind: object) -> Any:
    """JSON and TOML know neither tuples nor the difference between 1 and 1.0."""
    if typing.get_origin(kind) is tuple:
        return tuple(_converted(item, typing.get_args(kind)[0]) for item in value)
    return float(value) if kind is float else value


def _type_name(kind: object) -> str:
    if typing.get_origin(kind) is typing.Literal:
        return "one of " + ", ".join(repr(option) for option in typing.get_args(kind))
    if typing.get_origin(kind) is tuple:
        return f"a list of {_type_name(typing.get_args(kind)[0])}"
    return getattr(kind, "__name__", str(kind))
