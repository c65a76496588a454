"""Publishing results: run folders to a results dataset, the leaderboard of all its runs to a static Space."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from clmeeval_data.errors import ConfigError, PublishError, ResultsError
from clmeeval_data.evaluation.publishing.results import Results
from clmeeval_data.evaluation.publishing.selection import RESULTS, runs_at_hand
from clmeeval_data.evaluation.publishing.space import Space
from clmeeval_data.hub.plan import Plan
from clmeeval_data.hub.publishing import Outcome, Publication, check_tag, plan_for, publish_to
from clmeeval_data.hub.remote import Remote, is_name, open_remote


@dataclass(frozen=True)
class Destination:
    """Where results are published.

    Args:
        repo: The results dataset, ``owner/name``; None for none.
        space: The Space of the leaderboard, ``owner/name``; None for none.
        private: Make either private where it does not exist.
        tag: A name for this release of each.
        endpoint: The Hub's address, instead of that of ``HF_ENDPOINT`` or https://huggingface.co.
        token: Instead of that of ``HF_TOKEN`` or ``hf auth login``.
    """

    repo: str | None = None
    space: str | None = None
    private: bool = False
    tag: str | None = None
    endpoint: str | None = None
    token: str | None = None


def publish_results(results: Sequence[Path], to: Destination, incomplete: bool = False) -> list[Outcome]:
    """Publish the runs below result folders, and the leaderboard of all published runs.

    The dataset is published first, once it is certain that neither name holds something else. Runs that are on the Hub
    stay; one of them gives way only to a complete one of the same identity with at least as many finished cases.

    Raises:
        ConfigError: If no destination is given.
        ResultsError: If there is no run to publish, or one is damaged.
        PublishError: If a name can't be used, a repository holds something else, or the Hub or the network fails. The
            same command finishes what broke off.
    """
    parts = _parts(results, to, incomplete)
    if len(parts) > 1:
        for remote, publication in parts:
            plan_for(remote, publication, to.private, to.tag)
    return [publish_to(remote, publication, to.private, to.tag) for remote, publication in parts]


def plan_results(results: Sequence[Path], to: Destination, incomplete: bool = False) -> list[Plan]:
    """What ``publish_results`` would change, for the same arguments; nothing is changed.

    Raises:
        ConfigError: As ``publish_results`` does.
        ResultsError: As ``publish_results`` does.
        PublishError: As ``publish_results`` does.
    """
    return [
        plan_for(remote, publication, to.private, to.tag) for remote, publication in _parts(results, to, incomplete)
    ]


def fetch_results(name: str, endpoint: str | None = None, token: str | None = None) -> Path:
    """The run folders of a results dataset on the Hub, in the cache of its client.

    Raises:
        ResultsError: If it cannot be had, or holds no runs.
    """
    try:
        folder = open_remote(name, endpoint, token).snapshot([f"{RESULTS}/*"]) / RESULTS
    except PublishError as error:
        raise ResultsError(f"{name!r} is not a folder here, and as a dataset {error}") from error
    if not folder.is_dir():
        raise ResultsError(
            f"the dataset {name} on the Hub holds no results. Expected what clmeeval-leaderboard publishes."
        )
    return folder


def located(results: Sequence[str | Path]) -> list[Path]:
    """Result folders; an ``owner/name`` that is not one here is had from the Hub.

    Raises:
        ResultsError: If it cannot be had.
    """
    return [
        Path(place) if Path(place).is_dir() or not is_name(str(place)) else fetch_results(str(place))
        for place in results
    ]


def _parts(results: Sequence[Path], to: Destination, incomplete: bool) -> list[tuple[Remote, Publication]]:
    """Everything that can be checked on this machine, before anything is asked of the Hub."""
    if to.repo is None and to.space is None:
        raise ConfigError("nowhere to publish to. Give --repo OWNER/NAME, --space OWNER/NAME, or both.")
    check_tag(to.tag)
    dataset = None if to.repo is None else open_remote(to.repo, to.endpoint, to.token)
    space = None if to.space is None else open_remote(to.space, to.endpoint, to.token, "space")
    found = runs_at_hand(results, incomplete)
    parts: list[tuple[Remote, Publication]] = []
    if dataset is not None:
        parts.append((dataset, Results(found.runs, found.left_out)))
    if space is not None:
        parts.append((space, Space(found.runs, dataset)))
    return parts
