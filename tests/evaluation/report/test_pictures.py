import random
import re
from itertools import combinations
from statistics import fmean
from xml.etree import ElementTree

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from clmeeval_data.evaluation.report.curves import distances, sequential, slices
from clmeeval_data.evaluation.report.drawing import DARK, LINE, MOST_ROWS, PALETTE, SHAPES, colours, shape
from clmeeval_data.evaluation.report.labels import Point, label
from clmeeval_data.evaluation.report.plots import cost_quality, trade_off
from clmeeval_data.evaluation.report.runs import load_runs
from clmeeval_data.evaluation.report.tables import build_tables
from clmeeval_data.evaluation.scoring.significance import Estimate, interval

SVG = "{http://www.w3.org/2000/svg}"
SEQUENTIAL = {"name": "sequential", "size": 20, "checkpoints": [1, 10, 20]}
SCORE = {"mean": 0.5, "low": 0.4, "high": 0.6, "n": 5}


@pytest.fixture
def table(results):
    """A function that reads the only table of ``results``."""

    def read():
        (table,) = build_tables(load_runs([results]))
        return table

    return read


def drawn(picture):
    """The texts of a picture, in the order in which they are drawn."""
    root = ElementTree.fromstring(picture.svg)
    assert root.find(f"{SVG}title").text == f"{picture.title}. {picture.text}"
    return ["".join(text.itertext()) for text in root.iter(f"{SVG}text")]


def checkpoints(means):
    scores = [{"mean": mean, "low": mean - 0.1, "high": mean + 0.1, "n": 5} for mean in means]
    dimensions = ("effectiveness", "generalisation", "specificity")
    return [
        {"edits": edits, "scores": {name: {"exact_match": score} for name in dimensions}}
        for edits, score in zip((1, 10, 20), scores, strict=True)
    ]


def luminance(colour):
    parts = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    bright, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def test_two_colours_share_a_marker_at_most_and_the_floor_has_its_own():
    assert len(set(SHAPES)) == len(SHAPES) and 2 * len(SHAPES) == len(PALETTE)
    assert [shape(colour) for colour in PALETTE] == [*SHAPES, *SHAPES] and shape("#7d8590") not in SHAPES


@pytest.mark.parametrize("colour", PALETTE)
def test_every_colour_can_be_seen_on_both_papers(colour):
    assert contrast(colour, "#ffffff") >= 3 and contrast(colour, "#0e1116") >= 3


def test_a_trade_off_names_every_method_tells_its_numbers_and_labels_its_axes(four_methods, table):
    found = table()
    picture = trade_off(found, "generalisation", colours([found]))
    texts = drawn(picture)
    assert {"none", "grace", "rome", "ft"} <= set(" ".join(texts).replace(",", " ").split())
    assert {"Generalisation: exact match →", "Specificity: exact match →", found.title} <= set(texts)
    assert "grace 0.000, 1.000" in picture.text and "rome 0.833, 0.417" in picture.text


def test_a_picture_is_the_same_every_time_and_follows_dark_mode(four_methods, table):
    found = table()
    picture = trade_off(found, "effectiveness", colours([found]))
    assert picture == trade_off(found, "effectiveness", colours([found]))
    for light, dark in DARK.items():
        assert f'[style*="fill: {light}"]{{fill:{dark}!important}}' in picture.svg and picture.svg.count(light) > 2
    assert "xlink" not in picture.svg and "<metadata" not in picture.svg
    assert set(re.findall(r"https?://[^\"'<> ]*", picture.svg)) == {"http://www.w3.org/2000/svg"}


def test_hostile_names_are_drawn_as_text(write_run, entry, table):
    write_run("<b>$x^2$</b>\u202e", [entry(1)])
    found = table()
    assert "<b>$x^2$</b>⟨U+202E⟩" in drawn(trade_off(found, "effectiveness", colours([found])))


def test_cost_stands_against_the_mean_of_the_three_exact_matches(four_methods, table):
    found = table()
    picture = cost_quality(found, colours([found]))
    scores = four_methods["rome"].summary()["scores"]
    means = [scores[name]["exact_match"]["mean"] for name in ("effectiveness", "generalisation", "specificity")]
    seconds = four_methods["rome"].summary()["cost"]["edit_seconds"]["mean"]
    assert f"rome {seconds:.3g} s, {fmean(means):.3f}" in picture.text and "none" not in picture.text
    assert "← Seconds per edit" in drawn(picture)


