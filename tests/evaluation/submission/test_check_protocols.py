"""Batch and sequential runs in version 2 of the results format, made from a run's entries."""

import json

import pytest

from clmeeval_data.evaluation.scoring.signature import signature
from clmeeval_data.evaluation.scoring.summary import summarise
from clmeeval_data.evaluation.submission.identity import identity_hash

BATCH = {"name": "batch", "size": 3}
SEQUENTIAL = {"name": "sequential", "size": 5, "checkpoints": [1, 2, 5]}
CHECKED = ("effectiveness", "generalisation", "specificity")


def grouped(entries, size):
    for place, entry in enumerate(entries):
        index, position = divmod(place, size)
        entry["group"] = {"index": index, "position": position, "size": min(size, len(entries) - index * size)}


def in_sequence(entries, protocol):
    for entry in entries:
        position, size = entry["group"]["position"], entry["group"]["size"]
        points = [k for k in protocol["checkpoints"] if k < size] + [size]
        scores = {dimension: entry["scores"][dimension] for dimension in CHECKED}
        entry["checkpoints"] = [{"edits": k, "scores": scores} for k in points if k > position]
        entry["right_after"] = {
            "outputs": {"effectiveness": entry["outputs"]["effectiveness"]},
            "scores": {"effectiveness": entry["scores"]["effectiveness"]},
        }


@pytest.fixture
def under(copied):
    """The run of a method as if it had been made under a protocol; ``change`` is applied before the summary is made."""

    def make(protocol, change=lambda entries: None, method="grace"):
        run = copied(method)
        entries = run.entries()
        grouped(entries, protocol["size"])
        if protocol["name"] == "sequential":
            in_sequence(entries, protocol)
        entries = change(entries) or entries
        run.write(entries)
        described = json.loads((run.path / "run.json").read_text())
        described["identity"].update(format=2, protocol=protocol)
        described["hash"] = identity_hash(described["identity"])
        (run.path / "run.json").write_text(json.dumps(described))
        summary = {"hash": described["hash"], **summarise(entries, 8), "signature": signature(described)}
        (run.path / "summary.json").write_text(json.dumps(summary))
        run.path = run.path.rename(run.path.with_name(f"{method}--{described['hash']}"))
        return run

    return make


@pytest.mark.parametrize("protocol", [BATCH, SEQUENTIAL], ids=lambda protocol: protocol["name"])
@pytest.mark.parametrize("method", ["grace", "none"])
def test_whole_runs_are_accepted(check, under, published, protocol, method):
    run = under(protocol, method=method)
    assert check(run.path, "--dataset", published) == (0, ["1 run, no problems"])


def test_a_case_that_failed_in_its_sequence_is_accepted(check, under):
    def fail(entries):
        entry = entries[2]
        missed = [{"edits": point["edits"], "scores": {}} for point in entry["checkpoints"]]
        for key in ("outputs", "scores", "cost", "details", "right_after"):
            del entry[key]
        entry.update(error={"type": "EditError", "message": "no edit"}, checkpoints=missed)

    assert check(under(SEQUENTIAL, fail).path) == (0, ["1 run, no problems"])


def set_in(place, *keys, value):
    def change(entries):
        found = entries[place] = json.loads(json.dumps(entries[place]))
        for key in keys[:-1]:
            found = found[key]
        found[keys[-1]] = value

    return change


def better_checkpoint(entries):
    entries[0] = json.loads(json.dumps(entries[0]))
    entries[0]["checkpoints"][-1]["scores"]["effectiveness"]["bleu"] = 0.999


TAMPERED = {
    "no group": (BATCH, lambda entries: entries[0].pop("group") and None, "entry.group is missing: expected an object"),
    "a group too large": (BATCH, set_in(0, "group", "size", value=7), "group.size is not the protocol's"),
    "a place outside": (BATCH, set_in(1, "group", "position", value=3), "group.position is outside its group"),
    "a place twice": (BATCH, set_in(1, "group", "position", value=0), "a group is not whole"),
    "edits one by one": (
        BATCH,
        lambda entries: [
            {**entry, "group": {"index": place, "position": 0, "size": 1}} for place, entry in enumerate(entries)
        ],
        "a group has not the protocol's size: expected 3, found '[1]' in group 0",
    ),
    "groups from 5": (
        BATCH,
        lambda entries: [
            {**entry, "group": {**entry["group"], "index": entry["group"]["index"] + 5}} for entry in entries
        ],
        "groups are not numbered from 0",
    ),
    "nothing right after": (
        SEQUENTIAL, lambda entries: entries[0].pop("right_after") and None, "entry.right_after is missing",
    ),
    "a better score right after": (
        SEQUENTIAL,
        set_in(0, "right_after", "scores", "effectiveness", "edit_similarity", value=0.123456),
        "right_after.scores.effectiveness.edit_similarity is not what its outputs give",
    ),
    "another unedited answer": (
        SEQUENTIAL,
        set_in(0, "right_after", "outputs", "effectiveness", "before", value="other"),
        "right_after has another unedited answer than outputs",
    ),
    "a checkpoint left out": (
        SEQUENTIAL, lambda entries: entries[0]["checkpoints"].pop(0) and None,
        "checkpoints are not those of the protocol: expected '[1, 2, 5]', found '[2, 5]'",
    ),
    "a checkpoint that is better than the end": (
        SEQUENTIAL, better_checkpoint, "the last checkpoint has other scores than the end",
    ),
    "a checkpoint beyond the range": (
        SEQUENTIAL,
        set_in(0, "checkpoints", 0, "scores", value={"effectiveness": {"bleu": 2}}),
        "checkpoints.bleu is outside the metric's range",
    ),
    "impossible checkpoints": (
        {**SEQUENTIAL, "checkpoints": [1, 9]}, lambda entries: None, "identity.protocol.checkpoints are impossible",
    ),
    "no size": ({"name": "batch", "size": 0}, None, "identity.protocol.size is impossible"),
}  # fmt: skip


@pytest.mark.parametrize("kind", TAMPERED)
def test_tampered_groups_are_refused_with_the_reason(check, under, kind):
    protocol, change, reason = TAMPERED[kind]
    if change is None:
        run = under(BATCH)
        run.edit("run.json", lambda run: run["identity"].update(protocol=protocol))
    else:
        run = under(protocol)
        entries = run.entries()
        run.write(change(entries) or entries)
    code, lines = check(run.path)
    assert code == 1
    assert any(reason in line for line in lines), lines
