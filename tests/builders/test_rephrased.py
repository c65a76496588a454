"""The command that makes the rephrasings of a built dataset anew."""

import json
import os
import re
import sys
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest

from clmeeval_data import storage
from clmeeval_data.builders import chat as chats
from clmeeval_data.builders.chat import Chat
from clmeeval_data.builders.cli import main
from clmeeval_data.builders.rephrased import Task, rephrase_dataset
from clmeeval_data.errors import BudgetSpent, ConfigError
from clmeeval_data.llm import ChatReply, LlmOptions, Usage
from clmeeval_data.records import CNLE, SPLITS, Rephrasing
from clmeeval_data.validate import check_dataset

KEY = "sk-very-secret-1234567890"


def rows(folder):
    return {split: storage.read_split(folder, split) for split in SPLITS}


def all_rows(folder):
    return [record for records in rows(folder).values() for record in records]


def content(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


class Model:
    """In place of the client: words intents by a rule, but not those of the numbers that it was given."""

    silent, budget = (), None
    asked: ClassVar[list] = []

    def __init__(self, options):
        self.model, self.usage = options.model, Usage()

    def complete(self, requests):
        type(self).asked.append(list(requests))
        self.usage = Usage(requests=self.usage.requests + len(requests))
        if self.budget is not None and self.usage.requests > self.budget:
            raise BudgetSpent("all 2 requests of --max-requests are sent.")
        return [self._reply(request) for request in requests]

    def _reply(self, request):
        number = int(re.findall(r"sort list number (\d+)", request.user)[0])
        if number in self.silent:
            return ChatReply(None, "", "not JSON", False)
        return ChatReply({"rewritten": f"By length, put list number {number} in order"}, "", "", False)


@pytest.fixture
def model(monkeypatch):
    class Own(Model):
        asked: ClassVar[list] = []

    monkeypatch.setattr(chats, "ChatClient", Own)
    return Own


def chat():
    return Chat(LlmOptions("http://localhost:1/v1", "small"))


USED = ("--llm-base-url", "http://me:hidden-word@localhost:1/v1", "--llm-model", "small")


def test_all_else_stays(csne_folder):
    before = rows(csne_folder)
    outcome = rephrase_dataset(csne_folder, Task(("syntax", "rename"), seed=1))
    assert outcome.made == {"syntax": 9}
    assert (outcome.kept, outcome.refusals) == (0, {})
    for split, records in rows(csne_folder).items():
        for old, new in zip(before[split], records, strict=True):
            assert new.rephrasing == Rephrasing("syntax", "", "1")
            assert new.code_rewrite != old.code_rewrite
            assert {**vars(new), "code_rewrite": "", "rephrasing": ""} == {
                **vars(old),
                "code_rewrite": "",
                "rephrasing": "",
            }
    assert check_dataset(csne_folder) == []


def test_the_same_task_gives_the_same_bytes(csne_folder, tmp_path):
    for name in ("one", "two"):
        rephrase_dataset(csne_folder, Task(("syntax",), seed=4), tmp_path / name)
    assert content(tmp_path / "one") == content(tmp_path / "two")
    rephrase_dataset(csne_folder, Task(("syntax",), seed=5), tmp_path / "two")
    assert content(tmp_path / "one") != content(tmp_path / "two")


def test_a_case_without_a_wording_keeps_its_own_and_is_counted(cnle_folder, model):
    model.silent = (0, 4)
    before = {record.case_id: record for record in all_rows(cnle_folder)}
    outcome = rephrase_dataset(cnle_folder, Task(("llm",), chat=chat()))
    assert (outcome.made, outcome.kept) == ({"llm": 7}, 2)
    assert outcome.refusals == {"llm: not JSON": 2}
    for record in all_rows(cnle_folder):
        if record.intent in ("sort list number 0 by length", "sort list number 4 by length"):
            assert record == before[record.case_id]
        else:
            assert record.rephrasing == Rephrasing("llm", "small", "1")
            assert record.rewritten_intent.startswith("By length, put list number")
    assert [len(asked) for asked in model.asked] == [9, 2, 2]
    assert check_dataset(cnle_folder) == []


def test_cases_with_one_prompt_are_worded_alike_and_no_case_gets_that_of_another(cnle_folder, cnle_splits):
    first, second, third = cnle_splits["train"]
    twin = replace(second, intent=first.intent, case_id=CNLE.case_id(first.intent, second.snippet))
    storage.write_dataset(cnle_folder, CNLE, {**cnle_splits, "train": [first, twin, third]}, {"limits": []})
    rephrase_dataset(cnle_folder, Task(("rules",)))
    one, two, three = storage.read_split(cnle_folder, "train")
    assert one.rewritten_intent == two.rewritten_intent
    assert "list number 2" in three.rewritten_intent


def test_the_next_engine_words_what_the_first_cannot(cnle_folder, model):
    model.silent = (0, 4)
    outcome = rephrase_dataset(cnle_folder, Task(("llm", "rules"), chat=chat()))
    assert list(outcome.made.items()) == [("llm", 7), ("rules", 2)]
    assert outcome.kept == 0


def test_people_s_wordings_are_those_of_the_dataset(cnle_folder, model):
    before = rows(cnle_folder)
    assert rephrase_dataset(cnle_folder, Task(("human",))).made == {"human": 9}
    assert rows(cnle_folder) == before


def test_the_strength_reaches_the_engine(csne_folder):
    with pytest.raises(ConfigError, match="a strength of 0 rewrites nothing"):
        rephrase_dataset(csne_folder, Task(("syntax",), strength=0))


def test_the_manifest_says_what_was_done_each_time(cnle_folder, model):
    old = storage.read_manifest(cnle_folder)
    model.silent = (8,)
    rephrase_dataset(cnle_folder, Task(("rules",), seed=2))
    rephrase_dataset(cnle_folder, Task(("llm",), chat=chat(), runs=0))
    new = storage.read_manifest(cnle_folder)
    assert new["rephrased"] == [
        {"engines": ["rules"], "seed": 2, "strength": 3, "made": {"rules": 9}, "kept": 0, "refusals": {}},
        {
            "engines": ["llm"],
            "seed": 0,
            "strength": 3,
            "runs": 0,
            "llm": {"base_url": "http://localhost:1/v1", "model": "small"},
            "made": {"llm": 8},
            "kept": 1,
            "refusals": {"llm: not JSON": 1},
        },
    ]
    assert new["command"].split(" && ") == [
        old["command"],
        "clmeeval-build paraphrase clmeeval/cnle --engine rules --seed 2 --strength 3",
        "clmeeval-build paraphrase clmeeval/cnle --engine llm --seed 0 --strength 3 --runs 0 "
        "--llm-base-url http://localhost:1/v1 --llm-model small",
    ]
    assert new["limits"] == old["limits"]


def test_another_folder_leaves_the_dataset_and_takes_its_dropped_rows_along(cnle_folder, tmp_path, cnle_splits):
    dropped = [{"step": "limit", "reason": "beyond the limit"}]
    storage.write_dataset(cnle_folder, storage.benchmark_of(cnle_folder), cnle_splits, {"limits": []}, dropped)
    (cnle_folder / "notes.txt").write_text("mine")
    before = content(cnle_folder)
    rephrase_dataset(cnle_folder, Task(("rules",)), tmp_path / "new")
    assert content(cnle_folder) == before
    assert list(storage.read_jsonl(tmp_path / "new" / storage.DROPPED)) == dropped
    assert check_dataset(tmp_path / "new") == []
    rephrase_dataset(cnle_folder, Task(("rules",)))
    assert (cnle_folder / "notes.txt").read_text() == "mine"
    assert (cnle_folder / storage.DROPPED).read_bytes() == before[storage.DROPPED]


def test_the_bounds_are_those_by_which_the_dataset_was_built(cnle_folder, cnle_splits):
    bounds = {"code": False, "most_similar": 95.0, "shortest": 0.4, "longest": 0.5}
    manifest = {"limits": [], "recipe": {"name": "mine", "bounds": bounds}}
    storage.write_dataset(cnle_folder, storage.benchmark_of(cnle_folder), cnle_splits, manifest)
    with pytest.raises(ConfigError, match=r"none of the 9 cases .* \(rules: too short or too long: 9\)"):
        rephrase_dataset(cnle_folder, Task(("rules",)))


@pytest.mark.parametrize("fault", ["none can", "budget"])
def test_nothing_is_written_where_the_work_did_not_end_well(cnle_folder, model, fault):
    before = content(cnle_folder)
    model.silent, model.budget = (range(9), None) if fault == "none can" else ((1,), 9)
    with pytest.raises(ConfigError if fault == "none can" else BudgetSpent):
        rephrase_dataset(cnle_folder, Task(("llm",), chat=chat()))
    assert content(cnle_folder) == before
    assert [path.name for path in cnle_folder.parent.iterdir()] == ["cnle"]


# With a server


class Server(BaseHTTPRequestHandler):
    """An OpenAI-compatible server with the same rule; of every third number it says "Sure" when it is first asked."""

    asked: ClassVar[list] = []

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        request = body["messages"][-1]["content"]
        number = int(re.findall(r"sort list number (\d+)", request)[0])
        again = number in self.asked
        self.asked.append(number)
        text = f"{'' if again or number % 3 else 'Sure, '}by length, put list number {number} in order"
        message = {"role": "assistant", "content": json.dumps({"rewritten": text})}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        usage = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}
        reply = {"id": "1", "object": "chat.completion", "created": 1, "model": "small", "choices": [choice]}
        content = json.dumps({**reply, "usage": usage}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    """The address of a server on loopback, and the numbers that it was asked about."""

    class Own(Server):
        asked: ClassVar[list] = []

    with ThreadingHTTPServer(("127.0.0.1", 0), Own) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}/v1", Own.asked
        running.shutdown()
        thread.join()


