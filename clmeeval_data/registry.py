"""Name -> class, loaded when first asked for, with a suggestion for a name that is nearly right."""

import difflib
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any, Generic, TypeVar

from clmeeval_data.errors import UnknownNameError

T = TypeVar("T")


class Registry(Mapping[str, T], Generic[T]):
    """A read-only mapping from names to objects given as ``"package.module:attribute"``.

    Args:
        kind: What the names stand for, as error messages call it ("editor", "source", ...).
        entries: Name to target. A target's module is imported when its name is first looked up.
    """

    def __init__(self, kind: str, entries: Mapping[str, str]) -> None:
        self.kind = kind
        self._entries = dict(entries)

    def __getitem__(self, name: str) -> T:
        """The object registered under a name.

        Raises:
            UnknownNameError: If no entry carries that name; the message names the closest one and lists all.
        """
        if name not in self._entries:
            close = difflib.get_close_matches(name, self._entries, n=1, cutoff=0.5)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise UnknownNameError(f"unknown {self.kind} {name!r}.{hint} Known: {', '.join(sorted(self._entries))}.")
        module, _, attribute = self._entries[name].partition(":")
        found: Any = getattr(import_module(module), attribute)
        return found  # type: ignore[no-any-return]

    def __iter__(self) -> Iterator[str]:
        """The names, in the order of registration."""
        return iter(self._entries)

    def __len__(self) -> int:
        """How many names there are."""
        return len(self._entries)

    def __contains__(self, name: object) -> bool:
        """Whether an entry carries that name; nothing is imported."""
        return name in self._entries

    def get(self, name: str, default: Any = None) -> Any:
        """The object registered under a name, or the default where there is none."""
        return self[name] if name in self._entries else default
