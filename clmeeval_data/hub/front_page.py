"""The front page of a repository that holds several configurations: one README.md from the card of each."""

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, cast

from clmeeval_data.errors import PublishError
from clmeeval_data.hub.loading import DEFAULT
from clmeeval_data.records import SPLITS

if TYPE_CHECKING:
    from huggingface_hub import DatasetCard

_HEADING = "## Configurations"
_SECTION = re.compile(rf"^{_HEADING}\n.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)


def front_page(repo: str, cards: Mapping[str, str]) -> str:
    """README.md of a repository, from the cards of its configurations, of which one leads.

    That is the default one, or else the first one of cases, or else the first one of answers. The text is its text,
    with a table of the configurations where there are several. The data of every other configuration is expected in
    a folder of its name.

    Args:
        repo: ``owner/name``, for the examples of loading.
        cards: README.md of each configuration as a dataset folder has it; for the default one also as a repository
            has it.

    Raises:
        PublishError: If a card is not one that this package wrote.
    """
    names = sorted(cards, key=lambda name: (name != DEFAULT, name.startswith("answers-"), name))
    if names == [DEFAULT]:
        return cards[DEFAULT] if _HEADING not in cards[DEFAULT] else _joined(repo, names, cards)
    return _joined(repo, names, cards)


def _joined(repo: str, names: list[str], cards: Mapping[str, str]) -> str:
    read = {name: _read(name, cards[name]) for name in names}
    entries = {name: _entry(name, card) for name, card in read.items()}
    infos = {name: _info(name, card) for name, card in read.items()}
    leading = read[names[0]]
    leading.data["configs"] = list(entries.values())
    leading.data["dataset_info"] = list(infos.values())
    leading.data["license"] = sorted({licence for card in read.values() for licence in card.data.get("license") or ()})
    leading.text = _with_table(leading.text, repo, infos)
    return str(leading)


def _read(name: str, text: str) -> "DatasetCard":
    from huggingface_hub import DatasetCard, repocard

    broken = (ValueError, vars(repocard)["yaml"].YAMLError)  # no module of ours imports yaml
    try:
        card = DatasetCard(text)
    except cast("tuple[type[Exception], ...]", broken) as error:
        raise _no_card(name, str(error)) from error
    for field in ("configs", "dataset_info"):
        if not card.data.get(field):
            raise _no_card(name, f"its metadata has no {field}")
    return card


def _entry(name: str, card: "DatasetCard") -> dict[str, Any]:
    """What the metadata says about where a configuration's files are, seen from the repository's root."""
    found = _named(name, card.data["configs"])
    prefix = "" if name == DEFAULT else f"{name}/"
    files = [{"split": item["split"], "path": f"{prefix}{item['path']}"} for item in found["data_files"]]
    return {"config_name": name, "data_files": files}


def _info(name: str, card: "DatasetCard") -> dict[str, Any]:
    """What the metadata says about a configuration's columns and splits."""
    given = card.data["dataset_info"]
    found = _named(name, given if isinstance(given, list) else [given])
    return {"config_name": name, **{key: value for key, value in found.items() if key != "config_name"}}


def _named(name: str, given: Iterable[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The entry of the default configuration, which each card is about, whatever it is called in the repository."""
    for entry in given:
        if entry.get("config_name", DEFAULT) == DEFAULT:
            return entry
    raise _no_card(name, "its metadata does not describe the default configuration")


def _with_table(text: str, repo: str, infos: Mapping[str, Mapping[str, Any]]) -> str:
    """The text with a table of all configurations before its fields, in the place of an earlier one."""
    lines = [_HEADING, "", f"| configuration | {' | '.join(SPLITS)} | how to load it |", f"|---|{'---:|' * 3}---|"]
    for name, info in infos.items():
        counts = {split["name"]: split["num_examples"] for split in info["splits"]}
        call = f'load_dataset("{repo}")' if name == DEFAULT else f'load_dataset("{repo}", "{name}")'
        lines.append(f"| {name} | {' | '.join(str(counts.get(split, '-')) for split in SPLITS)} | `{call}` |")
    section = "\n".join(lines) + "\n\n"
    bare = _SECTION.sub("", text)
    place = bare.find("\n## Fields\n") + 1
    return f"{bare[:place]}{section}{bare[place:]}" if place else f"{bare.rstrip()}\n\n{section}"


def _no_card(name: str, reason: str) -> PublishError:
    return PublishError(
        f"the card of the configuration {name} is not one that clmeeval-build wrote ({' '.join(reason.split())}). "
        f"Publish that configuration again first{'' if name == DEFAULT else f' with --config {name}'}."
    )
