import logging

import pytest

from clmeeval_data.errors import ConfigError
from clmeeval_data.evaluation.editors import EDITORS
from clmeeval_data.evaluation.hparams import models_with_settings, parse_override, read_settings, settings_for

METHODS = [name for name in EDITORS if name != "none"]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("model", ["codellama/CodeLlama-7b-hf", "CodeQwen1.5-7B", "stable-code-3b", "smollm2"])
def test_the_shipped_settings_fit_the_configuration(method, model):
    values, origin = settings_for(method, model, 32)
    assert EDITORS[method].config_class.from_dict(values).edited_layers
    assert origin == ("smollm2" if model == "smollm2" else "published")


def test_the_published_numbers_are_those_of_the_paper():
    ft, grace, rome = (settings_for(name, "CodeLlama-7b-hf", 32).values for name in ("ft", "grace", "rome"))
    assert (ft["layer"], ft["learning_rate"], ft["steps"], ft["clamp"]) == (21, 5e-4, 25, 1e-4)
    assert (grace["layer"], grace["learning_rate"], grace["steps"], grace["radius"]) == (27, 1.0, 30, 1.0)
    assert (rome["layer"], rome["learning_rate"], rome["steps"], rome["kl_factor"], rome["clamp"]) == (
        5,
        0.5,
        25,
        0.0625,
        4,
    )


def test_a_model_is_not_recognised_by_a_part_of_its_name(caplog):
    with caplog.at_level(logging.WARNING):
        values, origin = settings_for("ft", "my-CodeLlama-7b-hf-finetuned", 16)
    assert values["layer"] == round(21 / 2)
    assert origin == "published, scaled to 16 layers"
    assert "no settings of ft for my-CodeLlama-7b-hf-finetuned" in caplog.text


def test_a_method_without_settings_needs_none():
    assert settings_for("none", "anything", 4).values == {}
    assert models_with_settings("none") == []
    assert "smollm2" in models_with_settings("grace")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("steps=40", ("steps", 40)), ("lr = 5e-1", ("lr", 0.5)), ("start=zero", ("start", "zero")), ('a="1"', ("a", "1"))],
)
def test_overrides_are_toml_values_or_plain_strings(text, expected):
    assert parse_override(text) == expected


@pytest.mark.parametrize("text", ["steps", "=3"])
def test_an_override_without_name_or_value_is_an_error(text):
    with pytest.raises(ConfigError, match="Expected name=value"):
        parse_override(text)


@pytest.mark.parametrize(
    ("content", "message"), [(None, "cannot read"), ("x = [", "cannot read"), ("x = 1", "no .config. table")]
)
def test_a_settings_file_that_cannot_be_used_is_an_error(tmp_path, content, message):
    path = tmp_path / "own.toml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError, match=message):
        read_settings(path)


def test_a_settings_file_of_ones_own(tmp_path):
    path = tmp_path / "own.toml"
    path.write_text("[config]\nlayer = 3\n")
    assert read_settings(path) == ({"layer": 3}, str(path))
