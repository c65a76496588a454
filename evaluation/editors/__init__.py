"""Editing methods, one file each, behind one contract. To add one: its file, and one line here.

A method in a package of its own needs no line here: it registers under the entry points ``clmeeval_data.editors``, and
is listed, run, tested and ranked like these (docs/own-method.md).
"""

from typing import Any, NamedTuple

from clmeeval_data.errors import ConfigError
from clmeeval_data.registry import Registry

GROUP = "clmeeval_data.editors"
_HERE = "clmeeval_data.evaluation.editors"


def _check_class(name: str, editor: Any) -> None:
    """Refuse what is no editor class, or calls itself by another name than the one it is registered under."""
    own = getattr(editor, "name", None)
    if not isinstance(editor, type) or own != name or not isinstance(getattr(editor, "config_class", None), type):
        raise ConfigError(
            f"what is registered as method {name!r} is {getattr(editor, '__qualname__', editor)!r}, named {own!r}. "
            f"Expected a class with name = {name!r} and a config_class (see docs/own-method.md)."
        )


EDITORS: Registry[Any] = Registry(
    "method",
    {
        "none": f"{_HERE}.none:NoEdit",
        "ft": f"{_HERE}.ft:FineTuning",
        "grace": f"{_HERE}.grace:Grace",
        "agrace": f"{_HERE}.agrace:AGrace",
        "rome": f"{_HERE}.rome:Rome",
        "memit": f"{_HERE}.memit:Memit",
        "pmet": f"{_HERE}.pmet:Pmet",
        "malmen": f"{_HERE}.malmen:Malmen",
        "alphaedit": f"{_HERE}.alphaedit:AlphaEdit",
        "ultraedit": f"{_HERE}.ultraedit:UltraEdit",
        "lora": f"{_HERE}.lora:Lora",
        "incontext": f"{_HERE}.incontext:InContext",
    },
    GROUP,
    _check_class,
)
"""Name of a method -> its editor class (``contract.Editor``)."""


class Described(NamedTuple):
    """A registered method in words. ``package``: with its version, "" for ours. ``problem``: why it can't be used."""

    name: str
    family: str
    summary: str
    changes: str
    needs: str
    package: str = ""
    problem: str = ""


def described_methods() -> list[Described]:
    """All registered methods; one of another package that can't be loaded is there with its problem, and no words."""
    found = []
    for name in EDITORS:
        package = ", ".join(map(str, EDITORS.origins(name)))
        try:
            cls = EDITORS[name]
            family, summary, changes, needs = (
                str(getattr(cls, field, "")) for field in ("family", "summary", "changes", "needs")
            )
            found.append(Described(name, family, summary, changes, needs, package))
        except ConfigError as error:
            found.append(Described(name, "", "", "", "", package, str(error)))
    return found


def origin_of(editor: Any) -> dict[str, str]:
    """Where an editor that isn't ours comes from, as JSON values for a run's identity; nothing for one of ours.

    ``package`` and ``version`` of the distribution that registers its class. A class that nobody has registered is
    known by its module and name alone, as ``class``.
    """
    cls = editor if isinstance(editor, type) else type(editor)
    if f"{cls.__module__}.".startswith("clmeeval_data."):
        return {}
    name = getattr(cls, "name", "")
    origins = EDITORS.origins(name)
    if len(origins) == 1 and EDITORS[name] is cls:
        return origins[0]._asdict()
    return {"class": f"{cls.__module__}.{cls.__qualname__}"}
