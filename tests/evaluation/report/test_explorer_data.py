import json

import pytest

from clmeeval_data.errors import ResultsError
from clmeeval_data.evaluation.report.fragments import LONGEST
from clmeeval_data.evaluation.report.untrusted import visible

MEGABYTE = 1_000_000
WRONG = "print(values, sep=', ')"


@pytest.fixture
def pieces(site, read_pieces):
    """A function that makes the leaderboard and reads its data."""
    return lambda: read_pieces(site())


def table_of(found):
    (table,) = found["tables"]
    index = [row for number in range(table["index"]) for row in found[f"{table['key']}-index-{number}"]]
    cases = [case for number in range(len(table["starts"])) for case in found[f"{table['key']}-cases-{number}"]]
    return table, index, cases


def test_every_case_is_there_once_with_what_was_asked_and_answered(four_methods, pieces):
    table, index, cases = table_of(pieces())
    assert [run[0] for run in table["runs"]] == ["grace", "rome", "ft", "none"]
    assert table["cases"] == len(index) == len(cases) == 6
    journals = {name: folder.journal.read() for name, folder in four_methods.items()}
    for (case_id, _, outcomes), (same_id, asked, before, answers) in zip(index, cases, strict=True):
        assert case_id == same_id
        case = journals["none"][case_id]["case"]
        assert [asked["p"], asked["r"], asked["t"]] == [case["prompt"], case["rephrased_prompt"], case["target"]]
        assert asked["n"] == case["neighbour_prompts"]
        outputs = journals["none"][case_id]["outputs"]
        assert before["a"] == outputs["effectiveness"]["before"]
        assert before["n"] == [pair["before"] for pair in outputs["specificity"]]
        for run, outcome, answer in zip(table["runs"], outcomes, answers, strict=True):
            expect_answer(journals[run[0]].get(case_id), outcome, answer)


def expect_answer(entry, outcome, answer):
    if entry is None:
        assert (outcome, answer) == ("-", 0)
    elif entry["error"]:
        assert (outcome, answer) == ("x", {"x": "CaseError: out of memory"})
    else:
        outputs, scores = entry["outputs"], entry["scores"]
        exact = "exact_match"
        parts = (("effectiveness", exact), ("generalisation", exact), ("specificity", "exact_match_all"))
        assert int(outcome) == sum(2**bit * int(scores[name][metric]) for bit, (name, metric) in enumerate(parts))
        assert [answer["a"], answer["r"]] == [outputs["effectiveness"]["after"], outputs["generalisation"]["after"]]
        near = outputs["specificity"]
        assert answer["n"] == [pair["after"] if pair["after"] != pair["before"] else 0 for pair in near]


def test_the_order_of_the_journals_does_not_matter(write_run, entry, results, site, read_pieces):
    for method in ("grace", "rome"):
        write_run(method, [entry(i, after=f"{method} {i}") for i in range(6)])
    first = read_pieces(site())
    for path in results.rglob("records.jsonl"):
        path.write_bytes(b"".join(reversed(path.read_bytes().splitlines(keepends=True))))
    assert read_pieces(site()) == first


