"""The package in docs/own-method.md, taken from there, installed in an environment of its own, and used as it says."""

import json
import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from clmeeval_data.evaluation.testing import tiny_model
from clmeeval_data.records import CNLE
from clmeeval_data.storage import write_dataset

FILES = ("clmeeval_nudge.py", "pyproject.toml", "test_nudge.py")


@pytest.fixture(scope="module")
def blocks(root):
    """The files of the page, by their names."""
    text = (root / "docs/own-method.md").read_text(encoding="utf-8")
    return {name: body for name, body in re.findall(r"```\w+\n# (\S+)\n(.*?)```", text, re.S)}


def test_the_page_has_a_method_of_at_most_forty_lines(blocks):
    assert set(blocks) == set(FILES)
    lines = [line for line in blocks["clmeeval_nudge.py"].splitlines() if line.strip()]
    assert len(lines) <= 40, len(lines)
    assert all(len(line) <= 120 for line in lines)


class Environment:
    """A virtual environment that sees the packages of this one and the checkout, and has the method installed."""

    def __init__(self, folder: Path, root: Path) -> None:
        self.folder = folder
        self.run(sys.executable, "-m", "venv", "--without-pip", "env")
        self.python = str(folder / "env" / "bin" / "python")
        site = sysconfig.get_path("purelib", vars={"base": str(folder / "env")})
        Path(site, "beside.pth").write_text(f"{sysconfig.get_path('purelib')}\n{root}\n", encoding="utf-8")

    def run(self, *arguments: str) -> str:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PIP"))}
        wanted = {**kept, "COLUMNS": "200", "OMP_NUM_THREADS": "1", "PIP_NO_INDEX": "1", "HF_HUB_OFFLINE": "1"}
        done = subprocess.run(arguments, cwd=self.folder, env=wanted, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def install(self, path: str) -> None:
        options = ("--quiet", "--no-deps", "--no-build-isolation", "--disable-pip-version-check")
        self.run(sys.executable, "-m", "pip", "--python", self.python, "install", *options, path)

    def command(self, module: str, *arguments: str) -> str:
        return self.run(self.python, "-m", f"clmeeval_data.evaluation.{module}", *arguments)


@pytest.mark.long
def test_the_package_is_installed_found_checked_run_and_ranked(blocks, root, tmp_path, cnle_splits, save_model):
    pytest.importorskip("hatchling", reason="pip builds the package with it, offline")
    package = tmp_path / "nudge"
    package.mkdir()
    for name, body in blocks.items():
        (package / name).write_text(body, encoding="utf-8")
    save_model(tmp_path / "model", tiny_model("llama"))
    write_dataset(tmp_path / "data", CNLE, cnle_splits, {})
    environment = Environment(tmp_path, root)

    known = "from clmeeval_data.evaluation.editors import EDITORS; print(*EDITORS.origins('nudge'))"
    assert environment.run(environment.python, "-c", known) == "\n"
    environment.install("./nudge")
    assert environment.run(environment.python, "-c", known) == "clmeeval-nudge 0.1.0\n"
    listed = environment.command("cli", "list")
    assert "one vector, written along the prompt's key" in listed
    assert "1 passed" in environment.run(environment.python, "-m", "pytest", "-q", "nudge/test_nudge.py")

    options = ["--model", "./model", "--dataset", "data", "--method", "none", "--method", "nudge", "--out", "results"]
    folders = environment.command("cli", "run", *options, "--limit", "2").split()
    assert len(folders) == 2
    summary = json.loads((tmp_path / folders[1] / "summary.json").read_text())
    assert summary["cases"]["finished"] == 2
    assert summary["cases"]["failed"] == 0

    board = environment.command("leaderboard", "results")
    rows = [line for line in board.splitlines() if re.search(r"\b(none|nudge)\b", line)]
    assert any("nudge" in row for row in rows), board
    assert any("none" in row for row in rows), board
