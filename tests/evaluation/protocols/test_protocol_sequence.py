"""Edits one after another, against edits that are merged into a copy's weights, one after another."""

from dataclasses import replace
from statistics import fmean

import pytest
import torch

from clmeeval_data.evaluation.answers import UneditedAnswers
from clmeeval_data.evaluation.measurement import Measurement
from clmeeval_data.evaluation.model.edits import Edit
from clmeeval_data.evaluation.model.updates import Codebook, Dense, LowRank
from clmeeval_data.evaluation.protocols import EvaluationProtocol
from clmeeval_data.evaluation.protocols.sequence import EditSequence, after
from clmeeval_data.evaluation.protocols.state import SavedStates
from clmeeval_data.evaluation.protocols.units import Unit
from clmeeval_data.evaluation.runner import run_method

FIVE = EvaluationProtocol("sequential", 5)


def pieces_of(lm, tests, editor, count=5, state=None):
    """All pieces of one sequence."""
    work = Measurement(lm, editor, UneditedAnswers(lm), True, 0)
    protocol = EvaluationProtocol("sequential", count)
    return list(EditSequence(work, Unit(0, tests.cases[:count]), protocol, 4, 0).pieces(state))


def last_edit(pieces):
    return [piece.state for piece in pieces if piece.state is not None][-1].edit


@pytest.mark.parametrize("name", ["rome", "ft", "memit"])
def test_each_edit_is_computed_on_the_model_with_the_earlier_ones_merged(
    name, tiny_lm, protocol_tests, make_method, copied, plain_answers, answers_in, tmp_path
):
    editor, cases = make_method(name), protocol_tests.cases[:5]
    tests = replace(protocol_tests, cases=cases)
    folder = run_method(tiny_lm, tests, editor, tmp_path, protocol=FIVE)
    found = folder.entries()
    merged, right_after = copied(tiny_lm), []
    for case in cases:
        fresh = make_method(name)
        merged.weights_changed()
        fresh.prepare(tiny_lm, tests.train)
        if name == "memit":  # its statistics are those of the unedited model, as published
            statistics = editor.statistics(tiny_lm)
            fresh.statistics = lambda lm, statistics=statistics: statistics
        edit = fresh.edit(merged, [case.request])
        edit.merge(merged)
        right_after.append(plain_answers(merged, case)[0])
    for case, expected in zip(cases, right_after, strict=True):
        entry = found[case.case_id]
        assert entry["right_after"]["outputs"]["effectiveness"]["after"] == expected
        assert answers_in(entry) == plain_answers(merged, case)
        assert answers_in(entry, "before") == plain_answers(tiny_lm, case)
    assert any(answers_in(found[case.case_id]) != answers_in(found[case.case_id], "before") for case in cases)


def test_the_sum_of_romes_edits_is_what_merging_changes(tiny_lm, protocol_tests, make_method, copied):
    total = last_edit(pieces_of(tiny_lm, protocol_tests, make_method("rome")))
    merged = copied(tiny_lm)
    for case in protocol_tests.cases[:5]:
        make_method("rome").edit(merged, [case.request]).merge(merged)
    (update,) = total.updates
    change = merged.mlp_output(1).weight - tiny_lm.mlp_output(1).weight
    torch.testing.assert_close(update.delta(), change, rtol=1e-3, atol=1e-3 * float(change.abs().max()))


