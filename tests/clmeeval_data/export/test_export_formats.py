"""What every format promises, and the files that a plain reading of each tool's loader finds."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest

from clmeeval_data.errors import DatasetError, UnknownNameError
from clmeeval_data.export import FORMATS, export_dataset
from clmeeval_data.records import BENCHMARKS, CNLE, SPLITS
from clmeeval_data.storage import write_dataset

TEMPLATES = {"cnle": "Intent: {}\nCode:", "csne": "Code: {}\nDescription:"}
FIELDS = {"cnle": ("intent", "rewritten_intent", "snippet"), "csne": ("code", "code_rewrite", "code_doc")}


@pytest.fixture(params=BENCHMARKS)
def built(request, cnle_folder, cnle_splits, csne_folder, csne_splits):
    """A dataset of either benchmark: its name, its folder, its records."""
    return {"cnle": ("cnle", cnle_folder, cnle_splits), "csne": ("csne", csne_folder, csne_splits)}[request.param]


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def load(path):
    return json.loads(path.read_text(encoding="utf-8"))


# Every format


@pytest.mark.parametrize("form", FORMATS)
def test_the_same_dataset_gives_the_same_bytes_and_nothing_is_left_beside(built, tmp_path, form):
    _, folder, _ = built
    before = contents(folder)
    first = export_dataset(folder, form, out=tmp_path / "first")
    again = export_dataset(folder, form, out=tmp_path / "again")
    assert contents(tmp_path / "first") == contents(tmp_path / "again")
    assert sorted(contents(tmp_path / "first")) == sorted(str(path.relative_to(tmp_path / "first")) for path in first)
    assert len(again) == len(first) >= 3
    export_dataset(folder, form, out=tmp_path / "first")
    assert contents(tmp_path / "first") == contents(tmp_path / "again")
    assert contents(folder) == before


@pytest.mark.parametrize("form", FORMATS)
def test_a_folder_beside_the_dataset_is_the_default(cnle_folder, form, monkeypatch):
    monkeypatch.chdir(cnle_folder)
    paths = export_dataset(cnle_folder.relative_to(cnle_folder), form, ["test"])
    assert all(path.is_relative_to(cnle_folder.parent / f"cnle-{form}") for path in paths)


@pytest.mark.parametrize("form", FORMATS)
def test_only_the_splits_that_were_asked_for(built, tmp_path, form):
    _, folder, splits = built
    paths = export_dataset(folder, form, ["test", "train", "test"], tmp_path / "out")
    assert [path.stem for path in paths if path.stem != "all"] == ["train", "test"]
    text = "".join(path.read_text(encoding="utf-8") for path in paths)
    assert all((record.case_id in text) == (split != "validation") for split in SPLITS for record in splits[split])


@pytest.mark.parametrize(("form", "encoding"), [("jsonl", "utf-8"), ("easyedit", "ascii"), ("code-llmedit", "ascii")])
def test_text_is_read_in_the_encoding_that_a_tool_assumes(cnle_folder, tmp_path, form, encoding):
    for path in export_dataset(cnle_folder, form, out=tmp_path):
        text = path.read_bytes().decode(encoding)
        first = text.splitlines()[0 if form == "jsonl" else 1].removesuffix(",")
        assert "name the Gemüse – 野菜" in json.dumps(json.loads(first), ensure_ascii=False)
        assert "\r" not in text
        assert ("野菜" in text) == (form == "jsonl")


# What can go wrong


def test_an_unknown_format_or_split(cnle_folder, tmp_path):
    with pytest.raises(UnknownNameError, match=r"unknown format 'easyedt'\. Did you mean 'easyedit'\?"):
        export_dataset(cnle_folder, "easyedt", out=tmp_path / "out")
    with pytest.raises(DatasetError, match=r"unknown split 'dev'\. Known: train, validation, test\."):
        export_dataset(cnle_folder, "jsonl", ["dev"], tmp_path / "out")
    with pytest.raises(DatasetError, match="no split to export"):
        export_dataset(cnle_folder, "jsonl", [], tmp_path / "out")
    with pytest.raises(DatasetError, match="no dataset folder"):
        export_dataset(tmp_path / "none", "jsonl", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_damaged_split_writes_nothing(cnle_folder, tmp_path):
    (cnle_folder / "data" / "test-00000-of-00001.parquet").write_bytes(b"PAR1")
    with pytest.raises(DatasetError, match="truncated or damaged"):
        export_dataset(cnle_folder, "jsonl", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_made(cnle_folder, tmp_path):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(DatasetError, match=r"cannot write .*train\.jsonl: .*Choose another --out"):
        export_dataset(cnle_folder, "jsonl", out=tmp_path / "out")
    assert (tmp_path / "out").read_text() == "a file"


def test_a_number_that_json_does_not_have_leaves_the_file_that_was_there(cnle_splits, tmp_path):
    first = cnle_splits["test"][0]
    near = replace(first.neighborhood[0], similarity=float("nan"))
    cnle_splits["test"][0] = replace(first, neighborhood=(near,))
    write_dataset(tmp_path / "d", CNLE, cnle_splits, {})
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "test.jsonl").write_text("old")
    with pytest.raises(DatasetError, match=r"can't be written to .*test\.jsonl .*clmeeval-build validate"):
        export_dataset(tmp_path / "d", "jsonl", ["test"], tmp_path / "out")
    assert contents(tmp_path / "out") == {"test.jsonl": b"old"}


def test_a_layout_is_one_row_a_line(cnle_folder, tmp_path):
    lines = export_dataset(cnle_folder, "easyedit", ["test"], tmp_path)[0].read_text(encoding="utf-8").splitlines()
    assert (lines[0], lines[-1]) == ("[", "]")
    assert [json.loads(line.removesuffix(","))["case_id"] for line in lines[1:-1]]


# code-llmedit: codellmeditor/dataset/clme_dataset.py


def prepare_requests(path, model):
    """The requests that code-llmedit makes of a file, with its field names and templates."""
    name = "csne" if "CodeSearchNet" in str(path) else "cnle" if "Conala" in str(path) else ""
    prompt, rephrased, target = FIELDS[name]
    return [
        {
            "case_id": data["case_id"],
            "prompt": TEMPLATES[name].format(data["edit_request"][prompt]),
            "target_new": data["edit_request"][target],
            "rephrase_prompt": TEMPLATES[name].format(data["edit_request"][rephrased]),
            "specificity": {
                "prompts": [TEMPLATES[name].format(item[prompt]) for item in data["neighborhoods"]["items"]],
                "ground_truth": data["neighborhoods"]["answers"][model],
            },
        }
        for data in load(path)
    ]


def test_code_llmedit_finds_its_files_and_fields(built, tmp_path):
    name, folder, splits = built
    prompt, rephrased, target = FIELDS[name]
    out = tmp_path / "out"
    export_dataset(folder, "code-llmedit", out=out)
    data_set = {"cnle": "EditConala", "csne": "EditCodeSearchNet"}[name]
    assert sorted(contents(out)) == [f"{data_set}/{each}.json" for each in ("all", "test", "train", "validation")]

    path = out / data_set / "all.json"
    cases = load(path)
    for case in cases:
        assert case["neighborhoods"]["answers"] == {}
        case["neighborhoods"]["answers"]["CodeLlama-7b-hf"] = ["x"] * len(case["neighborhoods"]["items"])
    path.write_text(json.dumps(cases), encoding="utf-8")
    records = [record for split in SPLITS for record in splits[split]]
    for request, record in zip(prepare_requests(path, "CodeLlama-7b-hf"), records, strict=True):
        assert request["case_id"] == record.case_id
        assert request["prompt"] == TEMPLATES[name].replace("{}", getattr(record, prompt))
        assert request["rephrase_prompt"] == TEMPLATES[name].replace("{}", getattr(record, rephrased))
        assert request["target_new"] == getattr(record, target)
        assert request["specificity"]["prompts"] == [
            TEMPLATES[name].replace("{}", getattr(near, prompt)) for near in record.neighborhood
        ]


def test_a_case_of_code_llmedit_is_in_the_released_form(csne_folder, csne_splits, tmp_path):
    export_dataset(csne_folder, "code-llmedit", ["test"], tmp_path)
    case, record = load(tmp_path / "EditCodeSearchNet" / "test.json")[0], csne_splits["test"][0]
    assert case == {
        "case_id": record.case_id,
        "edit_request": {"code": record.code, "code_rewrite": record.code_rewrite, "code_doc": record.code_doc},
        "neighborhoods": {"items": [{"code": "def half(x):\n    return x / 2\n"}], "answers": {}},
        "clmeeval": {
            "neighborhood": [{"code_doc": "Halve a number.", "similarity": 71.25}],
            "func_name": record.func_name,
            "provenance": {
                "source": "stdlib",
                "origin": record.provenance.origin,
                "group": record.provenance.group,
                "licence": "PSF-2.0",
            },
            "rephrasing": {"engine": "rename", "model": "", "version": "1"},
        },
    }


# EasyEdit: easyeditor/editors/utils.py, easyeditor/evaluate/evaluate.py, easyeditor/dataset/knowedit.py


def prepared(prompts, target_new, rephrase_prompts, subject, locality_inputs):
    """EasyEdit's requests made of lists, as ``edit`` makes them."""
    assert all(each in prompt for each, prompt in zip(subject, prompts, strict=True))
    requests = []
    for i, prompt in enumerate(prompts):
        requests.append(
            {
                "prompt": prompt,
                "target_new": target_new[i],
                "ground_truth": "<|endoftext|>",
                "portability": {},
                "locality": {},
                "subject": subject[i],
                "rephrase_prompt": rephrase_prompts[i],
            }
        )
        for key, inputs in locality_inputs.items():
            if inputs["prompt"][i] is not None:
                requests[i]["locality"][key] = {name: inputs[name][i] for name in ("prompt", "ground_truth")}
    return requests


