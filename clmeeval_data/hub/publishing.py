"""Publishing: checked first, then one commit on a known parent, then a tag.

Readers of the repository see what it held or the whole new release. A command that failed is finished by the same
command; one that has succeeded changes nothing when it runs again.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from clmeeval_data.errors import PublishError
from clmeeval_data.hub.plan import Change, Plan, ReleaseFile, compare
from clmeeval_data.hub.remote import Remote, State

CARD = "README.md"
MADE_BY_THE_HUB = frozenset({".gitattributes"})
_TAG = re.compile(r"(?!.*(\.\.|\.lock$|\.$))[A-Za-z0-9][A-Za-z0-9._+-]{0,99}")


@dataclass(frozen=True)
class Contents:
    """What a repository is to hold: files, README.md among them.

    ``replaced``: what the paths of an earlier release's files begin with; those that are no files any more go away.
    ``note``: what else there is to say, after a blank.
    """

    files: Sequence[ReleaseFile]
    replaced: Sequence[str]
    note: str = ""


class Publication(Protocol):
    """Something that can be published."""

    @property
    def title(self) -> str:
        """What the commit is called, without the tag."""

    def contents(self, remote: Remote, held: State, tag: str | None) -> Contents:
        """What the repository is to hold, given what it holds; under a tag, where there is one.

        The same contents are to give the same bytes again, so that publishing twice changes nothing.

        Raises:
            PublishError: If the repository holds something else, which is not to be overwritten.
        """


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
        return f"{self.plan.repo}: {done}" + (f", tagged {self.tagged}" if self.tagged else "") + self.plan.note


def check_tag(tag: str | None) -> None:
    """A tag can be one.

    Raises:
        PublishError: If it cannot.
    """
    if tag is not None and (tag == "main" or not _TAG.fullmatch(tag)):
        raise PublishError(f"{tag!r} cannot be a tag. Expected letters, digits, '.', '-', '_' and '+', e.g. v1.0.0.")


def publish_to(remote: Remote, publication: Publication, private: bool = False, tag: str | None = None) -> Outcome:
    """Publish something in a repository, which is made where it does not exist.

    Args:
        remote: The repository.
        publication: What is published.
        private: Make the repository private where it does not exist.
        tag: A name for this release, e.g. "v1.0.0".

    Raises:
        PublishError: If there is no token, the repository holds something else, or the Hub or the network fails. What
            is published then is whole: the old release or the new one.
    """
    check_tag(tag)
    if remote.token is None:
        raise PublishError(
            f"no token to publish {remote.shown} with. Log in with 'hf auth login', or set HF_TOKEN to a token with "
            "write access from the settings of your account."
        )
    state = remote.state()
    if state is None:
        state = remote.create(private)
    plan = _plan(publication, remote, state, private, tag)
    return carry_out(plan, remote, f"{publication.title}: {tag}" if tag else publication.title)


def plan_for(remote: Remote, publication: Publication, private: bool = False, tag: str | None = None) -> Plan:
    """What ``publish_to`` would change, for the same arguments; nothing is changed, and a public one takes no token.

    Raises:
        PublishError: As ``publish_to`` does.
    """
    check_tag(tag)
    return _plan(publication, remote, remote.state(), private, tag)


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


def _plan(publication: Publication, remote: Remote, state: State | None, private: bool, tag: str | None) -> Plan:
    held = state or State(None, private, {}, {})
    if private and not held.private:
        raise PublishError(
            f"{remote.shown} is public, and --private was asked for. Make it private in its settings, or leave the "
            "option out."
        )
    if tag is not None and tag in held.tags:
        return _plan_under(publication, remote, held, tag)
    contents = publication.contents(remote, held, tag)
    return Plan(
        repo=remote.shown,
        parent=held.commit,
        creates="" if state else "private" if private else "public",
        files=contents.files,
        changes=_changes(contents, held),
        tag=tag,
        note=contents.note,
    )


def _plan_under(publication: Publication, remote: Remote, held: State, tag: str) -> Plan:
    """The plan for a tag that exists: there is nothing to do if its commit holds all of the release.

    Raises:
        PublishError: If it does not.
    """
    tagged = remote.state_at(held.tags[tag], held)
    contents = publication.contents(remote, tagged, tag)
    note = "" if tagged is held else f", to which {tag} points already; the newest commit is {held.commit}"
    note += contents.note
    plan = Plan(remote.shown, tagged.commit, "", contents.files, _changes(contents, tagged), None, note)
    if plan.is_empty:
        return plan
    differs = next(change.path for change in plan.changes if change.kind != "keep")
    raise PublishError(
        f"the tag {tag} of {remote.shown} points to commit {held.tags[tag][:12]}, and this release would be another "
        f"commit ({differs} differs); nothing was changed. Choose another tag, or publish without one."
    )


def _changes(contents: Contents, held: State) -> list[Change]:
    paths = {file.path for file in contents.files}
    stale = [path for path in held.files if path not in paths and path.startswith(tuple(contents.replaced))]
    return compare(contents.files, held.files, stale)
