import re
from pathlib import Path

import pytest

import clmeeval_data


def test_version_is_that_of_the_project(root):
    found = re.search(r'^version = "(.+)"$', (root / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    assert found is not None
    assert clmeeval_data.__version__ == found.group(1)


@pytest.mark.parametrize("name", clmeeval_data.__all__)
def test_every_public_name_can_be_had(name):
    assert getattr(clmeeval_data, name) is not None


def test_public_names_are_those_of_their_modules():
    from clmeeval_data import hub, records, validate

    assert clmeeval_data.CNLE is records.CNLE
    assert clmeeval_data.load_csne is hub.load_csne
    assert clmeeval_data.check_dataset is validate.check_dataset


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'clmeeval_data' has no attribute 'load_cnel'"):
        clmeeval_data.load_cnel  # noqa: B018 - the access is what is tested


def test_package_says_that_it_is_typed():
    assert (Path(clmeeval_data.__file__).parent / "py.typed").is_file()
