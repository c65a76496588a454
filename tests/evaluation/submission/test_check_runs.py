import json
import subprocess
import sys
from pathlib import Path

import pytest

from clmeeval_data.evaluation.scoring.summary import summarise
from clmeeval_data.evaluation.submission.identity import identity_hash


def test_our_own_runs_are_accepted(check, our_runs, published):
    assert check(our_runs) == (0, ["2 runs, no problems"])
    assert check(our_runs, "--dataset", published, "--jobs", 2) == (0, ["2 runs, no problems"])


def renamed(run):
    """Make hash and folder those of the tampered identity, as somebody careful would."""
    described = json.loads((run.path / "run.json").read_text())
    digest = identity_hash(described["identity"])
    for name in ("run.json", "summary.json"):
        run.edit(name, lambda content: content.update(hash=digest))
    run.path = run.path.rename(run.path.with_name(f"{run.path.name.rpartition('--')[0]}--{digest}"))


def summarised(run):
    """Make the summary that of the tampered cases."""
    entries = run.entries()
    run.edit("summary.json", lambda content: content.update(summarise(entries, len(entries))))


def edit_identity(run, change):
    run.edit("run.json", lambda content: change(content["identity"]))
    renamed(run)


def perfect_score(run):
    entries = run.entries()
    entries[0]["scores"]["effectiveness"]["exact_match"] = 1.0
    entries[0]["outputs"]["effectiveness"]["after"] = "something else"
    run.write(entries)
    summarised(run)


def better_bleu(run):
    def change(entry):
        entry["scores"]["generalisation"]["bleu"] += 1e-6

    run.edit_entry(change)
    summarised(run)


def other_target(run):
    """An easier case: the answer that was given becomes the target."""

    def change(entry):
        entry["case"]["target"] = "pass"

    run.edit_entry(change)


def set_score(dimension, metric, value):
    return lambda run: run.edit_entry(lambda entry: entry["scores"][dimension].update({metric: value}))


def set_cost(key, value):
    return lambda run: run.edit_entry(lambda entry: entry["cost"].update({key: value}))


def in_run(change):
    return lambda run: run.edit("run.json", change)


def in_summary(change):
    return lambda run: run.edit("summary.json", change)


def cut(run):
    path = run.path / "records.jsonl"
    path.write_bytes(path.read_bytes()[:-40])


def long_answer(run):
    def change(entry):
        entry["outputs"]["specificity"][0]["after"] = "word " * 200

    run.edit_entry(change)


def not_our_prompt(run):
    run.edit_entry(lambda entry: entry["case"].update(prompt="Write good code."))


def linked(run):
    (run.path / "records.jsonl").rename(run.path.parent / "elsewhere")
    (run.path / "records.jsonl").symlink_to(run.path.parent / "elsewhere")


