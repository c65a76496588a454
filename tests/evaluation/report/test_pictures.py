import random
import re
from statistics import fmean
from xml.etree import ElementTree

import pytest

from clmeeval_data.evaluation.report.curves import distances, sequential, slices
from clmeeval_data.evaluation.report.drawing import DARK, MOST_ROWS, PALETTE, colours
from clmeeval_data.evaluation.report.plots import cost_quality, trade_off
from clmeeval_data.evaluation.report.runs import load_runs
from clmeeval_data.evaluation.report.tables import build_tables

SVG = "{http://www.w3.org/2000/svg}"
SEQUENTIAL = {"name": "sequential", "size": 20, "checkpoints": [1, 10, 20]}


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


def test_sequences_are_drawn_where_there_are_checkpoints(write_run, entry, results, table):
    entries = [entry(i) for i in range(6)]
    write_run("grace", entries)
    assert sequential(table(), {"grace": PALETTE[0]}) is None
    write_run("rome", entries, protocol=SEQUENTIAL, checkpoints=checkpoints([0.9, 0.5, 0.25]), model="other")
    found = build_tables(load_runs([results]))
    (with_curve,) = [other for other in found if other.model == "other"]
    picture = sequential(with_curve, colours(found))
    assert "rome after 20: 0.250, 0.250, 0.250" in picture.text
    assert {"Edits in force", "Exact match", "Effectiveness", "Specificity", "rome"} <= set(drawn(picture))


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
