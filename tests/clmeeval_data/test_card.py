import re
from dataclasses import replace

import pytest
from datasets.info import DatasetInfosDict
from huggingface_hub import DatasetCard
from jinja2 import UndefinedError

from clmeeval_data.card import Funnel, Share, Spread, Step, funnel_of, measure, render_card
from clmeeval_data.errors import DatasetError
from clmeeval_data.records import BENCHMARKS, CNLE, SPLITS, Provenance, Rephrasing
from clmeeval_data.schema import features
from clmeeval_data.storage import read_manifest, write_dataset

FUNNEL = {
    "read": 40,
    "kept": 9,
    "dropped": [
        {"step": "length", "reason": "too short", "count": 5},
        {"step": "length", "reason": "too long", "count": 6},
        {"step": "a | b", "reason": "the same", "count": 20},
    ],
}


@pytest.fixture
def mixed(tmp_path, cnle_splits):
    """A dataset of two sources, three licences and two engines."""
    first, second, _ = cnle_splits["train"]
    cnle_splits["train"][0] = replace(first, provenance=Provenance("so | q&a", "x", "g1", "PSF-2.0"))
    cnle_splits["train"][1] = replace(second, provenance=Provenance("sample", "y", "g2", "GPL-3.0-or-later"))
    cnle_splits["test"][0] = replace(cnle_splits["test"][0], rephrasing=Rephrasing("chat", "deepseek-flash", "2"))
    write_dataset(tmp_path / "mixed", CNLE, cnle_splits, {})
    return tmp_path / "mixed"


def rows_of(splits):
    return {split: [CNLE.to_row(record) for record in splits[split]] for split in SPLITS}