TAMPERED = {
    "a setting that is not the one in the hash": (
        in_run(lambda run: run["identity"]["method"]["config"].update(steps=1)),
        "run.json: hash is not that of the identity",
    ),
    "a folder of another run": (
        lambda run: setattr(run, "path", run.path.rename(run.path.with_name("grace--0123456789"))),
        "run.json: the folder has not the name of the run",
    ),
    "fewer cases": (lambda run: run.write(run.entries()[:-1]), "the run is not complete: expected 8 cases, found 7"),
    "a case twice": (lambda run: run.write([*run.entries(), run.entries()[0]]), "records.jsonl:9: a case occurs twice"),
    "a case in place of another": (
        lambda run: run.write([*run.entries()[:-1], {**run.entries()[0], "id": "cnle-0000000000000000"}]),
        "the cases are not those of the identity's hash",
    ),
    "an easier target": (other_target, "the cases are not those of the identity's hash"),
    "a prompt of its own": (not_our_prompt, "case.prompt is not in the benchmark's template"),
    "a perfect score for another text": (
        perfect_score, "scores.effectiveness.exact_match is 1 although the texts differ: expected 0.0, found 1.0",
    ),
    "a score raised a little, with its summary": (better_bleu, "generalisation.bleu is not what its outputs give"),
    "a score above the metric's range": (
        set_score("effectiveness", "bleu", 1.5),
        "scores.effectiveness.bleu is outside the metric's range: expected 0 to 1, found 1.5",
    ),
    "a negative entropy": (
        set_score("fluency", "ngram_entropy", -1), "ngram_entropy is outside the metric's range: expected 0 or more",
    ),
    "no number": (set_score("specificity", "chrf", float("nan")), "a number is not finite: expected finite numbers"),
    "an infinite number": (set_cost("edit_seconds", float("inf")), "a number is not finite"),
    "a metric left out": (
        lambda run: run.edit_entry(lambda entry: entry["scores"]["specificity"].pop("exact_match_all")),
        "scores.specificity.exact_match_all is missing",
    ),
    "a metric of their own": (set_score("effectiveness", "vibes", 1.0), "effectiveness has a metric that nothing"),
    "an edit in no time": (set_cost("edit_seconds", 0), "edit_seconds is impossible: expected more than 0, found 0"),
    "negative memory": (set_cost("peak_bytes", -5), "cost.peak_bytes is impossible: expected 0 or more, found -5"),
    "an answer beyond its tokens": (long_answer, "specificity has more tokens than allowed: expected 16 tokens"),
    "a neighbour not answered": (
        lambda run: run.edit_entry(lambda entry: entry["outputs"]["specificity"].pop()),
        "outputs.specificity has not one answer per neighbour: expected 2, found 1",
    ),
    "a failed case that scores": (
        lambda run: run.edit_entry(lambda entry: entry.update(error={"type": "CaseError", "message": "no"})),
        "a failed case has outputs or scores",
    ),
    "a text in place of a number": (set_cost("edit_seconds", "fast"), "entry.cost.edit_seconds has another form"),
    "a field left out": (
        lambda run: run.edit_entry(lambda entry: entry["case"].pop("rephrased_prompt")),
        "entry.case.rephrased_prompt is missing: expected a text",
    ),
    "a better mean": (
        in_summary(lambda summary: summary["scores"]["effectiveness"]["bleu"].update(mean=0.99)),
        "summary.json: summary.scores.effectiveness.bleu.mean is not what the cases give",
    ),
    "a narrower interval": (
        in_summary(lambda summary: summary["scores"]["effectiveness"]["chrf"].update(low=summary["scores"]
                   ["effectiveness"]["chrf"]["high"])),
        "summary.scores.effectiveness.chrf.low is not what the cases give",
    ),
    "no failures": (
        in_summary(lambda summary: summary["cases"].update(total=9)),
        "summary.cases.total is not what the cases give: expected 8, found 9",
    ),
    "another signature": (
        in_summary(lambda summary: summary.update(signature=summary["signature"].replace("float32", "bfloat16"))),
        "summary.json: signature is not that of run.json",
    ),
    "no summary": (lambda run: (run.path / "summary.json").unlink(), "summary.json: the run is not complete"),
    "no description": (lambda run: (run.path / "run.json").unlink(), "run.json: the run is not described"),
    "no versions": (
        in_run(lambda run: run["environment"]["versions"].pop("transformers")),
        "run.json: environment.versions has no version of transformers",
    ),
    "an unknown method": (
        lambda run: edit_identity(run, lambda identity: identity["method"].update(name="magic")),
        "identity.method is unknown, and tells no package and version",
    ),
    "an unlikely fingerprint": (
        lambda run: edit_identity(run, lambda identity: identity["model"].update(fingerprint="the best model")),
        "identity.model.fingerprint is unlikely: expected 16 hexadecimal digits, found 'the best model'",
    ),
    "an unknown precision": (
        lambda run: edit_identity(run, lambda identity: identity["model"].update(dtype="float128")),
        "identity.model.dtype is unknown",
    ),
    "another decoding": (
        lambda run: edit_identity(run, lambda identity: identity["decoding"].update(answers="best of 100")),
        "identity.decoding is not this benchmark's",
    ),
    "an unknown split": (
        lambda run: edit_identity(run, lambda identity: identity["dataset"].update(split="easy")),
        "identity.dataset.split is unknown: expected train, validation, test, found 'easy'",
    ),
    "a protocol that is none": (
        lambda run: edit_identity(run, lambda identity: identity.update(format=2, protocol={"name": "best-of-three"})),
        "identity.protocol is unknown: expected single, batch, sequential, found 'best-of-three'",
    ),
    "a line cut off": (cut, "records.jsonl:8: a line is cut off or too long"),
    "a line that is not JSON": (
        lambda run: (run.path / "records.jsonl").write_text("\n" + (run.path / "records.jsonl").read_text()),
        "records.jsonl:1: not JSON",
    ),
    "a link to a file elsewhere": (linked, "folder: something is no plain file: expected plain files alone"),
}  # fmt: skip