def test_easyedit_requests_are_those_that_edit_makes_of_lists(built, tmp_path):
    name, folder, splits = built
    prompt, rephrased, target = FIELDS[name]
    out = tmp_path / "out"
    export_dataset(folder, "easyedit", out=out)
    assert sorted(contents(out)) == ["test.json", "train.json", "validation.json"]

    def asked(text):
        return TEMPLATES[name].replace("{}", text)

    for split in SPLITS:
        records = splits[split]
        expected = prepared(
            prompts=[asked(getattr(record, prompt)) for record in records],
            target_new=[getattr(record, target) for record in records],
            rephrase_prompts=[asked(getattr(record, rephrased)) for record in records],
            subject=[getattr(record, prompt) for record in records],
            locality_inputs={
                "neighborhood": {
                    "prompt": [[asked(getattr(near, prompt)) for near in each.neighborhood] for each in records],
                    "ground_truth": [[getattr(near, target) for near in each.neighborhood] for each in records],
                }
            },
        )
        found = load(out / f"{split}.json")
        assert [request.pop("case_id") for request in found] == [record.case_id for record in records]
        assert found == expected


def test_what_is_left_of_an_easyedit_prompt_without_its_subject_is_the_template(built, tmp_path):
    name, folder, _ = built
    for request in load(export_dataset(folder, "easyedit", ["test"], tmp_path)[0]):
        assert request["prompt"].replace(request["subject"], "{}") == TEMPLATES[name]


