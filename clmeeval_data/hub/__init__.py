"""Datasets on the Hugging Face Hub, and in folders: loading them by location, and publishing them."""

from clmeeval_data.hub.loading import OpenSplit, load_cnle, load_csne, open_dataset, open_split
from clmeeval_data.hub.publishing import Outcome, plan_release, publish

__all__ = ["OpenSplit", "Outcome", "load_cnle", "load_csne", "open_dataset", "open_split", "plan_release", "publish"]