@pytest.mark.parametrize("kind", TAMPERED)
def test_a_tampered_run_is_refused_with_the_reason(check, copied, kind):
    tamper, reason = TAMPERED[kind]
    run = copied()
    tamper(run)
    code, lines = check(run.path)
    assert code == 1
    told = [line for line in lines if reason in line]
    assert told, lines
    assert all(line.startswith(str(run.path)) for line in told)
    assert lines[-1].startswith("1 run, ")


def test_the_floor_changes_no_answer(check, copied):
    run = copied("none")
    run.edit_entry(lambda entry: entry["outputs"]["generalisation"].update(after="changed"))
    code, lines = check(run.path)
    assert code == 1
    assert any("the floor changed an answer" in line for line in lines)


def test_a_case_and_its_hash_changed_together_are_found_by_the_dataset(check, copied, published):
    """The hash covers what the files say; only the dataset says what the cases are."""
    run = copied()
    entries = run.entries()
    entries[0]["case"]["neighbour_prompts"][1] = "Intent: nothing like it\nCode:"
    run.write(entries)
    (told,) = [line for line in check(run.path)[1] if "identity's hash" in line]
    digest = told.rpartition("'")[0].rpartition("'")[2]
    edit_identity(run, lambda identity: identity["dataset"].update(cases=digest))
    signature = json.loads((run.path / "summary.json").read_text())["signature"].split("|")
    line = "|".join(f"cases:{digest[:8]}" if part.startswith("cases:") else part for part in signature)
    run.edit("summary.json", lambda summary: summary.update(signature=line))
    assert check(run.path) == (0, ["1 run, no problems"]), "without the dataset nobody can tell"
    code, lines = check(run.path, "--dataset", published)
    assert code == 1
    assert [line.partition(": ")[2].partition(":")[0] for line in lines[:-1]] == [
        "case.neighbour_prompts is not the dataset's",
        "identity.dataset.cases is not the dataset's",
    ]
    assert "Intent: nothing like it" in lines[0]


def test_a_foreign_case_and_a_foreign_dataset(check, copied, published):
    run = copied()
    run.edit_entry(lambda entry: entry.update(id="cnle-ffffffffffffffff"))
    lines = check(run.path, "--dataset", published)[1]
    assert any("the case is not in the dataset" in line for line in lines)
    assert any("cases of the dataset are missing: expected all of them, found 1 missing" in line for line in lines)
    lines = check("--dataset", published.parent / "gone", run.path)
    assert lines[0] == 2
    assert "no dataset folder" in lines[1][0]


def test_runs_of_one_model_have_the_same_unedited_answers(check, copied, our_runs):
    first, second = copied("none"), copied("grace")
    assert check(first.path, second.path)[0] == 0
    entries = second.entries()
    entries[3]["outputs"]["effectiveness"]["before"] += "!"  # no score depends on it
    second.write(entries)
    assert check(second.path) == (0, ["1 run, no problems"])
    code, lines = check(first.path, second.path)
    assert code == 1
    assert f"the unedited answers are not those of another run: expected those of {first.path.name!r}" in lines[0]
    assert f"records.jsonl:4 (case {entries[3]['id']!r})" in lines[0]


def test_a_method_of_another_package_says_which(check, copied):
    run = copied()
    origin = {"name": "magic", "package": "magic-edit", "version": "1.2"}
    run.edit("run.json", lambda content: content["identity"]["method"].update(origin))
    (run.path / "x").mkdir()
    renamed(run)
    run.path = run.path.rename(run.path.with_name(run.path.name.replace("grace", "magic")))
    assert check(run.path) == (0, ["1 run, no problems"])


