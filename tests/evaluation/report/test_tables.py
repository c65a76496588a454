import csv
import io
import json

import pytest
from rich.console import Console

from clmeeval_data.errors import ResultsError
from clmeeval_data.evaluation.report.runs import load_runs
from clmeeval_data.evaluation.report.tables import Column, build_tables, further_columns
from clmeeval_data.evaluation.report.text import csv_text, markdown, terminal
from clmeeval_data.evaluation.scoring.metrics import text_scores
from clmeeval_data.evaluation.scoring.significance import Estimate
from clmeeval_data.evaluation.scoring.summary import summarise

EFFECTIVENESS = ("effectiveness", "exact_match")
MISSED = "print(1)"


def only_table(results):
    (table,) = build_tables(load_runs([results]))
    return table


def rows_by_label(table):
    return {row.label: row for row in table.rows}


def test_comparable_runs_share_a_table_and_the_floor_stands_last(four_methods, results):
    table = only_table(results)
    assert (table.dataset, table.model, table.differs) == ("cnle", "tiny", ())
    assert [row.label for row in table.rows] == ["grace", "rome", "ft", "none"]
    assert table.title == "CNLE · tiny"


def test_a_complete_run_shows_its_summary(four_methods, results):
    summary = four_methods["rome"].summary()
    row = rows_by_label(only_table(results))["rome"]
    for column in only_table(results).columns()[:-1]:
        dimension, metric = column.measure
        raw = summary["cost"][metric] if dimension == "cost" else summary["scores"][dimension][metric]
        assert row.estimate(column).as_dict() == raw
    assert row.run.estimates["cost", "peak_bytes"].mean == 1_500_000_000
    assert row.status == "6/6, 1 failed"


def test_an_incomplete_run_is_aggregated_from_its_journal(four_methods, results):
    row = rows_by_label(only_table(results))["ft"]
    expected = summarise(four_methods["ft"].journal.read().values(), 6)
    assert row.status == "3/6, incomplete"
    for metric, raw in expected["scores"]["generalisation"].items():
        assert row.run.estimates["generalisation", metric].as_dict() == raw


def in_sequence(entry, number, learnt):
    """A case of a sequence whose answer right after its edit was the target, or was not."""
    target = entry["case"]["target"]
    at_once = target if learnt else MISSED
    outputs = {"effectiveness": {"before": MISSED, "after": at_once}}
    scores = {"effectiveness": text_scores(at_once, target, code=True)}
    return {**entry, "group": {"index": 0, "position": number, "size": 20}, "checkpoints": []} | {
        "right_after": {"outputs": outputs, "scores": scores}
    }


def test_a_sequence_shows_effectiveness_right_after_the_edit_and_what_is_lost(write_run, entry, results):
    protocol = {"name": "sequential", "size": 20, "checkpoints": [20]}
    hits, misses = [entry(i) for i in range(12)], [entry(i, after=MISSED) for i in range(12)]
    kept = [in_sequence(one, i, True) for i, one in enumerate(hits)]
    lost = [in_sequence(one, i, True) for i, one in enumerate([*hits[:3], *misses[3:]])]
    never = [in_sequence(one, i, False) for i, one in enumerate(misses)]
    for method, entries in (("grace", kept), ("rome", lost), ("ft", never)):
        write_run(method, entries, protocol=protocol)
    table = only_table(results)
    by_group = {column.group: column for column in (*table.columns(), *table.columns(further_columns()))}
    right, forgetting = by_group["right after"], by_group["forgetting"]
    shown = {row.label: (row.estimate(right).mean, row.estimate(forgetting).mean) for row in table.rows}
    assert shown == {"grace": (1, 0), "rome": (1, 0.75), "ft": (0, 0)}
    marked = {label for label, row in rows_by_label(table).items() if right.measure in row.best}
    assert marked == {"grace", "rome"}
    assert not any(forgetting.measure in row.best for row in table.rows), "who learns nothing forgets nothing"
    assert [row.label for row in table.rows] == ["grace", "rome", "ft"], "in the order of what stands at the end"
    assert "Right after EM" in markdown([table])
    for width, heading in ((160, "right after"), (80, " after ↑")):
        console = Console(width=width, record=True, file=io.StringIO())
        console.print(terminal([table], width))
        assert heading in console.export_text()
    assert "right_after.exact_match.mean,right_after.exact_match.low" in csv_text([table])