def long_entry(entry, number, length):
    line = entry(number)
    for pair in [line["outputs"]["effectiveness"], *line["outputs"]["specificity"]]:
        pair["after"] = f"{number} " + "ab cd " * (length // 6)
    line["case"]["neighbour_prompts"] = [f"{n} " + "x" * length for n in range(2)]
    return line


def test_no_piece_is_larger_than_a_megabyte_and_starts_say_where_each_case_is(write_run, entry, site, read_pieces):
    write_run("grace", [long_entry(entry, i, 5000) for i in range(120)])
    found = read_pieces(site())
    table, index, cases = table_of(found)
    assert len(table["starts"]) > 2
    assert [case[0] for case in cases] == [row[0] for row in index]
    for number, start in enumerate(table["starts"]):
        assert found[f"{table['key']}-cases-{number}"][0][0] == index[start][0]
    folder = next(path for path in site().iterdir() if path.is_dir()) / "data"
    assert max(path.stat().st_size for path in folder.iterdir()) <= MEGABYTE


def test_a_case_with_very_long_answers_of_many_runs_still_fits(write_run, entry, site):
    for number in range(12):
        line = entry(1)
        pair = {"before": "\u202e" * 9000, "after": f"{number}" + "\u202d" * 9000}
        line["outputs"]["specificity"] = [pair] * 30
        line["case"]["neighbour_prompts"] = ["<" * 9000] * 30
        write_run("grace", [line], config={"layer": number})
    folder = site() / "leaderboard_files" / "data"
    assert max(path.stat().st_size for path in folder.iterdir()) <= MEGABYTE


@pytest.mark.parametrize("length", [LONGEST, LONGEST + 1, 10_000_000])
def test_a_text_of_ten_megabytes_is_cut_and_says_by_how_much(write_run, entry, pieces, length):
    line = entry(1)
    line["outputs"]["effectiveness"]["after"] = "x" * length
    write_run("grace", [line])
    _, _, cases = table_of(pieces())
    shown = cases[0][3][0]["a"]
    assert shown == ("x" * LONGEST if length == LONGEST else ["x" * LONGEST, length - LONGEST])


def test_characters_that_hide_or_reorder_text_are_code_points_and_markup_never_stands_in_a_script(
    write_run, entry, results, site, read_pieces
):
    hostile = "a\u202eb\u200fc\x1b[2J</script><!--\ud800\x00\u2028\u2066"
    line = entry(1)
    line["outputs"]["effectiveness"]["after"] = line["case"]["prompt"] = hostile
    write_run("grace", [line, entry(2, error=hostile)])
    _, index, cases = table_of(read_pieces(site()))
    shown = "a⟨U+202E⟩b⟨U+200F⟩c⟨U+001B⟩[2J</script><!--⟨U+D800⟩⟨U+0000⟩⟨U+2028⟩⟨U+2066⟩"
    assert visible(hostile) == shown == cases[0][1]["p"] == cases[0][3][0]["a"]
    assert cases[1][3][0]["x"] == f"CaseError: {shown}" and "⟨U+202E⟩" in index[0][1]
    for path in (results.parent / "site" / "leaderboard_files" / "data").iterdir():
        assert b"<" not in path.read_bytes()


def test_another_unedited_answer_is_not_passed_off_as_the_same(write_run, entry, pieces):
    write_run("grace", [entry(1, before="first")])
    write_run("rome", [entry(1, before="second")])
    _, _, cases = table_of(pieces())
    assert cases[0][2]["a"] == "first"
    assert "b" not in cases[0][3][0] and cases[0][3][1]["b"]["a"] == "second"


def test_a_case_that_failed_in_the_first_run_shows_the_unedited_answer_of_another(write_run, entry, pieces):
    write_run("ft", [entry(1, error="no memory")])
    write_run("rome", [entry(1, before="second")])
    _, _, cases = table_of(pieces())
    assert cases[0][2]["a"] == "second" and cases[0][1]["p"].startswith("Intent: sort 1")


def test_sequential_cases_show_their_place_and_the_answer_right_after(write_run, entry, pieces):
    line = {**entry(1), "group": {"index": 2, "position": 3, "size": 20}}
    outputs = {"effectiveness": {"before": WRONG, "after": "yes"}}
    line["right_after"] = {"outputs": outputs, "scores": {"effectiveness": {"exact_match": 0.0}}}
    write_run("grace", [line])
    _, _, cases = table_of(pieces())
    assert cases[0][3][0]["h"] == "yes" and cases[0][3][0]["k"] == [2, 3, 20]


def test_a_case_without_neighbours_has_an_outcome_of_its_own(write_run, entry, pieces):
    lonely = entry(1)
    lonely["case"]["neighbour_prompts"], lonely["outputs"]["specificity"], lonely["scores"]["specificity"] = [], [], {}
    write_run("grace", [lonely])
    _, index, cases = table_of(pieces())
    assert index[0][2] == "b" and cases[0][3][0]["n"] == []


def test_a_half_written_last_line_is_passed_over(write_run, entry, pieces):
    folder = write_run("grace", [entry(i) for i in range(3)], total=9)
    with (folder.path / "records.jsonl").open("ab") as file:
        file.write(b'{"id": "cnle-0007", "case"')
    assert len(table_of(pieces())[1]) == 3


MISSING = [("outputs",), ("outputs", "generalisation", "after"), ("case", "target"), ("scores",)]


@pytest.mark.parametrize("path", MISSING)
def test_a_line_that_lacks_something_is_named(write_run, entry, site, path):
    folder = write_run("grace", [entry(1)])
    line = json.loads((folder.path / "records.jsonl").read_text())
    inner = line
    for key in path[:-1]:
        inner = inner[key]
    del inner[path[-1]]
    (folder.path / "records.jsonl").write_text(json.dumps(line) + "\n")
    with pytest.raises(ResultsError, match=rf"case 'cnle-0001' in records.jsonl lacks '{path[-1]}'"):
        site()


def test_an_id_that_occurs_twice_is_named(write_run, entry, site):
    folder = write_run("grace", [entry(1), entry(2)])
    with (folder.path / "records.jsonl").open("a") as file:
        file.write(json.dumps(entry(2)) + "\n")
    with pytest.raises(ResultsError, match=r"records.jsonl:3: id 'cnle-0002' occurs twice"):
        site()


def test_a_case_that_two_shards_have_counts_once_if_they_agree(write_run, entry, site, read_pieces):
    folder = write_run("grace", [entry(1), entry(2)])
    again = {**entry(2), "cost": {"edit_seconds": 9, "peak_bytes": 1, "batch_size": 1}}
    (folder.path / "records-0-of-2.jsonl").write_text(json.dumps(again) + "\n")
    assert len(table_of(read_pieces(site()))[1]) == 2
    (folder.path / "records-0-of-2.jsonl").write_text(json.dumps(entry(2, after="other")) + "\n")
    with pytest.raises(ResultsError, match="has another result for case 'cnle-0002'"):
        site()
