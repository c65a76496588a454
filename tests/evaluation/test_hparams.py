import logging
import tomllib

import pytest

from clmeeval_data.errors import ConfigError, ResultsError
from clmeeval_data.evaluation.editors import EDITORS
from clmeeval_data.evaluation.hparams import (
    read_settings,
    search_space,
    settings_for,
    write_settings,
)

METHODS = [name for name in EDITORS if name != "none"]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("model", ["codellama/CodeLlama-7b-hf", "CodeQwen1.5-7B", "stable-code-3b", "smollm2"])
def test_the_shipped_settings_fit_the_configuration(method, model):
    values, origin = settings_for(method, model, 32)
    config = EDITORS[method].config_class.from_dict(values)
    assert config.edited_layers or method in {"lora", "incontext"}, "all layers, or none"
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


# --- search spaces, and written files ---------------------------------------------------------------------------------


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    """A folder in the place of the shipped settings."""
    monkeypatch.setattr("clmeeval_data.evaluation.hparams.resources.files", lambda package: tmp_path)

    def ship(method, content):
        (tmp_path / method).mkdir()
        (tmp_path / method / "published.toml").write_text(content)

    return ship


def test_layers_to_try_are_moved_to_the_depth_of_the_model(shipped):
    shipped("some", "[search]\nsteps = [9, 3]\nlayer = [0.0, 0.5, 1]\nlayers = [[0.0, 1.0], [0.125, 0.28], [1, 1]]\n")
    space = search_space("some", 32)
    assert list(space) == ["steps", "layer", "layers"]
    assert space == {"steps": [9, 3], "layer": [0, 16, 31], "layers": [list(range(32)), [4, 5, 6, 7, 8], [31]]}
    assert search_space("some", 4)["layers"] == [[0, 1, 2, 3], [0], [3]]


@pytest.mark.parametrize("line", ["layer = [21]", 'layer = ["0.5"]', "layers = [[0.5, 2.0]]"])
def test_a_layer_to_try_that_is_no_relative_depth_is_an_error(shipped, line):
    shipped("some", f"[search]\n{line}\n")
    with pytest.raises(ConfigError, match=r"is no relative depth. Expected numbers from 0 to 1"):
        search_space("some", 32)


def test_a_method_without_candidates_has_an_empty_search_space(shipped):
    shipped("some", "[config]\nsteps = 3\n")
    assert search_space("some", 32) == search_space("none", 32) == {}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("depth", [30, 32])
def test_everything_that_is_shipped_to_try_is_a_setting(method, depth):
    values = settings_for(method, "CodeLlama-7b-hf", 32).values
    cls = EDITORS[method].config_class
    for name, candidates in search_space(method, depth).items():
        assert name in cls.from_dict(values).as_dict()
        for candidate in candidates:
            config = cls.from_dict({**values, name: candidate})
            assert max(config.edited_layers) < depth or name not in {"layer", "layers"}


def test_written_settings_are_read_back(tmp_path):
    path, config = tmp_path / "new" / "own.toml", {
        "steps": 30, "rate": 1e-05, "big": 1e22, "whole": 1.0, "flag": True, "layers": (3, 4), "none": None,
        "prompt": 'Intent: "x\\y"\n\tCode: é \u2028 🙂 \x7f',
    }  # fmt: skip
    head = ["word " * 40, "Source: nowhere."]
    write_settings(path, "org/My-Model", 30, config, head, {"steps": "found", "flag": "long " * 50})
    values = read_settings(path).values
    assert values == {**{k: v for k, v in config.items() if v is not None}, "layers": [3, 4]}
    assert [type(values[name]) for name in ("steps", "rate", "whole", "flag")] == [int, float, float, bool]
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    assert (table["models"], table["depth"]) == (["My-Model"], 30)
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("# word word")
    assert lines[lines.index("steps = 30") - 1] == "# found"
    assert lines[lines.index("rate = 1e-05") - 1] == "steps = 30"
    assert max(map(len, lines)) <= 120


def test_settings_that_cannot_be_written_are_an_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ResultsError, match="cannot write"):
        write_settings(tmp_path / "file" / "own.toml", "m", 4, {}, [], {})
