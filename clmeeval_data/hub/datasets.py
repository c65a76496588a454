"""Publishing a folder that a build wrote: a dataset, or the answers of a model, as a configuration of a dataset."""

from pathlib import Path

from clmeeval_data.hub.plan import Plan
from clmeeval_data.hub.publishing import Outcome, check_tag, plan_for, publish_to
from clmeeval_data.hub.release import Configuration, open_release
from clmeeval_data.hub.remote import Remote, open_remote


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
    configuration, remote = _open(folder, repo, config, tag, endpoint, token)
    return publish_to(remote, configuration, private, tag)


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
    configuration, remote = _open(folder, repo, config, tag, endpoint, token)
    return plan_for(remote, configuration, private, tag)


def _open(
    folder: Path, repo: str, config: str | None, tag: str | None, endpoint: str | None, token: str | None
) -> tuple[Configuration, Remote]:
    """Everything that can be checked on this machine, before anything is asked of the Hub."""
    remote = open_remote(repo, endpoint, token)
    check_tag(tag)
    return open_release(folder, config), remote