def table(text, heading):
    """The cells of the table under a heading of a card, without its head."""
    section = text.split(f"## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


@pytest.mark.parametrize("name", BENCHMARKS)
def test_metadata_describes_the_columns_and_splits_as_datasets_reads_them(name, request):
    folder = request.getfixturevalue(f"{name}_folder")
    info = DatasetInfosDict.from_directory(str(folder))["default"]
    assert info.features == features(BENCHMARKS[name])
    assert {split: info.splits[split].num_examples for split in SPLITS} == dict.fromkeys(SPLITS, 3)
    assert info.download_size == sum(path.stat().st_size for path in (folder / "data").iterdir())


def test_metadata_for_the_hub(mixed):
    metadata = DatasetCard.load(mixed / "README.md").data.to_dict()
    assert metadata["pretty_name"] == "CNLE (CoNaLa-Edit)"
    assert metadata["language"] == ["en", "code"]
    assert metadata["license"] == ["cc-by-sa-4.0", "gpl-3.0", "other"]
    assert metadata["license_name"] == "PSF-2.0"
    assert metadata["task_categories"] == ["text-generation"]
    assert metadata["size_categories"] == ["n<1K"]
    assert {"model-editing", "code-generation"} <= set(metadata["tags"])
    assert metadata["configs"] == [
        {
            "config_name": "default",
            "data_files": [{"split": split, "path": f"data/{split}-*"} for split in SPLITS],
        }
    ]


def test_metadata_without_unknown_licences_has_no_licence_name(cnle_folder):
    metadata = DatasetCard.load(cnle_folder / "README.md").data.to_dict()
    assert metadata["license"] == ["cc-by-sa-4.0"]
    assert "license_name" not in metadata


@pytest.mark.parametrize(
    ("total", "category"), [(999, "n<1K"), (1_000, "1K<n<10K"), (10_000, "10K<n<100K"), (2_000_000, "1M<n<10M")]
)
def test_size_category(cnle_splits, total, category):
    facts = replace(measure(CNLE, rows_of(cnle_splits)), total=total)
    text = render_card(CNLE, facts, {"versions": {"clmeeval-data": "0"}})
    assert f"size_categories: [{category}]\n" in text


def test_counts_are_measured(mixed):
    text = (mixed / "README.md").read_text(encoding="utf-8")
    hashes = read_manifest(mixed)["splits"]
    assert table(text, "Splits") == [
        *([split, "3", f"`{hashes[split]['sha256']}`"] for split in SPLITS),
        ["all", "9", "-"],
    ]
    assert table(text, "Sources and licences") == [
        ["sample", "CC-BY-SA-4.0", "7", "77.8 %"],
        ["sample", "GPL-3.0-or-later", "1", "11.1 %"],
        ["so \\| q&a", "PSF-2.0", "1", "11.1 %"],
    ]
    assert table(text, "How the rephrasings were made") == [
        ["human", "-", "1", "8", "88.9 %"],
        ["chat", "deepseek-flash", "2", "1", "11.1 %"],
    ]
    assert "9 cases come from 9 groups;\nno group is in more than one split." in text


def test_facts(cnle_splits):
    last = cnle_splits["test"][2]
    cnle_splits["test"][2] = replace(last, snippet="x" * 500, provenance=cnle_splits["train"][0].provenance)
    cnle_splits["test"][1] = replace(cnle_splits["test"][1], neighborhood=())
    facts = measure(CNLE, rows_of(cnle_splits))
    assert (facts.total, facts.groups, facts.shared_groups) == (9, 8, 1)
    assert facts.counts == dict.fromkeys(SPLITS, 3)
    assert facts.sources == [Share(("sample", "CC-BY-SA-4.0"), 9, 1.0)]
    assert facts.spreads == [
        Spread("intent", 28, 28, 28, 28),
        Spread("rewritten_intent", 36, 36, 36, 36),
        Spread("snippet", 20, 20, 500, 500),
        Spread("neighborhood", 0, 2, 2, 2),
    ]


def test_the_95th_percentile_is_not_the_largest_of_many(cnle_splits):
    cnle_splits["train"] = [replace(cnle_splits["train"][0], intent="x" * length) for length in range(1, 95)]
    facts = measure(CNLE, rows_of(cnle_splits))
    assert facts.spreads[0] == Spread("intent", 1, 44, 89, 94)  # of 100: 1 to 94, and six more of 28


@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_column_is_documented_in_order(name, request):
    text = (request.getfixturevalue(f"{name}_folder") / "README.md").read_text(encoding="utf-8")
    assert [row[0].strip("`") for row in table(text, "Fields")] == list(features(BENCHMARKS[name]))


def test_a_card_says_how_to_load_rebuild_and_cite(cnle_folder, csne_folder):
    text = (csne_folder / "README.md").read_text(encoding="utf-8")
    for expected in (
        'load_dataset("clmeeval/csne")',
        "clmeeval_data.load_csne()",
        "```bash\nclmeeval-build csne --seed 0\n```",
        "```text\nCode: {code}\nDescription:\n```",
        "- Made up for the tests.",
        "arXiv:2411.06638",
        "schema version 1.0",
    ):
        assert expected in text
    assert "Intent: {intent}\nCode:\n" in (cnle_folder / "README.md").read_text(encoding="utf-8")


def test_a_dataset_without_a_command_says_nothing_of_one(mixed):
    text = (mixed / "README.md").read_text(encoding="utf-8")
    assert "```bash" not in text
    assert "`manifest.json` has the settings" in text


def test_a_name_that_a_template_lacks_is_an_error(cnle_splits):
    with pytest.raises(UndefinedError):
        render_card(CNLE, measure(CNLE, rows_of(cnle_splits)), {})


def test_a_limit_is_text_and_not_a_template(tmp_path, cnle_splits):
    write_dataset(tmp_path / "d", CNLE, cnle_splits, {"limits": ["{{ 6 * 7 }} <b> & 'so'"]})
    assert "- {{ 6 * 7 }} <b> & 'so'\n" in (tmp_path / "d" / "README.md").read_text(encoding="utf-8")


def test_the_funnel_is_told_by_step(tmp_path, cnle_splits):
    files = [{"address": "a.jsonl", "size": 700}, {"address": "b.jsonl", "size": 34}]
    sources = [{"name": "mine", "summary": "my | own", "files": files}, {"name": "none", "summary": "", "files": []}]
    write_dataset(tmp_path / "d", CNLE, cnle_splits, {"funnel": FUNNEL, "sources": sources})
    text = (tmp_path / "d" / "README.md").read_text(encoding="utf-8")
    assert "40 rows were read, 31 were dropped, and 9 became cases." in text
    section = text.split("## How it was built\n")[1].split("\n## ")[0]
    steps, files = section.split("The rows come from these files:")
    assert [line for line in steps.splitlines() if line.startswith("|")] == [
        "| step | rows dropped | rows left |",
        "|---|---:|---:|",
        "| read | - | 40 |",
        "| length | 11 | 29 |",
        "| a \\| b | 20 | 9 |",
        "| kept | - | 9 |",
    ]
    assert files.strip().splitlines()[2:] == ["| mine | my \\| own | 2 | 734 |", "| none | - | 0 | 0 |"]


def test_a_dataset_that_was_not_built_from_rows_has_no_funnel(mixed):
    text = (mixed / "README.md").read_text(encoding="utf-8")
    assert "How it was built" not in text
    assert funnel_of({}, 9) is None


def test_funnels():
    assert funnel_of({"funnel": FUNNEL}, 9) == Funnel(40, [Step("length", 11, 29), Step("a | b", 20, 9)], 9)
    assert funnel_of({"funnel": {"read": 3, "kept": 3, "dropped": []}}, 3) == Funnel(3, [], 3)


@pytest.mark.parametrize(
    ("funnel", "message"),
    [
        ({**FUNNEL, "read": 41}, "41 rows read, 31 dropped, 9 kept, and 9 cases in the dataset"),
        ({**FUNNEL, "kept": 8, "read": 39}, "39 rows read, 31 dropped, 8 kept, and 9 cases"),
        ({"read": 1, "kept": 1}, "can't be read \\(KeyError\\('dropped'\\)\\)"),
        ({**FUNNEL, "dropped": [3]}, "can't be read \\(TypeError"),
        ({**FUNNEL, "read": "many"}, "can't be read \\(ValueError"),
        (None, "can't be read"),
    ],
)
def test_a_funnel_that_does_not_fit_the_cases_is_an_error_and_nothing_is_written(
    tmp_path, cnle_splits, funnel, message
):
    with pytest.raises(DatasetError, match=message):
        write_dataset(tmp_path / "d", CNLE, cnle_splits, {"funnel": funnel})
    assert list(tmp_path.iterdir()) == []


def test_cases_without_a_known_licence_are_a_limit(tmp_path, cnle_splits, mixed):
    for place in (0, 2):
        case = cnle_splits["test"][place]
        unknown = replace(case.provenance, licence="LicenseRef-unknown")
        cnle_splits["test"][place] = replace(case, provenance=unknown)
    write_dataset(tmp_path / "d", CNLE, cnle_splits, {})
    text = (tmp_path / "d" / "README.md").read_text(encoding="utf-8")
    assert "- The licence of 2 of the 9 cases is not known (`LicenseRef-unknown`).\n" in text
    assert "is not known" not in (mixed / "README.md").read_text(encoding="utf-8")


def test_tasks(cnle_folder, csne_folder):
    tasks = [
        DatasetCard.load(each / "README.md").data.to_dict()["task_categories"] for each in (cnle_folder, csne_folder)
    ]
    assert tasks == [["text-generation"], ["text-generation", "summarization"]]


def test_types_of_columns(csne_folder):
    text = (csne_folder / "README.md").read_text(encoding="utf-8")
    types = {row[0].strip("`"): row[1] for row in table(text, "Fields")}
    assert types == {
        "case_id": "string",
        "func_name": "string",
        "code": "string",
        "code_rewrite": "string",
        "code_doc": "string",
        "neighborhood": "list of {`code`, `code_doc`, `similarity`}",
        "provenance": "{`source`, `origin`, `group`, `licence`}",
        "rephrasing": "{`engine`, `model`, `version`}",
    }
