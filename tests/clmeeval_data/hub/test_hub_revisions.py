"""Revisions of datasets on a Hub on loopback: which commit they stand for, and what may be taken for it."""

import json

TELL = """
import json, sys
from clmeeval_data.errors import DatasetError
from clmeeval_data.hub import commit_of
from clmeeval_data.hub.configurations import configurations_of

folder, commit, cases = json.loads(sys.argv[1]), json.loads(sys.argv[2]), [None, "main", "v1", "v9"]
told = {str(revision): commit_of("clmeeval/cnle", revision) for revision in [*cases, commit, commit[::-1]]}
told |= {"nobody": commit_of("clmeeval/none"), "folder": commit_of(folder), "fails": commit_of("clmeeval/fails", "v1")}
told["names"] = [[one.name for one in configurations_of("clmeeval/cnle", "answers-", at)] for at in (None, "v1", "v9")]
try:
    commit_of(folder, "v1")
except DatasetError as error:
    told["refused"] = str(error)
json.dump(told, sys.stdout)
"""
# loads both revisions, and again when the Hub cannot be reached
STALE = """
import json, sys
import datasets, huggingface_hub
from clmeeval_data import load_cnle
from clmeeval_data.errors import DatasetError

old, head = json.loads(sys.argv[1])
counts = [len(load_cnle(revision=at)) for at in (*json.loads(sys.argv[2]), None)]
datasets.config.HF_HUB_OFFLINE = huggingface_hub.constants.HF_HUB_OFFLINE = True
for at in (None, "main", head, "v1", old, "v2"):
    try:
        counts.append(len(load_cnle(revision=at)))
    except DatasetError as error:
        counts.append(str(error))
json.dump(counts, sys.stdout)
"""


def test_the_commit_of_a_revision(client, served, releases, cnle_folder):
    old, head = releases
    served.create("clmeeval/fails")
    served.fail("GET /api/datasets/clmeeval/fails", status=500, times=99)
    done = client(TELL, str(cnle_folder), old)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told.pop("refused").startswith(f"revision 'v1' was asked for, but {cnle_folder} is a folder here")
    assert told.pop("names") == [["answers-new", "answers-old"], ["answers-old"], []]
    assert told.pop(old[::-1]) == old[::-1]  # nobody denies it yet: loading will
    assert told == {"None": head, "main": head, "v1": old, "v9": None, old: old} | dict.fromkeys(
        ("nobody", "folder", "fails")
    )


def test_what_was_loaded_before_is_not_taken_for_another_revision(client, releases):
    old, head = releases
    done = client(STALE, [old, head], ["v1"])
    assert done.returncode == 0, done.stderr
    first, newest, *later = json.loads(done.stdout)
    assert (first, newest) == (3, 2)
    assert later[:3] == [2, 2, 2]
    for revision, said in zip(("v1", old, "v2"), later[3:], strict=True):
        assert said.startswith(f"revision '{revision}' of clmeeval/cnle cannot be loaded from the Hub, and what was")
        assert f"is of commit {head[:12]}. Try again" in said
