"""The report of a dataset's funnel: read from the manifest, as a table and as a picture."""

import json

import pytest
from rich.console import Console

from clmeeval_data.builders import report as reporting
from clmeeval_data.builders.report import Reason, Report, Stage, draw, report
from clmeeval_data.errors import DatasetError
from clmeeval_data.storage import MANIFEST

FUNNEL = {
    "read": 1000,
    "kept": 250,
    "dropped": [
        {"step": "length", "reason": "prompt too long", "count": 400},
        {"step": "length", "reason": "target too short", "count": 100},
        {"step": "syntax", "reason": "does not parse", "count": 250},
    ],
}


def write(folder, **changes):
    folder.mkdir(exist_ok=True)
    manifest = {"benchmark": "cnle", "recipe": {"name": "cnle-sample"}, "funnel": FUNNEL, **changes}
    (folder / MANIFEST).write_text(json.dumps(manifest))
    return folder


@pytest.fixture
def found(tmp_path):
    return report(write(tmp_path / "data"))


def shown(table):
    console = Console(width=100, force_terminal=False)
    with console.capture() as captured:
        console.print(table)
    return captured.get()


def test_a_report_is_read_from_the_manifest(found):
    assert (found.title, found.read, found.kept) == ("cnle-sample", 1000, 250)
    assert found.reasons[2] == Reason("syntax", "does not parse", 250)
    assert found.stages() == [Stage("length", 500, 500), Stage("syntax", 250, 250)]


def test_the_table_has_a_row_for_each_reason(found):
    lines = [[cell.strip() for cell in line.strip("│").split("│")] for line in shown(found.table()).splitlines()]
    assert ["length", "prompt too long", "400", "40.0%"] in lines
    assert ["syntax", "does not parse", "250", "25.0%"] in lines
    assert lines[-2] == ["kept", "", "250", "25.0%"]


def test_nothing_read_is_no_error(tmp_path):
    empty = Report("empty", 0, 0, ())
    assert empty.share(0) == 0.0
    assert empty.stages() == []
    draw(empty, tmp_path / "funnel.svg")


def test_the_picture_shows_what_is_left_after_each_step(found, tmp_path):
    draw(found, tmp_path / "one.svg")
    text = (tmp_path / "one.svg").read_text()
    for label in (
        "cnle-sample: 250 of 1000 rows are left",
        "read",
        "length",
        "syntax",
        "1000",
        "500  −500",
        "250  −250",
    ):
        assert f">{label}</text>" in text
    draw(found, tmp_path / "two.svg")
    assert (tmp_path / "two.svg").read_text() == text


def test_the_bars_are_as_long_as_the_rows_are_many(found, tmp_path, monkeypatch):
    from matplotlib.axes import Axes

    bars = []
    drawn = Axes.barh
    monkeypatch.setattr(Axes, "barh", lambda axes, *args, **options: bars.append(drawn(axes, *args, **options)))
    draw(found, tmp_path / "one.svg")
    left, gone = ([(bar.get_x(), bar.get_width()) for bar in group] for group in bars)
    assert left == [(0, 1000), (0, 500), (0, 250)]
    assert gone == [(1000, 0), (500, 500), (250, 250)]


@pytest.mark.parametrize(("name", "start"), [("a.png", b"\x89PNG"), ("b.PDF", b"%PDF"), ("c.svg", b"<?xml")])
def test_the_name_decides_the_form(found, tmp_path, name, start):
    draw(found, tmp_path / name)
    assert (tmp_path / name).read_bytes().startswith(start)
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == [name]


def test_another_form_is_refused(found, tmp_path):
    with pytest.raises(DatasetError, match=r"can't draw funnel\.html: its name must end in \.svg, \.png or \.pdf"):
        draw(found, tmp_path / "funnel.html")


def test_a_picture_that_cannot_be_written_is_an_error(found, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(DatasetError, match=r"cannot write .*funnel\.svg"):
        draw(found, tmp_path / "file" / "funnel.svg")


@pytest.mark.parametrize(
    "funnel",
    [
        None,
        {},
        {"read": 3, "kept": 1, "dropped": []},
        {"read": "many", "kept": 1, "dropped": []},
        {"read": 1, "kept": 1, "dropped": [{"step": "a"}]},
        {"read": 1, "kept": 1, "dropped": 7},
    ],
)
def test_a_manifest_without_a_sound_funnel_is_an_error(tmp_path, funnel):
    folder = write(tmp_path / "data", funnel=funnel)
    with pytest.raises(DatasetError, match=r"has no readable funnel .* build the dataset again"):
        report(folder)


def test_a_folder_that_is_no_dataset_is_an_error(tmp_path):
    with pytest.raises(DatasetError, match="no dataset folder"):
        report(tmp_path / "none")
    with pytest.raises(DatasetError, match="not a dataset of ours"):
        report(tmp_path)


def test_without_a_recipe_the_benchmark_is_the_title(tmp_path):
    assert report(write(tmp_path / "data", recipe=None)).title == "cnle"


def test_importing_the_report_draws_nothing():
    assert "matplotlib" not in vars(reporting)
