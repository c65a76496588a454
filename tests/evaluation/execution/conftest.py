"""A tiny model and a dataset on disk, which every process can load, and plans for them."""

from dataclasses import replace

import pytest

from clmeeval_data.evaluation.plan import Plan
from clmeeval_data.records import CNLE, CnleNeighbour, CnleRecord, Provenance, Rephrasing
from clmeeval_data.storage import write_dataset


@pytest.fixture(scope="session")
def saved_run(tmp_path_factory, save_model):
    """A folder with ``model``, and ``data`` with twelve test cases of different lengths."""
    root = tmp_path_factory.mktemp("saved")
    records = [
        CnleRecord(
            CNLE.case_id(f"add {i} to x" + " again" * (i % 5), f"x += {i} * 7"),
            f"add {i} to x" + " again" * (i % 5),
            f"increase x by {i}",
            f"x += {i} * 7",
            (CnleNeighbour(f"do {i} things", f"f({i})", 50.0),),
            Provenance("test", f"q{i}", f"group {i}", "Apache-2.0"),
            Rephrasing("human", "", "1"),
        )
        for i in range(16)
    ]
    write_dataset(root / "data", CNLE, {"train": records[:2], "validation": records[2:4], "test": records[4:]}, {})
    save_model(root / "model")
    return root


@pytest.fixture
def plan_of(saved_run):
    """A plan that writes into a folder, with changes."""
    settings = (("layer", 2), ("steps", 5), ("start", "zero"), ("learning_rate", 0.3))

    def make(out, **changes):
        plan = Plan(
            model=str(saved_run / "model"),
            datasets=(str(saved_run / "data"),),
            methods=("grace",),
            out=out,
            batch_size=3,
        )
        own = {} if len(changes.get("methods", ("grace",))) > 1 else {"overrides": settings}
        return replace(plan, **{**own, **changes})

    return make