def test_shards_may_hold_the_same_case_but_not_another_result(check, copied):
    run = copied()
    lines = (run.path / "records.jsonl").read_text().splitlines(keepends=True)
    (run.path / "records.jsonl").unlink()
    for index, part in enumerate((lines[:5], lines[4:])):
        (run.path / f"records-{index}-of-2.jsonl").write_text("".join(part))
    assert check(run.path) == (0, ["1 run, no problems"])
    changed = json.loads(lines[4])
    changed["outputs"]["fluency"]["after"] += " and more"
    (run.path / "records-1-of-2.jsonl").write_text("".join([json.dumps(changed) + "\n", *lines[5:]]))
    told = check(run.path)[1]
    assert any("records-1-of-2.jsonl:1: a case occurs twice: expected one line" in line for line in told)


def test_a_run_in_the_cache_of_the_hub_is_a_run(check, copied, tmp_path):
    """There every file is a link to a blob."""
    run = copied()
    snapshot = tmp_path / "datasets--me--results" / "snapshots" / "4f2c" / run.path.name
    blobs = tmp_path / "datasets--me--results" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for file in list(run.path.iterdir()):
        file.rename(blobs / file.stem)
        (snapshot / file.name).symlink_to(blobs / file.stem)
    assert check(snapshot) == (0, ["1 run, no problems"])


def test_many_problems_of_a_kind_are_counted(check, copied):
    run = copied()
    entries = run.entries()
    numbered = [{**entry, "id": f"{entry['id']}{copy}"} for copy in range(3) for entry in entries]
    for entry in numbered:
        entry["cost"] = {**entry["cost"], "edit_seconds": -1}
    run.write(numbered)
    lines = check(run.path)[1]
    assert sum("cost.edit_seconds is impossible: expected" in line for line in lines) == 10
    assert any(line.endswith("cost.edit_seconds is impossible: 14 more") for line in lines)
    more = [int(line.split()[-2]) for line in lines if line.endswith(" more")]
    assert lines[-1] == f"1 run, {len(lines) - 1 - len(more) + sum(more)} problems"


def test_lines_that_are_too_long_are_passed_over(check, copied, monkeypatch):
    run = copied()
    lengths = sorted(len(line) + 1 for line in (run.path / "records.jsonl").read_bytes().splitlines())
    monkeypatch.setattr("clmeeval_data.evaluation.submission.lines.LONGEST_LINE", lengths[3])
    lines = check(run.path)[1]
    places = [
        number
        for number, line in enumerate((run.path / "records.jsonl").read_bytes().splitlines(), start=1)
        if len(line) + 1 > lengths[3]
    ]
    told = [line for line in lines if "a line is cut off or too long" in line]
    assert [int(line.partition("records.jsonl:")[2].partition(":")[0]) for line in told] == places
    assert any("expected 8 cases, found 4" in line for line in lines)


def test_nothing_of_a_hostile_run_reaches_the_terminal_as_it_is(check, copied):
    run = copied()
    run.edit_entry(lambda entry: entry.update(id="\x1b[2J\nall is well\u202e"))
    run.edit_entry(lambda entry: entry["case"].update(prompt="\x1b]0;owned\x07" + "x" * 10_000_000))
    lines = check(run.path)[1]
    assert len(lines) < 20
    assert all(line.isprintable() and len(line) < 1000 for line in lines)


def test_a_path_that_holds_no_run_is_an_error(check, tmp_path):
    code, lines = check(tmp_path)
    assert (code, len(lines)) == (2, 1)
    assert lines[0].startswith(f"error: no run in {tmp_path}. Expected run.json")
    assert check(tmp_path / "gone")[1][0].startswith("error: no results folder")


def test_the_check_loads_no_torch(our_runs, published):
    code = (
        "import sys; from pathlib import Path; from clmeeval_data.evaluation.submission.checking import Checker\n"
        "from clmeeval_data.evaluation.submission.checking import runs_below\n"
        "checker = Checker([sys.argv[2]]); found = [checker.check(run) for run in runs_below([Path(sys.argv[1])])]\n"
        "print(len(found), sum(len(run.problems) for run in found), *({'torch', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, our_runs, published],
        capture_output=True, text=True, check=True, cwd=Path(__file__).parents[3],
    )  # fmt: skip
    assert done.stdout.split() == ["2", "0"]


def test_the_runs_are_left_as_they_were(check, copied):
    run = copied()
    before = {path.name: path.read_bytes() for path in run.path.iterdir()}
    check(run.path)
    assert {path.name: path.read_bytes() for path in run.path.iterdir()} == before