def test_tables_of_single_edits_have_nothing_about_sequences(four_methods, results):
    table = only_table(results)
    columns = (*table.columns(), *table.columns(further_columns()))
    assert not {"right after", "forgetting"} & {column.group for column in columns}


def test_a_run_that_has_not_finished_a_case_is_a_row_of_dashes(write_run, results):
    write_run("rome", [], total=4)
    table = only_table(results)
    assert table.rows[0].status == "0/4, incomplete"
    assert table.columns() == []
    assert "0/4" in markdown([table])


@pytest.mark.parametrize("other", [{"dtype": "bfloat16"}, {"total": 6}, {"model": "small"}, {"dataset": "csne"}])
def test_runs_that_are_not_comparable_never_share_a_table(write_run, entry, results, other):
    write_run("grace", [entry(i) for i in range(5)])
    write_run("rome", [entry(i) for i in range(5)], **other)
    tables = build_tables(load_runs([results]))
    assert [len(table.rows) for table in tables] == [1, 1]
    assert tables[0].signature != tables[1].signature


def test_tables_of_one_model_say_what_tells_them_apart(write_run, entry, results):
    for method, dtype in (("grace", "float32"), ("rome", "float32"), ("rome", "bfloat16")):
        write_run(method, [entry(1)], dtype=dtype)
    first, second = build_tables(load_runs([results]))
    assert (first.differs, second.differs) == (("dtype:float32",), ("dtype:bfloat16",))
    assert len(first.rows) == 2


def test_two_configurations_of_a_method_are_told_apart(write_run, entry, results):
    write_run("grace", [entry(1)], config={"layer": 12, "lr": 0.3})
    write_run("grace", [entry(1)], config={"layer": 25, "lr": 0.3})
    assert sorted(row.label for row in only_table(results).rows) == ["grace (layer 12)", "grace (layer 25)"]


def test_the_same_run_in_two_places_has_two_labels_and_in_one_place_one_row(write_run, entry, results, tmp_path):
    write_run("grace", [entry(1)])
    write_run("grace", [entry(1)], under=tmp_path / "copy")
    (table,) = build_tables(load_runs([results, results / "cnle", tmp_path / "copy"]))
    labels = [row.label for row in table.rows]
    assert len(labels) == len(set(labels)) == 2


def bold(results, measure=EFFECTIVENESS):
    return {row.label for row in only_table(results).rows if measure in row.best}


def test_the_best_is_marked_where_it_beats_the_others_on_the_same_cases(write_run, entry, results):
    write_run("grace", [entry(i) for i in range(8)])
    write_run("rome", [entry(i, after="x") for i in range(8)])
    assert bold(results) == {"grace"}


def test_nothing_is_marked_where_the_next_cannot_be_told_apart(write_run, entry, results):
    write_run("grace", [entry(i) for i in range(8)])
    write_run("rome", [entry(i, after="x" if i == 0 else "sorted(values, key=len, reverse=True)") for i in range(8)])
    assert bold(results) == set()


def test_equal_bests_are_marked_together(write_run, entry, results):
    write_run("grace", [entry(i) for i in range(8)])
    write_run("agrace", [entry(i) for i in range(8)])
    write_run("rome", [entry(i, after="x") for i in range(8)])
    assert bold(results) == {"grace", "agrace"}


def test_equal_runs_leave_nothing_to_mark(write_run, entry, results):
    write_run("grace", [entry(i) for i in range(8)])
    write_run("agrace", [entry(i) for i in range(8)])
    assert bold(results) == set()


def test_costs_are_not_marked_since_the_edits_of_a_batch_share_one_time(write_run, entry, results):
    slow = [entry(i) for i in range(8)]
    for line in slow:
        line["cost"] = {**line["cost"], "edit_seconds": 50.0}
    write_run("rome", slow)
    write_run("grace", [entry(i) for i in range(8)])
    assert bold(results, ("cost", "edit_seconds")) == set()


