"""The Hugging Face Hub, and datasets in folders: loading them by location, and publishing them and their results."""

from clmeeval_data.hub.datasets import plan_release, publish
from clmeeval_data.hub.loading import OpenSplit, load_cnle, load_csne, open_dataset, open_split
from clmeeval_data.hub.publishing import Outcome
from clmeeval_data.hub.revisions import commit_of

__all__ = [
    "OpenSplit",
    "Outcome",
    "commit_of",
    "load_cnle",
    "load_csne",
    "open_dataset",
    "open_split",
    "plan_release",
    "publish",
]
