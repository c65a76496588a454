"""One repository on the Hub: what it holds, and the few things that publishing does to it."""

import logging
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from clmeeval_data.errors import PublishError
from clmeeval_data.hub.faults import AS_IT_WAS, UNREAD, WHOLE, explained

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

Kind = Literal["dataset", "space"]
_NAME = re.compile(r"[A-Za-z0-9]+([-_.][A-Za-z0-9]+)*/(?!.*\.git$)[A-Za-z0-9_]+([-.][A-Za-z0-9_]+)*")


@dataclass(frozen=True)
class StoredFile:
    """A file in a repository: its size in bytes and its git object id; its sha256 where the Hub keeps it as large."""

    size: int
    git_oid: str
    sha256: str | None


@dataclass(frozen=True)
class State:
    """What a repository holds at its newest commit. ``tags`` says to which commit each tag points."""

    commit: str | None
    private: bool
    files: Mapping[str, StoredFile]
    tags: Mapping[str, str]


@dataclass(frozen=True)
class Remote:
    """A repository on the Hub, as one token sees it. Every method raises PublishError where the Hub can't or won't.

    Attributes:
        api: The client, which knows the endpoint and the token.
        name: ``owner/name``.
        token: The token that the client sends, so that no message shows it.
        kind: Whether it is a dataset or a Space (of static pages).
    """

    api: "HfApi"
    name: str
    token: str | None
    kind: Kind = "dataset"

    @property
    def shown(self) -> str:
        """How messages call it."""
        return self.name if self.kind == "dataset" else f"the Space {self.name}"

    @property
    def url(self) -> str:
        """The address of its page."""
        return f"{self.api.endpoint}/{self.kind}s/{self.name}"

    def state(self) -> State | None:
        """What the repository holds, or None where this token sees none of that name."""
        from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

        with self._explained("cannot be read on the Hub"):
            try:
                info = self.api.repo_info(self.name, repo_type=self.kind)
            except GatedRepoError:
                raise
            except RepositoryNotFoundError:
                return None
            refs = self.api.list_repo_refs(self.name, repo_type=self.kind)
            files = self._files(info.sha) if info.sha else {}
            return State(info.sha, bool(info.private), files, {tag.name: tag.target_commit for tag in refs.tags})

    def state_at(self, commit: str, now: State) -> State:
        """What it held at an earlier commit than that of ``now``."""
        if commit == now.commit:
            return now
        with self._explained("cannot be read on the Hub"):
            return replace(now, commit=commit, files=self._files(commit))

    def read(self, path: str, commit: str | None) -> bytes:
        """The content of a small file at a commit."""
        with self._explained(f"cannot be read on the Hub ({path})"), TemporaryDirectory() as cache:
            local = self.api.hf_hub_download(self.name, path, repo_type=self.kind, revision=commit, cache_dir=cache)
            return Path(local).read_bytes()

    def snapshot(self, patterns: Sequence[str], commit: str | None = None) -> Path:
        """A folder in the client's cache with those files that match one of the patterns, in which * takes in slashes.

        Args:
            patterns: As of ``fnmatch``, from the root of the repository.
            commit: At which commit; None for the newest, or for the one in the cache where the client is offline.
        """
        with self._explained("cannot be read on the Hub", UNREAD, UNREAD):
            return Path(
                self.api.snapshot_download(
                    self.name, repo_type=self.kind, revision=commit, allow_patterns=list(patterns)
                )
            )

    def create(self, private: bool) -> State:
        """Make the repository, which must not exist, and say what it holds."""
        with self._explained("cannot be created on the Hub", broken="At most an empty repository was made"):
            self.api.create_repo(
                self.name, repo_type=self.kind, private=private, space_sdk="static" if self.kind == "space" else None
            )
        found = self.state()
        if found is None:
            raise PublishError(
                f"{self.shown} was created, and then not found on the Hub. Run the same command again in a minute."
            )
        return found

    def commit(
        self, operations: "Sequence[CommitOperationAdd | CommitOperationDelete]", parent: str | None, message: str
    ) -> str:
        """Make all changes in one commit on a known parent, and return its id."""
        with self._explained("cannot be published", broken=WHOLE):
            made = self.api.create_commit(
                self.name, list(operations), commit_message=message, repo_type=self.kind, parent_commit=parent
            )
        return made.oid

    def tag(self, name: str, commit: str) -> None:
        """Give a commit a tag that does not exist yet."""
        with self._explained(f"cannot be tagged {name}", "Its files are published", "Its files are published"):
            self.api.create_tag(self.name, tag=name, revision=commit, repo_type=self.kind)

    def _files(self, commit: str) -> dict[str, StoredFile]:
        from huggingface_hub.hf_api import RepoFile

        entries = self.api.list_repo_tree(self.name, recursive=True, revision=commit, repo_type=self.kind)
        return {
            entry.path: StoredFile(entry.size, entry.blob_id, entry.lfs.sha256 if entry.lfs else None)
            for entry in entries
            if isinstance(entry, RepoFile)
        }

    @contextmanager
    def _explained(self, what: str, refused: str = "", broken: str = "") -> Iterator[None]:
        unchanged = AS_IT_WAS[self.kind]
        with explained(f"{self.shown} {what}", refused or unchanged, broken or unchanged, self.token), _quiet():
            yield


def open_remote(name: str, endpoint: str | None = None, token: str | None = None, kind: Kind = "dataset") -> Remote:
    """A repository by its name, which is checked, with the token given or that of the user's login.

    Args:
        name: ``owner/name``.
        endpoint: The Hub's address, instead of that of ``HF_ENDPOINT`` or https://huggingface.co.
        token: Instead of that of ``HF_TOKEN`` or ``hf auth login``.
        kind: What it is.

    Raises:
        PublishError: If the name, the endpoint or the token cannot be one.
    """
    from huggingface_hub import HfApi, get_token

    if not is_name(name):
        raise PublishError(
            f"{name!r} is not a name on the Hub. Expected owner/name of letters, digits, '-', '_' and '.', none of the "
            "signs twice in a row or at an end, e.g. clmeeval/cnle."
        )
    if endpoint is not None and not _is_address(endpoint):
        raise PublishError(f"{endpoint!r} is not an address of a Hub. Expected one like https://huggingface.co.")
    chosen = token or get_token()
    if chosen is not None and not (chosen.isascii() and chosen.isprintable() and " " not in chosen):
        raise PublishError("the token holds characters that no token has. Check HF_TOKEN, or 'hf auth login' again.")
    api = HfApi(endpoint=endpoint and endpoint.rstrip("/"), token=chosen or False)
    return Remote(api, name, chosen, kind)


def is_name(text: str) -> bool:
    """Whether a text can be the name of a repository on the Hub: ``owner/name``."""
    return bool(_NAME.fullmatch(text)) and len(text) <= 96


def _is_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 443) > 0
    except ValueError:
        return False


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the client from drawing bars, and from telling what it tries again, where no terminal shows it."""
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    if sys.stderr.isatty():
        yield
        return
    logger = logging.getLogger("huggingface_hub")
    before, hides_bars = logger.level, not are_progress_bars_disabled()
    logger.setLevel(logging.ERROR)
    if hides_bars:
        disable_progress_bars()
    try:
        yield
    finally:
        logger.setLevel(before)
        if hides_bars:
            enable_progress_bars()
