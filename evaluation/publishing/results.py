"""A results dataset on the Hub: run folders as they are, a table of all of them, and a card."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from clmeeval_data.errors import PublishError
from clmeeval_data.evaluation.publishing.card import MARK, Sizes, card
from clmeeval_data.evaluation.publishing.selection import files_of, published_runs, select
from clmeeval_data.evaluation.publishing.table import parquet_of
from clmeeval_data.hub.plan import ReleaseFile, release_file
from clmeeval_data.hub.publishing import CARD, MADE_BY_THE_HUB, Contents

if TYPE_CHECKING:
    from clmeeval_data.evaluation.publishing.selection import Selection
    from clmeeval_data.evaluation.report.runs import Run
    from clmeeval_data.hub.remote import Remote, State

TABLE = "data/runs-00000-of-00001.parquet"


@dataclass(frozen=True)
class Results:
    """Runs that go to a results dataset, by their paths in it; those that are there already stay.

    ``left_out``: how many incomplete ones are not among them.
    """

    runs: Mapping[str, "Run"]
    left_out: int = 0

    @property
    def title(self) -> str:
        """What the commit is called."""
        return "1 run" if len(self.runs) == 1 else f"{len(self.runs)} runs"

    def contents(self, remote: "Remote", held: "State", tag: str | None) -> Contents:
        """The files of the new runs, and the table and the card of all runs.

        Raises:
            PublishError: If the repository holds something else, or a file cannot be read.
            ResultsError: If a run in the repository is damaged.
        """
        check_results(remote, held)
        selection = select(self.runs, published_runs(remote, held))
        try:
            files = [
                release_file(f"{path}/{file.name}", file)
                for path, run in selection.taken.items()
                for file in files_of(run)
            ]
        except OSError as error:
            raise PublishError(f"a run cannot be read ({error}). Check the permissions of its folder.") from error
        sizes = _sizes(files, [path for path in held.files if path.startswith(_folders(selection.kept))], held)
        text = card(remote.name, remote.url, selection.all, sizes)
        files += [release_file(TABLE, parquet_of(selection.all)), release_file(CARD, text.encode())]
        return Contents(files, (*_folders(selection.taken), "data/"), self._note(selection))

    def _note(self, selection: "Selection") -> str:
        notes = [f"{len(selection.all)} runs in all" if len(selection.all) > 1 else "1 run in all"]
        if selection.passed_over:
            notes.append(
                f"{len(selection.passed_over)} stayed as on the Hub, which has at least as many of their cases"
            )
        if self.left_out:
            notes.append(f"{self.left_out} incomplete left out")
        return f" ({'; '.join(notes)})"


def check_results(remote: "Remote", held: "State") -> None:
    """The repository is empty, or holds results that were published from here.

    Raises:
        PublishError: If it holds something else.
    """
    paths = set(held.files) - MADE_BY_THE_HUB
    if not paths or (CARD in paths and f"\n- {MARK}\n" in _metadata(remote.read(CARD, held.commit))):
        return
    found = min(paths - {CARD}, default=CARD)
    raise PublishError(
        f"{remote.name} holds something else than results of ours ({found}); it was left as it is. "
        "Choose another name, or remove its files first."
    )


def _metadata(content: bytes) -> str:
    """What stands between the two lines ``---`` at the beginning of a README.md."""
    text = content.decode("utf-8", "replace").replace("\r\n", "\n")
    return text.split("\n---\n", 1)[0] + "\n" if text.startswith("---\n") else ""


def _folders(runs: Mapping[str, "Run"]) -> tuple[str, ...]:
    return tuple(f"{path}/" for path in runs)


def _sizes(files: list[ReleaseFile], kept: list[str], held: "State") -> Sizes:
    return Sizes(len(files) + len(kept), sum(file.size for file in files) + sum(held.files[path].size for path in kept))
