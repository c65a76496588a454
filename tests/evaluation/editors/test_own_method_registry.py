"""Methods of other installed packages: found, told apart, and never in the way of ours."""

import logging
import sys

import pytest

from clmeeval_data.errors import ConfigError, UnknownNameError
from clmeeval_data.evaluation import editors
from clmeeval_data.evaluation.editors import EDITORS, GROUP, described_methods, origin_of
from clmeeval_data.evaluation.editors.rome import Rome
from clmeeval_data.registry import Registry

GOOD = """
from clmeeval_data.evaluation.editors.contract import EditorConfig
class {cls}:
    name, summary, family, changes, needs, config_class = "{name}", "s", "floor", "c", "n", EditorConfig
"""


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Put a distribution with entry points, and its module, onto the path, and give the registry a fresh look."""
    monkeypatch.syspath_prepend(str(tmp_path))
    fresh = Registry(EDITORS.kind, EDITORS._entries, GROUP, EDITORS._check)
    monkeypatch.setattr(editors, "EDITORS", fresh)
    modules = []

    def add(package, version, module, offers, code):
        info = tmp_path / f"{package}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
        lines = "".join(f"{name} = {module}:{attribute}\n" for name, attribute in offers.items())
        (info / "entry_points.txt").write_text(f"[{GROUP}]\n{lines}")
        (tmp_path / f"{module}.py").write_text(code)
        modules.append(module)
        return fresh

    yield add
    for module in modules:
        sys.modules.pop(module, None)


def mine(name="mine"):
    return GOOD.format(cls="Mine", name=name)


def test_a_method_of_another_package_is_found_listed_and_known_by_its_package(install):
    registry = install("my-methods", "1.2", "own_one", {"mine": "Mine"}, mine())
    assert registry["mine"].__module__ == "own_one"
    assert "mine" in registry
    assert list(registry) == [*EDITORS._entries, "mine"]
    assert len(registry) == len(EDITORS._entries) + 1
    row = described_methods()[-1]
    assert (row.name, row.family, row.package, row.problem) == ("mine", "floor", "my-methods 1.2", "")
    assert origin_of(registry["mine"]()) == origin_of(registry["mine"]) == {"package": "my-methods", "version": "1.2"}


def test_ours_have_no_origin():
    assert origin_of(Rome) == {}
    assert EDITORS.origins("rome") == ()
    assert [row.package for row in described_methods()] == [""] * len(EDITORS)


def test_a_class_that_nobody_registered_is_known_by_its_name():
    cls = type("Local", (), {"name": "rome", "__module__": "somewhere"})
    assert origin_of(cls) == origin_of(cls()) == {"class": "somewhere.Local"}


def test_packages_are_looked_up_once_and_not_before_they_are_needed(install, monkeypatch):
    import importlib.metadata

    real, calls = importlib.metadata.entry_points, []
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda **options: calls.append(options) or real(**options))
    registry = install("my-methods", "1.2", "own_lazy", {"mine": "Mine"}, mine())
    assert calls == []
    assert list(registry)
    assert registry["mine"]
    assert registry["none"]
    assert calls == [{"group": GROUP}]
    assert Registry("x", {"a": "fractions:Fraction"})["a"]
    assert len(calls) == 1, "a registry without a group looks nothing up"


def test_a_broken_package_breaks_only_its_own_method(install):
    registry = install("bad-methods", "0.3", "own_bad", {"bad": "Bad"}, "import no_such_module")
    install("my-methods", "1.2", "own_beside", {"mine": "Mine"}, mine())
    assert registry["none"]
    assert registry["mine"]
    with pytest.raises(ConfigError, match=r"method 'bad' of the package bad-methods 0\.3 cannot be loaded") as caught:
        registry["bad"]
    assert "ModuleNotFoundError: No module named 'no_such_module'" in str(caught.value)
    rows = {row.name: row for row in described_methods()}
    assert rows["bad"].package == "bad-methods 0.3"
    assert "no_such_module" in rows["bad"].problem
    assert rows["mine"].problem == rows["rome"].problem == ""


def test_a_name_of_ours_stays_ours_and_a_warning_says_so(install, caplog):
    registry = install("my-methods", "1.2", "own_shadow", {"rome": "Mine"}, mine("rome"))
    with caplog.at_level(logging.WARNING):
        assert registry["rome"] is Rome
    assert "the package my-methods 1.2 offers a method 'rome', which is a name of ours: it is not used" in caplog.text
    assert list(registry) == list(EDITORS._entries)


def test_two_packages_with_one_name_are_one_clear_error(install):
    registry = install("b-methods", "2.0", "own_b", {"mine": "Mine"}, mine())
    install("a-methods", "1.0", "own_a", {"mine": "Mine"}, mine())
    with pytest.raises(ConfigError) as caught:
        registry["mine"]
    assert str(caught.value) == (
        "method 'mine' is offered by 2 packages: a-methods 1.0, b-methods 2.0. Uninstall all but one of them."
    )
    assert [row.package for row in described_methods() if row.name == "mine"] == ["a-methods 1.0, b-methods 2.0"]


def test_a_name_that_is_nearly_right_is_suggested(install):
    registry = install("my-methods", "1.2", "own_near", {"wibble": "Mine"}, mine("wibble"))
    with pytest.raises(UnknownNameError, match=r"unknown method 'wible'\. Did you mean 'wibble'\? Known: .*wibble"):
        registry["wible"]


@pytest.mark.parametrize(
    ("code", "found"),
    [
        (mine("rome"), "is 'Mine', named 'rome'"),
        ("Mine = 3", "is 3, named None"),
        ("class Mine:\n    name = 'mine'", "is 'Mine', named 'mine'"),
        ("def Mine(config): pass", "is 'Mine', named None"),
    ],
    ids=["another name", "no class", "no settings", "a function"],
)
def test_what_is_no_editor_class_of_that_name_is_refused(install, code, found):
    registry = install("my-methods", "1.2", "own_odd", {"mine": "Mine"}, code)
    with pytest.raises(ConfigError, match="Expected a class with name = 'mine' and a config_class") as caught:
        registry["mine"]
    assert found in str(caught.value)
