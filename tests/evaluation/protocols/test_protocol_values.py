import pytest

from clmeeval_data.errors import ConfigError
from clmeeval_data.evaluation.editors import EDITORS
from clmeeval_data.evaluation.protocols import SINGLE, EvaluationProtocol
from clmeeval_data.evaluation.protocols.units import units_of
from clmeeval_data.evaluation.protocols.worker import check_protocol
from clmeeval_data.evaluation.recorder import Shard


@pytest.mark.parametrize("text", ["single", "batch:1", "batch:10", "sequential:20"])
def test_a_protocol_is_what_it_was_written_as(text):
    protocol = EvaluationProtocol.parse(text)
    assert str(protocol) == text
    assert EvaluationProtocol.from_dict(protocol.as_dict()) == protocol


def test_identities_are_those_of_the_shared_format():
    assert SINGLE.as_dict() == {"name": "single"}
    assert EvaluationProtocol.parse("batch:10").as_dict() == {"name": "batch", "size": 10}
    expected = {"name": "sequential", "size": 20, "checkpoints": [1, 10, 20]}
    assert EvaluationProtocol.parse("sequential:20").as_dict() == expected


@pytest.mark.parametrize(
    "text", ["", "batch", "batch:", "batch:0", "batch:-1", "batch:x", "single:2", "single:", "Batch:2", "batch:²"]
)
def test_what_is_no_protocol_is_refused(text):
    with pytest.raises(ConfigError, match="expected single, batch:N or sequential:N"):
        EvaluationProtocol.parse(text)


@pytest.mark.parametrize(
    ("size", "expected"),
    [(1, [1]), (2, [1, 2]), (10, [1, 10]), (11, [1, 10, 11]), (1000, [1, 10, 100, 1000]), (101, [1, 10, 100, 101])],
)  # fmt: skip
def test_checkpoints_are_powers_of_ten_and_the_end(size, expected):
    assert list(EvaluationProtocol("sequential", 1001).checkpoints(size)) == expected


def test_units_hold_every_case_once_and_groups_keep_the_order(protocol_tests):
    cases = protocol_tests.cases
    for protocol, batch_size in (
        (SINGLE, 3),
        (EvaluationProtocol("batch", 3), 2),
        (EvaluationProtocol("sequential", 4), 9),
    ):
        units = units_of(cases, protocol, batch_size)
        assert [unit.index for unit in units] == list(range(len(units)))
        found = [case for unit in units for case in unit.cases]
        assert sorted(found, key=cases.index) == list(cases)
        if protocol != SINGLE:
            assert found == list(cases)
            assert [len(unit.cases) for unit in units] == [protocol.size] * (7 // protocol.size) + [7 % protocol.size]
    assert units_of(cases, SINGLE, 3) == units_of(tuple(reversed(cases)), SINGLE, 3)


@pytest.mark.parametrize(
    ("name", "protocol"), [("rome", "batch:2"), ("alphaedit", "sequential:2"), ("ultraedit", "sequential:2")]
)
def test_a_method_that_cannot_do_a_protocol_says_why(name, protocol):
    with pytest.raises(ConfigError, match=rf"{name} cannot be run with --protocol {protocol}: .{{20}}"):
        check_protocol(EDITORS[name], EvaluationProtocol.parse(protocol))


def test_every_other_method_can_do_every_protocol():
    refused = {
        (name, kind) for name, cls in EDITORS.items() for kind in ("single", "batch", "sequential")
        if kind in getattr(cls, "cannot", {})
    }  # fmt: skip
    assert refused == {("rome", "batch"), ("alphaedit", "sequential"), ("ultraedit", "sequential")}


@pytest.mark.parametrize("text", ["1", "2/2", "-1/2", "0/0", "a/b", "0/2/3", "0 / 2"])
def test_what_is_no_shard_is_refused(text):
    with pytest.raises(ConfigError, match="expected i/n with i from 0 to n - 1"):
        Shard.parse(text)
    assert Shard.parse("1/2") == Shard(1, 2)
