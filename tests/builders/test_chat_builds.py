"""Builds whose engines or judge ask a language model: one client, one budget, and what is written of it."""

import json
import re
import shlex
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from clmeeval_data import storage
from clmeeval_data.builders import chat as chats
from clmeeval_data.builders.chat import Chat
from clmeeval_data.builders.cli import main
from clmeeval_data.builders.execution import open_executor
from clmeeval_data.builders.pipeline import build
from clmeeval_data.builders.recipes import CNLE_SAMPLE
from clmeeval_data.builders.sources.sample import SampleSource
from clmeeval_data.errors import BudgetSpent, ConfigError
from clmeeval_data.llm import ChatReply, LlmOptions, Usage
from clmeeval_data.records import SPLITS

KEY = "sk-very-secret-1234567890"
USED = ("--llm-base-url", "http://me:hidden-word@localhost:1/v1", "--llm-model", "small")
BY_LLM = replace(CNLE_SAMPLE, engines=("llm", "human"))


@pytest.fixture
def opened(monkeypatch):
    """Stands in for the client; gives those that were opened. Intents with "file" have no wording by it."""
    found = []

    class Own:
        def __init__(self, options):
            self.model, self.options, self.asked = options.model, options, []
            found.append(self)

        @property
        def usage(self):
            return Usage(requests=len(self.asked))

        def complete(self, requests):
            bound = self.options.max_requests
            if bound is not None and len(self.asked) + len(requests) > bound:
                raise BudgetSpent(f"all {bound} requests of --max-requests are sent.")
            self.asked += requests
            return [self._reply(request) for request in requests]

        def _reply(self, request):
            texts = re.findall(r"(===== \w+)\n(.*?)\n\1", request.user, re.S)
            if len(texts) == 2:
                return ChatReply({"score": 0.0 if "csv" in request.user else 1.0, "reason": "Because."}, "", "", False)
            if "file" in texts[0][1]:
                return ChatReply(None, "", "empty", False)
            return ChatReply({"rewritten": f"What does one write in order to {texts[0][1]}"}, "", "", False)

    monkeypatch.setattr(chats, "ChatClient", Own)
    return found


def chat(**more):
    return Chat(LlmOptions("http://localhost:1/v1", "small", **more))


def records(folder):
    return [record for split in SPLITS for record in storage.read_split(folder, split)]


def content(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_the_engine_of_each_row_is_written(opened, tmp_path):
    report = build(BY_LLM, [SampleSource()], tmp_path / "out", shard_size=50, chat=chat())
    made = records(tmp_path / "out")
    assert {(each.rephrasing.engine, each.rephrasing.model, "file" in each.intent) for each in made} == {
        ("llm", "small", False),
        ("human", "", True),
    }
    manifest = storage.read_manifest(tmp_path / "out")
    assert manifest["llm"] == {"base_url": "http://localhost:1/v1", "model": "small"}
    assert len(opened) == 1
    failed = sum("file" in each.intent for each in made)
    assert len(opened[0].asked) == len(made) + 2 * failed
    assert report.notes[0] == f"small: {len(made) + 2 * failed} requests sent, 0 answered from the cache, 0.0000 USD."


def test_the_executor_changes_nothing(opened, tmp_path):
    build(BY_LLM, [SampleSource()], tmp_path / "one", shard_size=50, chat=chat())
    build(BY_LLM, [SampleSource()], tmp_path / "two", shard_size=50, chat=chat(), executor=open_executor(None, 2, None))
    assert content(tmp_path / "one") == content(tmp_path / "two")
    assert len(opened) == 2


def test_the_judge_and_the_engine_share_one_client(opened, tmp_path):
    report = build(replace(BY_LLM, judge=0.5), [SampleSource()], tmp_path / "out", chat=chat())
    reasons = {(drop.step, drop.reason): drop.count for drop in report.funnel.ordered()}
    assert list(reasons) == [("judge", "judged below 0.5 by llm small")]
    assert not any("csv" in each.intent + each.snippet for each in records(tmp_path / "out"))
    assert len(opened) == 1


def test_a_spent_budget_keeps_what_is_done_and_the_same_command_goes_on(opened, tmp_path):
    with pytest.raises(BudgetSpent):
        build(BY_LLM, [SampleSource()], tmp_path / "out", shard_size=50, chat=chat(max_requests=150))
    assert not (tmp_path / "out").exists()
    build(BY_LLM, [SampleSource()], tmp_path / "out", shard_size=50, chat=chat())
    build(BY_LLM, [SampleSource()], tmp_path / "whole", shard_size=50, chat=chat())
    assert content(tmp_path / "out") == content(tmp_path / "whole")
    assert 0 < len(opened[1].asked) < len(opened[2].asked)


def test_work_for_one_model_is_not_taken_for_another(opened, tmp_path):
    for model in ("small", "large"):
        other = Chat(LlmOptions("http://localhost:1/v1", model))
        build(BY_LLM, [SampleSource()], tmp_path / model, chat=other, work=tmp_path / "work", keep_work=True)
    assert {each.rephrasing.model for each in records(tmp_path / "large")} == {"large", ""}
    assert len([path for path in (tmp_path / "work").iterdir()]) == 2


def test_a_model_without_use_and_a_use_without_model_are_refused(opened, tmp_path):
    with pytest.raises(ConfigError, match="recipe 'cnle-sample' asks no language model"):
        build(CNLE_SAMPLE, [SampleSource()], tmp_path / "out", chat=chat())
    with pytest.raises(ConfigError, match="--llm-base-url and --llm-model"):
        build(BY_LLM, [SampleSource()], tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLMEEVAL_LLM_API_KEY", KEY)

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["clmeeval-build", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            main()
        captured = capsys.readouterr()
        return stopped.value.code or 0, captured.out, captured.err

    return call


def test_the_command_builds_the_same_again_and_tells_no_secret(run, opened):
    code, out, err = run("cnle", "--limit", 20, "--set", 'engines=["llm", "human"]', *USED, "--max-requests", 5000)
    assert code == 0, err
    assert "small: " in err
    manifest = json.loads(Path("clmeeval/cnle/manifest.json").read_text())
    assert run(*shlex.split(manifest["command"])[1:], "--out", "again")[0] == 0
    assert content(Path("again")) == content(Path("clmeeval/cnle"))
    written = b"".join(content(Path("again")).values()) + (out + err).encode()
    assert KEY.encode() not in written
    assert b"hidden-word" not in written


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", 'engines=["llm"]'], "engine 'llm' has no language model to ask."),
        (["--llm-model", "small"], "a chat model needs --llm-base-url as well"),
        ([*USED], "recipe 'cnle-sample' asks no language model."),
        (["--set", "judge=1.5"], "judge=1.5 is no score."),
    ],
)
def test_what_is_wrong_is_one_line(run, arguments, message):
    code, out, err = run("cnle", *arguments)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {message}")
    assert err.count("\n") == 1