def test_a_failed_wording_is_asked_for_once_more_and_a_second_run_asks_nothing(cnle_folder, tmp_path, server):
    address, asked = server

    def task():
        return Task(("llm",), chat=Chat(LlmOptions(address, "small", cache=tmp_path / "replies", concurrency=2)))

    outcome = rephrase_dataset(cnle_folder, task(), tmp_path / "one")
    assert (outcome.made, outcome.kept) == ({"llm": 9}, 0)
    assert sorted(asked) == sorted([*range(9), 0, 3, 6])
    assert not any("Sure" in record.rewritten_intent for record in all_rows(tmp_path / "one"))
    rephrase_dataset(cnle_folder, task(), tmp_path / "two")
    assert len(asked) == 12
    assert content(tmp_path / "one") == content(tmp_path / "two")


# On the command line


@pytest.fixture
def run(monkeypatch, capsys, cnle_folder):
    """Run the command where the dataset is clmeeval/cnle; gives exit code, stdout and stderr."""
    monkeypatch.chdir(cnle_folder.parents[1])
    monkeypatch.setenv("CLMEEVAL_LLM_API_KEY", KEY)

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["clmeeval-build", "paraphrase", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            main()
        captured = capsys.readouterr()
        return stopped.value.code or 0, captured.out, captured.err

    return call


def test_the_command_rewords_and_says_how_many(run, cnle_folder, model):
    model.silent = (3,)
    code, out, err = run("clmeeval/cnle", "--engine", "llm", "--out", "new", *USED, "--max-requests", 100)
    assert (code, out) == (0, "new: 8 cases reworded, 1 as they were\n")
    assert "llm: not JSON" in err
    assert "small: 11 requests sent" in err
    written = b"".join(content(cnle_folder.parents[1] / "new").values())
    manifest = (cnle_folder.parents[1] / "new" / "manifest.json").read_text()
    assert json.loads(manifest)["rephrased"][0]["llm"]["base_url"] == "http://localhost:1/v1"
    assert not any(secret in written or secret in (out + err).encode() for secret in (KEY.encode(), b"hidden-word"))


def test_options_reach_the_client(run, model, monkeypatch):
    given = []
    monkeypatch.setattr(
        model, "__init__", lambda self, options: (given.append(options), Model.__init__(self, options))[0]
    )
    more = ("--llm-concurrency", 3, "--llm-cache", "replies", "--llm-batch", "--max-requests", 50)
    assert (
        run("clmeeval/cnle", "--engine", "llm", *USED, *more, "--max-cost", 2, "--price-in", 1, "--price-out", 4)[0]
        == 0
    )
    (options,) = given
    assert (options.concurrency, str(options.cache), options.batch) == (3, "replies", True)
    assert (options.max_requests, options.max_cost, options.price_in, options.price_out) == (50, 2.0, 1.0, 4.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere", "--engine", "rules"], "no dataset folder nowhere"),
        (["clmeeval/cnle"], "no engine to rephrase with. Expected at least one --engine"),
        (["clmeeval/cnle", "--engine", "rulse"], "unknown engine 'rulse'. Did you mean 'rules'?"),
        (["clmeeval/cnle", "--engine", "llm"], "engine 'llm' has no language model to ask. Give --llm-base-url"),
        (["clmeeval/cnle", "--engine", "llm", *USED[:2]], "a chat model needs --llm-model as well"),
        (["clmeeval/cnle", "--engine", "llm", *USED[2:]], "a chat model needs --llm-base-url as well"),
        (
            ["clmeeval/cnle", "--engine", "llm", "--max-requests", "5"],
            "a chat model needs --llm-base-url and --llm-model as well",
        ),
        (["clmeeval/cnle", "--engine", "llm", *USED, "--max-cost", "5"], "a largest cost of 5.0 USD cannot be kept"),
        (["clmeeval/cnle", "--engine", "llm", *USED, "--llm-concurrency", "0"], "concurrency 0 cannot be used"),
        (["clmeeval/cnle", "--engine", "syntax"], "none of the 9 cases could be reworded by syntax"),
        (["clmeeval/cnle", "--engine", "rules", "--runs", "-1"], "--runs -1 is too small"),
        (["clmeeval/cnle", "--engine", "rules", "--out", "taken"], "taken is a folder that holds something else"),
    ],
)
def test_what_is_wrong_is_one_line(run, cnle_folder, arguments, message):
    (cnle_folder.parents[1] / "taken").mkdir()
    (cnle_folder.parents[1] / "taken" / "notes.txt").write_text("mine")
    before = content(cnle_folder)
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {message}")
    assert err.count("\n") == 1
    assert KEY not in err
    assert "hidden-word" not in err
    assert content(cnle_folder) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_named(run, tmp_path):
    (tmp_path / "locked").mkdir(mode=0o500)
    code, _, err = run("clmeeval/cnle", "--engine", "rules", "--out", tmp_path / "locked" / "new")
    assert code == 2
    assert "cannot write" in err
