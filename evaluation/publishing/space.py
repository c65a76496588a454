"""The leaderboard as a static Space on the Hub: the page of all runs, and its data."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from clmeeval_data.errors import PublishError
from clmeeval_data.evaluation.publishing.selection import fetch_cases, published_runs, select
from clmeeval_data.evaluation.publishing.site import write_leaderboard
from clmeeval_data.evaluation.report.page import FILES
from clmeeval_data.evaluation.report.runs import Run
from clmeeval_data.hub.plan import release_file
from clmeeval_data.hub.publishing import CARD, MADE_BY_THE_HUB, Contents
from clmeeval_data.hub.remote import Remote, State

MARK = "clmeeval-leaderboard"
PAGE = "index.html"
_NEW = "Welcome to your static Space"  # on the page that the Hub puts into a new one
_OF_A_NEW_ONE = ("style.css",)
_README = """\
---
title: Editing code models
emoji: 📊
colorFrom: blue
colorTo: gray
sdk: static
app_file: {page}
pinned: false
{datasets}tags:
- {mark}
- leaderboard
---

{count} of model-editing methods on CLMEEval's benchmarks, ranked on one page by `clmeeval-leaderboard publish`.{source}
"""


@dataclass(frozen=True)
class Space:
    """The leaderboard of runs, by their paths in a results dataset, with those that this dataset holds already."""

    runs: Mapping[str, Run]
    dataset: Remote | None = None

    @property
    def title(self) -> str:
        """What the commit is called."""
        return "Leaderboard"

    def contents(self, remote: Remote, held: State, tag: str | None) -> Contents:
        """The page and its data, and README.md with the metadata of a static Space.

        Raises:
            PublishError: If the Space holds something else, or the results dataset cannot be read.
            ResultsError: If a run is damaged.
        """
        is_new = _check_space(remote, held)
        runs = self._all_runs(tag)
        with TemporaryDirectory() as folder:
            write_leaderboard([run.folder.path.resolve() for run in runs.values()], Path(folder))
            files = (path for path in Path(folder).rglob("*") if path.is_file())
            written = {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
        found = {name: _without_places(content, runs) for name, content in written.items()}
        found[CARD] = self._readme(len(runs)).encode()
        releases = [release_file(name, content) for name, content in sorted(found.items())]
        return Contents(releases, (f"{FILES}/", *(_OF_A_NEW_ONE if is_new else ())))

    def _all_runs(self, tag: str | None) -> dict[str, Run]:
        state = self.dataset.state() if self.dataset else None
        if self.dataset is None or state is None:
            return dict(self.runs)
        if tag is not None and tag in state.tags:
            state = self.dataset.state_at(state.tags[tag], state)
        selection = select(self.runs, published_runs(self.dataset, state))
        fetch_cases(self.dataset, state, selection.kept)
        return selection.all

    def _readme(self, count: int) -> str:
        return _README.format(
            page=PAGE,
            mark=MARK,
            count="1 run" if count == 1 else f"{count} runs",
            datasets=f"datasets:\n- {self.dataset.name}\n" if self.dataset else "",
            source=f"\nThe runs are in the dataset [{self.dataset.name}]({self.dataset.url})." if self.dataset else "",
        )


def _check_space(remote: Remote, held: State) -> bool:
    """Whether a Space is as the Hub makes a new one; else it holds a leaderboard of ours.

    Raises:
        PublishError: If it holds something else.
    """
    paths = set(held.files) - MADE_BY_THE_HUB
    has_page = PAGE in paths
    if CARD in paths and f"\n- {MARK}\n" in remote.read(CARD, held.commit).decode("utf-8", "replace"):
        return False
    if paths <= {CARD} or (has_page and _NEW in remote.read(PAGE, held.commit).decode("utf-8", "replace")):
        return True
    raise PublishError(
        f"{remote.shown} holds something else than a leaderboard of ours ({min(paths - {CARD})}); it was left as it "
        "is. Choose another name, or remove its files first."
    )


def _without_places(content: bytes, runs: Mapping[str, Run]) -> bytes:
    """A text that names result folders as the dataset does, not by where they are on this machine."""
    for place in sorted({str(run.folder.path.resolve().parents[2]) for run in runs.values()}, key=len, reverse=True):
        content = content.replace(f" in {place}".encode(), b" in results")
    return content
