"""One edit that holds a group's requests, against the same edit merged into a copy's weights and asked plainly."""

from dataclasses import replace

import pytest
import torch

from clmeeval_data.evaluation.protocols import EvaluationProtocol
from clmeeval_data.evaluation.runner import run_method

THREE = EvaluationProtocol("batch", 3)


@pytest.mark.parametrize("name", ["memit", "ft", "ultraedit"])
def test_the_answers_are_those_of_the_merged_edit(
    name, tiny_lm, protocol_tests, make_method, copied, plain_answers, answers_in, tmp_path
):
    editor = make_method(name)
    cases = protocol_tests.cases[:4]
    folder = run_method(tiny_lm, replace(protocol_tests, cases=cases), editor, tmp_path, batch_size=2, protocol=THREE)
    found, changed = folder.entries(), 0
    for start in range(0, len(cases), 3):
        group = cases[start : start + 3]
        merged = copied(tiny_lm)
        editor.edit(tiny_lm, [case.request for case in group]).merge(merged)
        for position, case in enumerate(group):
            entry = found[case.case_id]
            assert entry["group"] == {"index": start // 3, "position": position, "size": len(group)}
            assert answers_in(entry) == plain_answers(merged, case)
            assert answers_in(entry, "before") == plain_answers(tiny_lm, case)
            changed += answers_in(entry) != answers_in(entry, "before")
    assert changed, "the edits make no difference"
    assert "right_after" not in folder.summary()
    assert "|protocol:batch-3|" in folder.summary()["signature"]


def test_memits_batch_is_the_dense_solution(tiny_lm, protocol_tests, make_method):
    """At its first layer, where nothing has changed yet: R K^T (lambda C + K K^T)^-1, solved as it stands."""
    editor, requests = make_method("memit", layers=(1,)), [case.request for case in protocol_tests.cases[:3]]
    editor.prepare(tiny_lm, protocol_tests.train)
    (update,) = editor.edit(tiny_lm, requests).updates
    keys = []
    for request in requests:
        ids = torch.tensor([tiny_lm.encode(request.prompt)])
        handle = tiny_lm.mlp_output(1).register_forward_pre_hook(lambda module, args: keys.append(args[0][0, -1]))
        tiny_lm.model(ids)
        handle.remove()
    K = torch.stack(keys).T.double()
    C = editor.statistics(tiny_lm)[1].second_moment.double()
    residual = update.left.double()
    expected = residual @ torch.linalg.solve(1.0 * C + K @ K.T, K).T
    torch.testing.assert_close(update.delta().double(), expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))


@pytest.mark.parametrize("name", ["grace", "incontext", "none"])
def test_the_answers_are_those_under_the_applied_edit(
    name, tiny_lm, protocol_tests, make_method, plain_answers, answers_in, tmp_path
):
    editor = make_method(name)
    tests = replace(protocol_tests, cases=protocol_tests.cases[:4])
    found = run_method(tiny_lm, tests, editor, tmp_path, protocol=EvaluationProtocol("batch", 4)).entries()
    edit = editor.edit(tiny_lm, [case.request for case in tests.cases])
    for case in tests.cases:
        with edit.applied(tiny_lm):
            assert answers_in(found[case.case_id]) == plain_answers(tiny_lm, case)


def test_neither_batch_size_nor_batches_of_one_change_a_number(tiny_lm, protocol_tests, make_method, entries, tmp_path):
    editor = make_method("memit")
    by_size = [
        entries(run_method(tiny_lm, protocol_tests, editor, tmp_path / str(size), batch_size=size, protocol=THREE))
        for size in (1, 16)
    ]
    assert by_size[0] == by_size[1]
    ones = entries(run_method(tiny_lm, protocol_tests, editor, tmp_path, protocol=EvaluationProtocol("batch", 1)))
    alone = entries(run_method(tiny_lm, protocol_tests, editor, tmp_path))
    assert {key: entry["outputs"] for key, entry in ones.items()} == {k: e["outputs"] for k, e in alone.items()}


def test_a_group_whose_edit_fails_has_failed_and_the_others_go_on(tiny_lm, protocol_tests, make_method, tmp_path):
    cases = list(protocol_tests.cases)
    cases[1] = replace(cases[1], target="")
    folder = run_method(
        tiny_lm, replace(protocol_tests, cases=tuple(cases)), make_method("ft"), tmp_path, protocol=THREE
    )
    found = [folder.entries()[case.case_id] for case in cases]
    assert [entry["error"] is not None for entry in found] == [True] * 3 + [False] * 4
    assert found[0]["error"]["message"] == "the target is empty: there is nothing to edit towards."
    assert [entry["group"]["index"] for entry in found] == [0, 0, 0, 1, 1, 1, 2]
    assert folder.summary()["cases"]["failed"] == 3


def test_a_case_that_cannot_be_asked_fails_alone(tiny_lm, protocol_tests, make_method, tmp_path):
    cases = list(protocol_tests.cases)
    cases[1] = replace(cases[1], rephrased_prompt="x" * 4000)
    folder = run_method(
        tiny_lm, replace(protocol_tests, cases=tuple(cases)), make_method("ft"), tmp_path, protocol=THREE
    )
    errors = {key: entry["error"]["message"] for key, entry in folder.entries().items() if entry["error"]}
    assert list(errors) == [cases[1].case_id]
    assert "tokens and the context of tiny-llama" in errors[cases[1].case_id]