@pytest.mark.parametrize("radius", [0.1, 3.0])
def test_graces_sequence_is_what_its_edit_inserts(radius, tiny_lm, protocol_tests, make_method):
    editor = make_method("grace", radius=radius)
    (book,) = last_edit(pieces_of(tiny_lm, protocol_tests, editor)).updates
    (expected,) = editor.edit(tiny_lm, [case.request for case in protocol_tests.cases[:5]]).updates
    assert isinstance(book, Codebook)
    assert book.labels == expected.labels
    torch.testing.assert_close(book.keys, expected.keys)
    torch.testing.assert_close(book.values, expected.values, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(book.radii, expected.radii)
    assert (book.radii < radius).any() == (radius == 3.0), "keys that want different answers share the space"


@pytest.mark.parametrize("name", ["none", "grace", "incontext", "lora", "pmet"])
def test_the_model_is_bit_identical_afterwards(name, tiny_lm, protocol_tests, make_method, tmp_path):
    before = {key: value.clone() for key, value in tiny_lm.model.state_dict().items()}
    tests = replace(protocol_tests, cases=protocol_tests.cases[:3])
    folder = run_method(tiny_lm, tests, make_method(name), tmp_path, protocol=EvaluationProtocol("sequential", 3))
    assert folder.summary()["cases"]["failed"] == 0
    after_ = tiny_lm.model.state_dict()
    assert list(after_) == list(before)
    assert all(torch.equal(value, before[key]) for key, value in after_.items())
    assert tiny_lm.edits_applied == 0
    assert tiny_lm.memory is None


def test_entries_and_summary_have_the_shared_form(tiny_lm, protocol_tests, make_method, tmp_path):
    folder = run_method(tiny_lm, protocol_tests, make_method("ft"), tmp_path, protocol=FIVE)
    found, summary = folder.entries(), folder.summary()
    assert "|protocol:sequential-5|" in summary["signature"]
    assert folder.run()["identity"]["protocol"] == {"name": "sequential", "size": 5, "checkpoints": [1, 5]}
    expected_edits = [[1, 5], [5], [5], [5], [5], [1, 2], [2]]
    for place, case in enumerate(protocol_tests.cases):
        entry, (group, position) = found[case.case_id], divmod(place, 5)
        assert entry["group"] == {"index": group, "position": position, "size": 5 if group == 0 else 2}
        assert [point["edits"] for point in entry["checkpoints"]] == expected_edits[place]
        assert set(entry["checkpoints"][0]["scores"]) == {"effectiveness", "generalisation", "specificity"}
        assert set(entry["right_after"]) == {"outputs", "scores"}
        last = entry["checkpoints"][-1]["scores"]
        assert last == {dimension: entry["scores"][dimension] for dimension in last}
    right = [entry["right_after"]["scores"]["effectiveness"]["chrf"] for entry in found.values()]
    end = [entry["scores"]["effectiveness"]["chrf"] for entry in found.values()]
    assert summary["right_after"]["effectiveness"]["chrf"]["mean"] == pytest.approx(fmean(right))
    lost = summary["forgetting"]["effectiveness"]["chrf"]["mean"]
    assert lost == pytest.approx(fmean(right) - fmean(end), abs=1e-12)
    assert [(point["edits"], point["scores"]["specificity"]["chrf"]["n"]) for point in summary["checkpoints"]] == [
        (1, 2), (2, 2), (5, 5),
    ]  # fmt: skip
    first = [
        found[protocol_tests.cases[i].case_id]["checkpoints"][0]["scores"]["generalisation"]["chrf"] for i in (0, 5)
    ]
    assert summary["checkpoints"][0]["scores"]["generalisation"]["chrf"]["mean"] == pytest.approx(fmean(first))


def test_after_the_first_request_a_sequence_is_the_single_edit(tiny_lm, protocol_tests, make_method, entries, tmp_path):
    editor = make_method("memit")
    tests = replace(protocol_tests, cases=protocol_tests.cases[:2])
    alone = entries(run_method(tiny_lm, tests, editor, tmp_path))
    ones = entries(run_method(tiny_lm, tests, editor, tmp_path, protocol=EvaluationProtocol("sequential", 1)))
    for key, entry in ones.items():
        assert entry["outputs"] == alone[key]["outputs"]
        assert entry["right_after"]["outputs"]["effectiveness"] == alone[key]["outputs"]["effectiveness"]


def test_an_edit_that_fails_is_left_out_and_the_others_go_on(
    tiny_lm, protocol_tests, make_method, entries, tmp_path, monkeypatch
):
    editor, cases = make_method("rome"), protocol_tests.cases[:5]
    without = replace(protocol_tests, cases=(*cases[:2], *cases[3:]))
    expected = entries(
        run_method(tiny_lm, without, editor, tmp_path / "a", protocol=EvaluationProtocol("sequential", 4))
    )
    edit = type(editor).edit

    def fails(self, lm, requests):
        if requests[0].case_id == cases[2].case_id:
            raise RuntimeError("CUDA error: device-side assert")
        return edit(self, lm, requests)

    monkeypatch.setattr(type(editor), "edit", fails)
    folder = run_method(tiny_lm, replace(protocol_tests, cases=cases), editor, tmp_path / "b", protocol=FIVE)
    found = folder.entries()
    broken = found.pop(cases[2].case_id)
    assert broken["error"] == {"type": "RuntimeError", "message": "CUDA error: device-side assert"}
    assert broken["checkpoints"] == [{"edits": 5, "scores": {}}]
    assert broken["group"] == {"index": 0, "position": 2, "size": 5}
    for key, entry in found.items():
        assert entry["outputs"] == expected[key]["outputs"]
        assert entry["right_after"] == expected[key]["right_after"]
    summary = folder.summary()
    assert summary["cases"]["failed"] == 1
    assert [point["scores"]["effectiveness"]["chrf"]["n"] for point in summary["checkpoints"]] == [1, 5]
    assert summary["right_after"]["effectiveness"]["chrf"]["n"] == 5


def test_a_preamble_that_outgrows_the_context_is_left_out(tiny_lm, protocol_tests, make_method, tmp_path):
    editor = make_method("incontext", instruction="{prompt} {target}\n" + "again and again " * 14)
    folder = run_method(tiny_lm, protocol_tests, editor, tmp_path, protocol=EvaluationProtocol("sequential", 7))
    errors = [entry["error"] for entry in folder.entries().values()]
    assert errors[0] is None
    assert "the context of tiny-llama holds 256" in errors[-1]["message"]


def test_a_state_survives_its_file_and_leads_to_the_same_entries(tiny_lm, protocol_tests, make_method, tmp_path):
    for name in ("rome", "grace", "incontext"):
        whole = pieces_of(tiny_lm, protocol_tests, make_method(name), 7)
        states = [piece.state for piece in whole if piece.state is not None]
        assert [state.done for state in states] == [1, 7]
        saved = SavedStates(tmp_path / name)
        for state in states:
            saved.save(3, state)
        assert len(list((tmp_path / name).iterdir())) == 2, "only the last state is kept"
        saved.save(3, states[0])
        resumed = pieces_of(tiny_lm, protocol_tests, make_method(name), 7, saved.load(3))
        assert [piece.state.done for piece in resumed if piece.state] == [7]
        first, second = ([_unmeasured(entry) for entry in found[-1].entries] for found in (whole, resumed))
        assert first == second
        saved.drop(3)
        assert not (tmp_path / name).exists()


def _unmeasured(entry):
    return {key: value for key, value in entry.items() if key != "cost"}


def test_a_sum_of_many_low_ranks_becomes_dense_and_changes_the_same():
    torch.manual_seed(0)
    parts = [Edit((LowRank("m", torch.randn(6, 2), torch.randn(2, 8)),), "f", "test") for _ in range(3)]
    total = parts[0]
    for part in parts[1:]:
        total = after(total, part)
    assert [type(update) for update in total.updates] == [Dense, LowRank], "of rank 4 it is larger than the change"
    change = sum(update.delta() for update in total.updates)
    torch.testing.assert_close(change, sum(part.updates[0].delta() for part in parts))


@pytest.mark.parametrize("protocol", [FIVE, EvaluationProtocol("batch", 5)])
def test_a_model_whose_weights_are_elsewhere_gives_the_same_entries(
    protocol, tiny_lm, protocol_tests, make_method, copied, entries, tmp_path
):
    """As device_map spreads a model: accelerate's hooks bring each layer's weights from the disk."""
    accelerate = pytest.importorskip("accelerate")
    spread = copied(tiny_lm)
    places = {"model.embed_tokens": "cpu", "model.norm": "cpu", "model.rotary_emb": "cpu", "lm_head": "cpu"}
    places |= {f"model.layers.{layer}": ("cpu", "disk")[layer % 2] for layer in range(4)}
    options = {"main_device": "cpu", "offload_dir": tmp_path / "weights", "force_hooks": True}
    accelerate.dispatch_model(spread.model, places, **options)
    assert spread.mlp_output(1).weight.is_meta
    tests = replace(protocol_tests, cases=protocol_tests.cases[:5])
    found = [
        entries(run_method(lm, tests, make_method("memit"), tmp_path / name, protocol=protocol))
        for name, lm in (("whole", tiny_lm), ("spread", spread))
    ]
    assert found[0] == found[1]
    assert all(entry["error"] is None for entry in found[1].values())
