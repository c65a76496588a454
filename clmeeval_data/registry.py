"""Name -> class, loaded when first asked for, with a suggestion for a name that is nearly right.

A registry with a ``group`` also finds what other installed packages offer under that group of entry points.
"""

import difflib
import logging
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from clmeeval_data.errors import ConfigError, UnknownNameError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

T = TypeVar("T")

logger = logging.getLogger(__name__)


class Origin(NamedTuple):
    """The installed distribution that offers a name."""

    package: str
    version: str

    def __str__(self) -> str:
        """Package and version, as people write it."""
        return f"{self.package} {self.version}"


class Registry(Mapping[str, T], Generic[T]):
    """A read-only mapping from names to objects given as ``"package.module:attribute"``.

    Args:
        kind: What the names stand for, as error messages call it ("editor", "source", ...).
        entries: Name to target. A target's module is imported when its name is first looked up.
        group: Entry points under which other packages offer more, "" for none. They are looked up once, when a name is
            first asked for. A name of ``entries`` stays ours, and a warning says so.
        check: Raises ConfigError if what another package offers under a name can't be used.
    """

    def __init__(
        self, kind: str, entries: Mapping[str, str], group: str = "", check: Callable[[str, T], None] | None = None
    ) -> None:
        self.kind = kind
        self.group = group
        self._entries = dict(entries)
        self._check = check
        self._offers: dict[str, list[EntryPoint]] | None = None

    def __getitem__(self, name: str) -> T:
        """The object registered under a name.

        Raises:
            UnknownNameError: If no entry carries that name; the message names the closest one and lists all.
            ConfigError: If another package offers it and it can't be loaded or used, or if several packages offer it.
        """
        offers = self._offered()
        if name in offers:
            return self._loaded(name, offers[name])
        if name not in self._entries:
            known = list(self)
            close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise UnknownNameError(f"unknown {self.kind} {name!r}.{hint} Known: {', '.join(sorted(known))}.")
        module, _, attribute = self._entries[name].partition(":")
        found: T = getattr(import_module(module), attribute)
        return found

    def __iter__(self) -> Iterator[str]:
        """The names: ours in the order of registration, then those of other packages in alphabetical order."""
        yield from self._entries
        yield from sorted(self._offered())

    def __len__(self) -> int:
        """How many names there are."""
        return len(self._entries) + len(self._offered())

    def __contains__(self, name: object) -> bool:
        """Whether an entry carries that name; nothing is imported."""
        return name in self._entries or name in self._offered()

    def get(self, name: str, default: Any = None) -> Any:
        """The object registered under a name, or the default where there is none."""
        return self[name] if name in self else default  # noqa: SIM401 - this is what it suggests

    def origins(self, name: str) -> tuple[Origin, ...]:
        """The packages that offer a name; none for a name of ours, and for one that nobody offers."""
        return tuple(_origin(offer) for offer in self._offered().get(name, ()))

    def _loaded(self, name: str, offers: "list[EntryPoint]") -> T:
        origins = [str(_origin(offer)) for offer in offers]
        if len(offers) > 1:
            raise ConfigError(
                f"{self.kind} {name!r} is offered by {len(offers)} packages: {', '.join(origins)}. "
                "Uninstall all but one of them."
            )
        try:
            found: T = offers[0].load()
        except Exception as error:  # a package of somebody else's: whatever it raises, ours must go on
            raise ConfigError(
                f"{self.kind} {name!r} of the package {origins[0]} cannot be loaded from {offers[0].value!r}: "
                f"{type(error).__name__}: {error}. Repair or uninstall that package."
            ) from error
        if self._check is not None:
            self._check(name, found)
        return found

    def _offered(self) -> "Mapping[str, list[EntryPoint]]":
        """By name what other packages offer, without the names that are ours."""
        if self._offers is None:
            self._offers = self._found() if self.group else {}
        return self._offers

    def _found(self) -> "dict[str, list[EntryPoint]]":
        from importlib.metadata import entry_points

        found: dict[str, list[EntryPoint]] = {}
        for offer in sorted(entry_points(group=self.group), key=lambda offer: (offer.name, *_origin(offer))):
            if offer.name in self._entries:
                logger.warning(
                    "the package %s offers a %s %r, which is a name of ours: it is not used. Give it another name.",
                    _origin(offer),
                    self.kind,
                    offer.name,
                )
            else:
                found.setdefault(offer.name, []).append(offer)
        return found


def _origin(offer: "EntryPoint") -> Origin:
    return Origin("unknown", "unknown") if offer.dist is None else Origin(offer.dist.name, offer.dist.version)
