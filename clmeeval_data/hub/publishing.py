"""Publishing a dataset folder: checked first, then one commit on a known parent, then a tag.

Readers of the repository see what it held or the whole new release. A command that failed is finished by the same
command; one that has succeeded changes nothing when it runs again.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path

from clmeeval_data import storage
from clmeeval_data.errors import PublishError
from clmeeval_data.hub.plan import Plan, compare
from clmeeval_data.hub.release import CARD, Dataset, configs_among, open_release, prefix_of
from clmeeval_data.hub.remote import Remote, State, open_remote
from clmeeval_data.schema import SCHEMA_VERSION

_TAG = re.compile(r"(?!.*(\.\.|\.lock$|\.$))[A-Za-z0-9][A-Za-z0-9._+-]{0,99}")
_MADE_BY_THE_HUB = {".gitattributes"}


@dataclass(frozen=True)
class Outcome:
    """What publishing did.

    Attributes:
        plan: What was to be changed.
        commit: The commit that holds the release.
        committed: Whether it was made now.
        tagged: The tag that was made now, or None.
    """

    plan: Plan
    commit: str
    committed: bool
    tagged: str | None

    def __str__(self) -> str:
        done = f"published in commit {self.commit}" if self.committed else f"unchanged, at commit {self.commit}"
        return f"{self.plan.repo}: {done}" + (f", tagged {self.tagged}" if self.tagged else "")


def publish(
    folder: Path,
    repo: str,
    config: str | None = None,
    private: bool = False,
    tag: str | None = None,
    endpoint: str | None = None,
    token: str | None = None,
) -> Outcome:
    """Publish a dataset folder as a configuration of a dataset on the Hub, which is made where it does not exist.

    Args:
        folder: A folder that ``clmeeval-build`` wrote.
        repo: ``owner/name``.
        config: The configuration, e.g. "sample"; None for the default one, the benchmark itself.
        private: Make the repository private where it does not exist.
        tag: A name for this release, e.g. "v1.0.0".
        endpoint: The Hub's address, instead of that of ``HF_ENDPOINT`` or https://huggingface.co.
        token: Instead of that of ``HF_TOKEN`` or ``hf auth login``.

    Raises:
        PublishError: If the folder has a problem, a name can't be used, the repository holds something else, or the
            Hub or the network fails. What is published then is whole: the old release or the new one.
    """
    dataset, remote = _open(folder, repo, config, tag, endpoint, token)
    if remote.token is None:
        raise PublishError(
            f"no token to publish {repo} with. Log in with 'hf auth login', or set HF_TOKEN to a token with write "
            "access from the settings of your account."
        )
    state = remote.state()
    if state is None:
        state = remote.create(private)
    plan = _plan(dataset, remote, state, private, tag)
    return carry_out(
        plan, remote, f"{dataset.benchmark.name.upper()}, schema {SCHEMA_VERSION}: {tag or dataset.config}"
    )


def carry_out(plan: Plan, remote: Remote, message: str) -> Outcome:
    """Make what a plan says of a repository that exists: one commit where anything differs, then the tag.

    Raises:
        PublishError: If the Hub or the network fails, or the repository has changed since the plan was made.
    """
    commit = plan.parent or ""
    if not plan.is_empty:
        commit = remote.commit(plan.operations(), plan.parent, message)
    if plan.tag is not None:
        remote.tag(plan.tag, commit)
    return Outcome(plan, commit, not plan.is_empty, plan.tag)


def plan_release(
    folder: Path,
    repo: str,
    config: str | None = None,
    private: bool = False,
    tag: str | None = None,
    endpoint: str | None = None,
    token: str | None = None,
) -> Plan:
    """What ``publish`` would change, for the same arguments; nothing is changed, and a public one takes no token.

    Raises:
        PublishError: As ``publish`` does.
    """
    dataset, remote = _open(folder, repo, config, tag, endpoint, token)
    return _plan(dataset, remote, remote.state(), private, tag)


def _open(
    folder: Path, repo: str, config: str | None, tag: str | None, endpoint: str | None, token: str | None
) -> tuple[Dataset, Remote]:
    """Everything that can be checked on this machine, before anything is asked of the Hub."""
    remote = open_remote(repo, endpoint, token)
    if tag is not None and (tag == "main" or not _TAG.fullmatch(tag)):
        raise PublishError(f"{tag!r} cannot be a tag. Expected letters, digits, '.', '-', '_' and '+', e.g. v1.0.0.")
    return open_release(folder, config), remote


def _plan(dataset: Dataset, remote: Remote, state: State | None, private: bool, tag: str | None) -> Plan:
    held = state or State(None, private, {}, {})
    if private and not held.private:
        raise PublishError(
            f"{remote.name} is public, and --private was asked for. Make it private in its settings, or leave the "
            "option out."
        )
    _check_ours(dataset, remote, held)
    files = dataset.files(remote.name, _other_cards(dataset, remote, held))
    paths = {file.path for file in files}
    stale = [path for path in held.files if dataset.replaces(path) and path not in paths]
    changes = compare(files, held.files, stale)
    card = next(file.content for file in files if file.path == CARD)
    plan = Plan(
        repo=remote.name,
        parent=held.commit,
        creates="" if state else "private" if private else "public",
        files=files,
        changes=changes,
        tag=None if tag is None or tag in held.tags else tag,
        card=card.decode() if isinstance(card, bytes) else "",
    )
    if tag is not None and tag in held.tags:
        _check_tag(remote.name, tag, held, plan)
    return plan


def _check_ours(dataset: Dataset, remote: Remote, held: State) -> None:
    """The repository is empty, or holds releases of the same benchmark in the same schema version."""
    paths = set(held.files) - _MADE_BY_THE_HUB
    configs = configs_among(paths)
    script = f"{remote.name.rpartition('/')[2]}.py"
    if paths and (not configs or script in paths):
        found = script if script in paths else min(paths)
        raise PublishError(
            f"{remote.name} holds something else than a dataset of ours ({found}); it was left as it is. "
            "Choose another name, or remove its files first."
        )
    for config in configs:
        _check_manifest(dataset, remote, held, f"{prefix_of(config)}{storage.MANIFEST}")


def _check_manifest(dataset: Dataset, remote: Remote, held: State, path: str) -> None:
    try:
        manifest = json.loads(remote.read(path, held.commit))
    except ValueError:
        manifest = None
    if not isinstance(manifest, dict):
        raise PublishError(f"{path} of {remote.name} is not JSON of ours; it was left as it is. Choose another name.")
    benchmark, version = manifest.get("benchmark"), manifest.get("schema_version")
    if benchmark != dataset.benchmark.name:
        raise PublishError(
            f"{remote.name} holds the benchmark {benchmark!r}, {dataset.folder} holds {dataset.benchmark.name!r}; it "
            "was left as it is. Choose another name."
        )
    if version != SCHEMA_VERSION:
        raise PublishError(
            f"{remote.name} holds a release of schema version {version!r}, {dataset.folder} is of {SCHEMA_VERSION!r}; "
            "it was left as it is. Choose another name, or publish with the version of clmeeval-data that wrote it."
        )


def _other_cards(dataset: Dataset, remote: Remote, held: State) -> dict[str, str]:
    """The cards of the other configurations that the repository holds."""
    cards = {}
    for config in configs_among(held.files):
        path = f"{prefix_of(config)}{CARD}"
        if config != dataset.config and path in held.files:
            cards[config] = remote.read(path, held.commit).decode("utf-8", "replace")
    return cards


def _check_tag(repo: str, tag: str, held: State, plan: Plan) -> None:
    points_to = held.tags[tag]
    if points_to == held.commit and plan.is_empty:
        return
    now = f"this release is at commit {held.commit}" if plan.is_empty else "this release would be another commit"
    raise PublishError(
        f"the tag {tag} of {repo} points to commit {points_to[:12]}, and {now}; nothing was changed. "
        "Choose another tag, or publish without one."
    )