def test_the_floor_is_never_marked(write_run, entry, results):
    write_run("none", [entry(i) for i in range(8)])
    write_run("rome", [entry(i, after="x") for i in range(8)])
    assert bold(results) == set()


def test_an_incomplete_run_is_never_marked(write_run, entry, results):
    write_run("grace", [entry(i) for i in range(8)], total=9)
    write_run("rome", [entry(i, after="x") for i in range(9)])
    assert bold(results) == set()


def test_nothing_is_marked_on_a_handful_of_cases(write_run, entry, results):
    write_run("grace", [entry(i) for i in range(4)])
    write_run("rome", [entry(i, after="x") for i in range(4)])
    assert bold(results) == set()


def test_notes_name_failures_incomplete_runs_and_short_targets(four_methods, write_run, entry, results):
    notes = " ".join(only_table(results).notes())
    assert "failed case counts as 0" in notes and "Incomplete" in notes and "BLEU" not in notes
    write_run("rome", [entry(i, target="os.getcwd") for i in range(2)], dataset="csne")
    table = build_tables(load_runs([results]))[1]
    assert table.notes()[0].startswith("2 of 2 targets have fewer than four tokens")
    assert "fewer than 5 cases" in table.notes()[1]


def test_a_group_of_edits_makes_intervals_too_sure_and_the_notes_say_so(write_run, entry, results):
    lines = [entry(i) for i in range(6)]
    write_run("grace", lines)
    write_run("grace", lines, dataset="csne", protocol={"name": "batch", "size": 6})
    alone, grouped = (" ".join(table.notes()) for table in build_tables(load_runs([results])))
    assert "take them as independent" in grouped and "independent" not in alone


@pytest.mark.parametrize(
    ("form", "value", "text"),
    [
        ("score", 0.91666, "0.917"),
        ("bits", 5.287, "5.29"),
        ("seconds", 3.456, "3.46"),
        ("seconds", 345.67, "345.7"),
        ("megabytes", 1_234_000_000, "1,234"),
    ],
)
def test_numbers_have_one_form_per_column(form, value, text):
    assert Column(("x", "y"), "", "higher", form).text(value) == text


def test_bounds_are_left_out_where_there_are_none():
    assert Column(("x", "y"), "", "higher").bounds(Estimate(0.5, None, None, 1)) == ""
    assert Column(("x", "y"), "", "higher").bounds(Estimate(0.5, 0.25, 0.751, 9)) == "0.25–0.75"


def bounds(results, label):
    """The interval of a run's effectiveness as tables show it."""
    estimate = rows_by_label(only_table(results))[label].run.estimates[EFFECTIVENESS]
    return f"{estimate.low:.2f}–{estimate.high:.2f}"


def printed(results, width):
    tables = build_tables(load_runs([results]))
    console = Console(width=width, file=io.StringIO(), highlight=False)
    console.print(terminal(tables, width))
    return console.file.getvalue()


def test_the_terminal_table_holds_rows_signature_and_legend(four_methods, results):
    text = printed(results, 140)
    assert "effectiveness ↑" in text and "s/edit ↓" in text and "peak MB ↓" in text
    assert f"1.000 {bounds(results, 'grace')}" in text and "3/6" in text and "incomplete" in text and "1 failed" in text
    assert "signature" in text and "dataset:cnle|split:test|n:6|" in text
    assert "Bold, *: the best, or those" in text
    assert max(map(len, text.splitlines())) <= 140


@pytest.mark.parametrize("width", [80, 100])
def test_a_narrow_terminal_leaves_the_intervals_out(four_methods, results, width):
    text = printed(results, width)
    assert "incomplete" in text and "1 failed" in text and max(map(len, text.splitlines())) <= width
    assert "1.000" in text and bounds(results, "grace") not in text
    assert "…" not in text  # nothing is cut


def test_the_terminal_marks_the_best(write_run, entry, results):
    write_run("grace", [entry(i) for i in range(8)])
    write_run("rome", [entry(i, after="x") for i in range(8)])
    assert f"*1.000 {bounds(results, 'grace')}" in printed(results, 140)