@pytest.mark.parametrize(("quickest", "labelled"), [(0.5, {"0.5", "1", "2", "5"}), (0.001, {"0.001", "0.01", "0.1"})])
def test_seconds_have_as_many_labels_as_have_room(write_run, entry, table, quickest, labelled):
    for method, seconds in (("incontext", quickest), ("rome", 4.0)):
        lines = [entry(i) for i in range(3)]
        for line in lines:
            line["cost"]["edit_seconds"] = seconds
        write_run(method, lines)
    found = table()
    texts = set(drawn(cost_quality(found, colours([found]))))
    assert labelled <= texts and ("2" in texts) == (quickest == 0.5)


def test_sequences_are_drawn_where_there_are_checkpoints(write_run, entry, results, table):
    entries = [entry(i) for i in range(6)]
    write_run("grace", entries)
    assert sequential(table(), {"grace": PALETTE[0]}) is None
    write_run("rome", entries, protocol=SEQUENTIAL, checkpoints=checkpoints([0.9, 0.5, 0.25]), model="other")
    found = build_tables(load_runs([results]))
    (with_curve,) = [other for other in found if other.model == "other"]
    picture = sequential(with_curve, colours(found))
    assert "rome after 20: 0.250, 0.250, 0.250" in picture.text
    texts = drawn(picture)
    assert {"Edits in force, and n cases asked", "Exact match", "Effectiveness", "Specificity", "rome"} <= set(texts)
    assert [text for text in texts if text in ("10", "20")] == ["10", "20"] * 3 and texts.count("n=5") == 9


def test_the_end_of_a_shorter_last_sequence_is_no_point_of_a_curve(write_run, entry, results):
    entries = [entry(i) for i in range(6)]
    met = [{"edits": edits, "scores": {"effectiveness": {"exact_match": SCORE}}} for edits in (1, 7, 10, 20)]
    write_run("rome", entries, protocol=SEQUENTIAL, checkpoints=met)
    write_run("memit", entries, protocol=SEQUENTIAL, checkpoints=met[:2])  # its only sequence ends after seven
    found = {run.method: [point.edits for point in run.checkpoints] for run in load_runs([results])}
    assert found == {"rome": [1, 10, 20], "memit": [1, 7]}


def test_slices_are_quarters_by_the_length_of_the_target(write_run, entry, table):
    source = random.Random(0)
    lengths = source.sample(range(5, 200), 41)
    answers = [source.random() < 0.5 for _ in lengths]
    entries = [
        entry(i, target="x" * length, after="x" * length if hit else "y")
        for i, (length, hit) in enumerate(zip(lengths, answers, strict=True))
    ]
    write_run("grace", entries)
    picture = slices(table(), {"grace": PALETTE[0]})
    ordered = [hit for _, hit in sorted(zip(lengths, answers, strict=True))]
    assert f"grace {fmean(ordered[:11]):.3f} and {fmean(ordered[-10:]):.3f}" in picture.text
    assert f"{sorted(lengths)[0]}–{sorted(lengths)[10]}" in drawn(picture)
    assert "Target length in characters, by quarters" in drawn(picture)


def test_slices_have_the_intervals_of_the_tables(write_run, entry, table):
    write_run("grace", [entry(i, target="x" * (i + 5), after="x" * (i + 5)) for i in range(40)])
    picture = slices(table(), {"grace": PALETTE[0]})
    levels, heights = set(), []
    for path in ElementTree.fromstring(picture.svg).iter(f"{SVG}path"):
        ends = re.findall(r"[ML] ([-\d.]+) ([-\d.]+)", path.get("d"))
        if len(ends) != 2:
            continue
        (x, y), (across, up) = ([float(number) for number in end] for end in ends)
        if y == up and across - x > 100 and LINE in path.get("style"):
            levels.add(y)
        elif x == across and PALETTE[0] in path.get("style"):
            heights.append(abs(y - up))
    one, *_, nought, _ = sorted(levels)  # the grid, and below it the axis
    expected = interval([1.0] * 10)
    assert len(heights) == 12 and expected.low < 0.8
    assert [height / (nought - one) for height in heights] == pytest.approx([1 - expected.low] * 12, abs=0.01)


def test_a_handful_of_cases_is_not_sliced(four_methods, table):
    assert slices(table(), {}) is None