def test_a_case_without_neighbours_has_no_locality(cnle_splits, tmp_path):
    cnle_splits["test"][0] = replace(cnle_splits["test"][0], neighborhood=())
    write_dataset(tmp_path / "d", CNLE, cnle_splits, {})
    lone, other, _ = load(export_dataset(tmp_path / "d", "easyedit", ["test"], tmp_path / "out")[0])
    assert lone["locality"] == {}
    assert list(other["locality"]) == ["neighborhood"]


# jsonl


def test_json_lines_are_our_records(built, tmp_path):
    name, folder, splits = built
    for path in export_dataset(folder, "jsonl", out=tmp_path):
        lines = path.read_text(encoding="utf-8").splitlines()
        assert [BENCHMARKS[name].from_row(json.loads(line)) for line in lines] == splits[path.stem]


# The command

MAIN = """
import typer
from clmeeval_data.builders.export_command import add_to
from clmeeval_data.shell import run_app
app = typer.Typer()
app.callback()(lambda: None)
add_to(app)
run_app(app)
"""


def run(*arguments):
    command = [sys.executable, "-c", MAIN, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_command_names_the_files_that_it_wrote(csne_folder, tmp_path, root, monkeypatch):
    monkeypatch.chdir(root)
    done = run("export", csne_folder, "--format", "easyedit", "--split", "test", "--out", tmp_path / "out")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{tmp_path / 'out' / 'test.json'}\n"
    assert len(load(tmp_path / "out" / "test.json")) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--format", "csv"], "error: unknown format 'csv'. Known: code-llmedit, easyedit, jsonl."),
        (["--format", "jsonl", "--split", "tset"], "error: unknown split 'tset'. Known: train, validation, test."),
        ([], "error: Missing option '--format'"),
    ],
)
def test_the_command_says_in_one_line_what_is_wrong(csne_folder, root, monkeypatch, arguments, message):
    monkeypatch.chdir(root)
    done = run("export", csne_folder, *arguments)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert message in done.stderr
