"""Settings on a command line."""

import pytest

from clmeeval_data.errors import ConfigError
from clmeeval_data.settings import parse_setting


@pytest.mark.parametrize(
    ("text", "expected"),
    [("steps=40", ("steps", 40)), ("lr = 5e-1", ("lr", 0.5)), ("start=zero", ("start", "zero")), ('a="1"', ("a", "1"))],
)
def test_values_are_toml_or_plain_strings(text, expected):
    assert parse_setting(text) == expected


@pytest.mark.parametrize("text", ["steps", "=3"])
def test_a_setting_without_name_or_value_is_an_error(text):
    with pytest.raises(ConfigError, match="Expected name=value"):
        parse_setting(text)