def test_distances_are_told_in_radii_of_near_and_far_pairs(write_run, entry, table):
    entries = [entry(i) for i in range(8)]
    write_run("grace", entries)
    assert distances(table()) is None
    source = random.Random(0)
    near, far = [], []
    for line in entries:
        radius = source.uniform(0.5, 2)
        details = {"radius": radius, "distance_rephrased": source.uniform(0, 2), "distance_neighbours": [0.0]}
        details["distance_neighbours"].append(source.uniform(0, 6))
        line["details"] = details
        near.append(details["distance_rephrased"] / radius)
        far += [distance / radius for distance in details["distance_neighbours"]]
    write_run("agrace", entries)
    picture = distances(table())
    inside = [sum(value <= 1 for value in values) / len(values) for values in (near, far)]
    assert f"agrace: {inside[0]:.1%} of the rephrased prompts and {inside[1]:.1%} of the neighbours" in picture.text
    assert {"rephrased prompts", "neighbours", "radius", "Share of the pairs"} <= set(drawn(picture))


def test_of_many_codebooks_the_first_are_shown_on_one_scale_and_it_says_so(write_run, entry, table):
    for number in range(6):
        lines = [entry(i) for i in range(3)]
        for line in lines:
            line["details"] = {"radius": 1.0, "distance_rephrased": 0.5, "distance_neighbours": [1.0 + number, 3.0]}
        write_run("grace", lines, config={"layer": number})
    picture = distances(table())
    assert picture.text.endswith(" The first 4 of 6 methods with a codebook.")
    texts = drawn(picture)
    assert texts.count("Distance, in radii") == 4
    assert texts.count("1.0") == 1  # the heights are labelled once, and so have to be the same everywhere


def test_a_long_title_is_cut_to_the_width_of_its_picture(write_run, entry, table):
    write_run("grace", [entry(1)], model="somebody/" + "long-" * 20 + "name")
    found = table()
    narrow = trade_off(found, "effectiveness", colours([found]))
    (cut,) = [text for text in drawn(narrow) if text.startswith("CNLE · somebody")]
    assert cut.endswith("…") and len(cut) == 61


def test_a_crowd_is_cut_to_what_can_be_told_apart_and_says_so(write_run, entry, table):
    for number in range(MOST_ROWS + 8):
        write_run("grace", [entry(1)], config={"layer": number})
    write_run("none", [entry(1)])
    found = table()
    picture = trade_off(found, "effectiveness", colours([found]))
    assert f"The first {MOST_ROWS - 1} of {MOST_ROWS + 8} methods." in picture.text and "none" in picture.text


def test_a_method_has_one_colour_in_all_tables_and_the_floor_is_grey(four_methods, write_run, entry, results):
    write_run("grace", [entry(1)], dataset="csne")
    chosen = colours(build_tables(load_runs([results])))
    assert set(chosen) == {"none", "grace", "rome", "ft"}
    assert {chosen[label] for label in ("grace", "rome", "ft")} <= set(PALETTE) and chosen["none"] not in PALETTE
    assert len(set(chosen.values())) == 4


# Exact match in effectiveness and specificity of twelve methods on 40 cases of CNLE, edited one by one in SmolLM2.
MEANS = {
    "lora": (1.0, 0.0), "agrace": (1.0, 0.842), "grace": (1.0, 1.0), "rome": (0.975, 0.225),
    "alphaedit": (0.975, 0.375), "pmet": (0.95, 0.242), "memit": (0.95, 0.483), "ultraedit": (0.925, 0.0),
    "incontext": (0.725, 0.0), "ft": (0.65, 0.392), "malmen": (0.575, 0.225), "none": (0.0, 1.0),
}  # fmt: skip


def test_a_name_stands_nearer_to_its_own_point_than_to_others_and_covers_no_other_name():
    figure = Figure(figsize=(4.7, 4.2), dpi=72)
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set(xlim=(-0.06, 1.06), ylim=(-0.16, 1.18))
    points = [
        Point(name, *(Estimate(mean, None, None, 40) for mean in means), "#000000") for name, means in MEANS.items()
    ]
    label(figure, axes, points)
    boxes = {text.get_text(): text.get_window_extent() for text in axes.texts if text.get_text()}
    for one, other in combinations(boxes.values(), 2):
        assert not one.overlaps(other)
    own = {name: box for text, box in boxes.items() for name in re.split(r",\s", text)}
    assert set(own) == set(MEANS)
    for name, box in own.items():
        apart = {}
        for other, means in MEANS.items():
            x, y = axes.transData.transform(means)
            apart[other] = max(box.x0 - x, x - box.x1, box.y0 - y, y - box.y1)
        assert apart[name] <= min(apart.values()) + 8, name  # rome and pmet lie on each other
