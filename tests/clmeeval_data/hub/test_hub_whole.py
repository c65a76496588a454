"""Whole benchmarks, built before: published, and loaded in a fresh process, row by row the same.

CLMEEVAL_WHOLE names their folders, e.g. ``CLMEEVAL_WHOLE=clmeeval/cnle:clmeeval/csne make test``.
"""

import os
from pathlib import Path

import pytest

from tests.clmeeval_data.hub.loopback.whole import check_loads_as_built

FOLDERS = [Path(folder) for folder in os.environ.get("CLMEEVAL_WHOLE", "").split(os.pathsep) if folder]

pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not FOLDERS, reason="CLMEEVAL_WHOLE names no folders of whole benchmarks"),
]


@pytest.mark.parametrize("folder", FOLDERS, ids=str)
def test_a_whole_benchmark_loads_in_a_fresh_process(served, folder, tmp_path):
    check_loads_as_built(folder, served, tmp_path)