def test_markdown_has_one_line_per_run_and_the_signature(four_methods, results):
    text = markdown([only_table(results)])
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len(lines) == 2 + 4
    assert len({line.count(" | ") for line in lines}) == 1
    assert f"| grace | 6/6 | 1.000 ({bounds(results, 'grace')}) |" in text
    assert f"| ft | 3/6, incomplete | 0.000 ({bounds(results, 'ft')}) |" in text
    assert "Effectiveness EM ↑" in lines[0] and "s/edit ↓" in lines[0]
    assert f"Signature: `{only_table(results).signature}`" in text


def test_markdown_marks_the_best_and_escapes_names(write_run, entry, results):
    write_run("a|b<c>_*", [entry(i) for i in range(8)])
    write_run("rome", [entry(i, after="x") for i in range(8)])
    text = markdown([only_table(results)])
    assert rf"| a\|b\<c\>\_\* | 8/8 | **1.000** ({bounds(results, 'a|b<c>_*')}) |" in text


def test_csv_holds_every_number_in_full(four_methods, results):
    lines = list(csv.DictReader(io.StringIO(csv_text([only_table(results)]))))
    assert [line["method"] for line in lines] == ["grace", "rome", "ft", "none"]
    rome, summary = lines[1], four_methods["rome"].summary()
    for dimension, metrics in summary["scores"].items():
        for metric, estimate in metrics.items():
            for part, value in estimate.items():
                assert float(rome[f"{dimension}.{metric}.{part}"]) == value
    assert float(rome["cost.peak_bytes.max"]) == summary["cost"]["peak_bytes"]
    assert (rome["complete"], rome["failed"], lines[2]["complete"], lines[2]["finished"]) == ("true", "1", "false", "3")


def edit_json(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("name", "change", "complaint"),
    [
        ("run.json", lambda run: run.pop("identity"), r"run.json lacks 'identity'"),
        ("run.json", lambda run: run["identity"]["model"].pop("dtype"), r"run.json lacks 'dtype'"),
        ("run.json", lambda run: run["identity"].update(dataset=3), r"run.json is not of the expected form"),
        ("run.json", lambda run: run["identity"]["method"].update(name=None), r"a name is not a text"),
        ("run.json", lambda run: run["identity"]["dataset"].update(n="many"), r"run.json is not of the expected form"),
        ("summary.json", lambda summary: summary.pop("cases"), r"summary.json lacks 'cases'"),
        ("summary.json", lambda summary: summary.update(scores=[1]), r"summary.json is not of the expected form"),
        (
            "summary.json",
            lambda summary: summary["scores"]["fluency"]["ngram_entropy"].update(mean=float("nan")),
            r"not finite",
        ),
    ],
)
def test_a_damaged_run_is_named(write_run, entry, results, name, change, complaint):
    folder = write_run("grace", [entry(1)])
    edit_json(folder.path / name, change)
    with pytest.raises(ResultsError, match=complaint):
        load_runs([results])


@pytest.mark.parametrize("line", ["[1]\n", '{"id": "a"}\n', '{"id": "a", "case": 1, "scores": [], "cost": []}\n'])
def test_a_damaged_journal_of_an_incomplete_run_is_named(write_run, entry, results, line):
    folder = write_run("grace", [entry(1)], total=3)
    with (folder.path / "records.jsonl").open("a") as file:
        file.write(line)
    with pytest.raises(ResultsError, match=r"records.jsonl"):
        load_runs([results])


def test_no_results_are_named(results, tmp_path):
    with pytest.raises(ResultsError, match=r"no runs in .*results.*clmeeval-evaluate run"):
        load_runs([results])
    with pytest.raises(ResultsError, match=r"no results folder .*absent"):
        load_runs([tmp_path / "absent"])


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.0034, "0.003"), (0.31, "0.31"), (12.345, "12.35"), (123.45, "123.5")]
)
def test_seconds_keep_as_many_places_as_they_need(seconds, shown):
    assert Column(("cost", "edit_seconds"), "s/edit", "lower", "seconds").text(seconds) == shown
