"""Every method of ours keeps the contract that methods of other packages are checked against."""

import runpy
from pathlib import Path

import pytest

from clmeeval_data.evaluation.editors import EDITORS
from clmeeval_data.evaluation.testing import check_editor

SETTINGS = runpy.run_path(str(Path(__file__).parent / "editors" / "test_editors.py"))["SETTINGS"]


@pytest.mark.parametrize("method", list(SETTINGS))
def test_our_methods_pass_all_checks(method):
    check_editor(EDITORS[method], SETTINGS[method])
