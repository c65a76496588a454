"""The Batch API: files and batches of a scripted server, and runs that end at every point in between."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest

from clmeeval_data.errors import BudgetSpent, ChatError
from clmeeval_data.llm import Usage

RUN = """
import json
import sys
from pathlib import Path
from clmeeval_data.llm import ChatClient, ChatRequest, LlmOptions
schema = json.loads(sys.argv[3])
options = LlmOptions(sys.argv[1], "tiny", Path(sys.argv[2]), batch=True, batch_poll=0.05)
ChatClient(options).complete([ChatRequest("Rephrase.", f"question {number}", schema) for number in range(5)])
"""


class Batches:
    """The endpoints of files and batches. ``broken`` holds answers that come first, in place of theirs."""

    def __init__(self, say, polls=2):
        self.say, self.polls = say, polls
        self.uploads, self.batches, self.files = [], {}, {}
        self.asked, self.looks = Counter(), Counter()
        self.broken = {"files": [], "create": [], "list": [], "look": [], "content": []}
        self.end = "completed"
        self.line = lambda line: {"status_code": 200, "body": json.loads(say.completion('{"text": "fine"}'))}

    def __call__(self, method, path, body):
        name = path.removeprefix("/v1/").partition("?")[0]
        if method == "POST":
            kind = {"files": "files", "batches": "create"}[name]
        else:
            kind = "list" if name == "batches" else "look" if name.startswith("batches/") else "content"
        answer, wrong = None, self.broken[kind].pop(0) if self.broken[kind] else None
        if wrong is None or wrong.cut:  # a cut answer hides what was done all the same
            answer = getattr(self, f"_{kind}")(name, body)
        return wrong or self.say.Say(body=answer if isinstance(answer, bytes) else json.dumps(answer).encode())

    def _files(self, name, body):
        content = re.search(rb'filename="requests.jsonl".*?\r\n\r\n(.*?)\r\n--', body, re.DOTALL).group(1)
        assert b"batch" in body
        self.uploads.append([json.loads(line) for line in content.splitlines()])
        self.asked.update(line["body"]["messages"][-1]["content"] for line in self.uploads[-1])
        return {"id": f"file-{len(self.uploads) - 1}", "object": "file"}

    def _create(self, name, body):
        made = json.loads(body)
        assert (made["endpoint"], made["completion_window"]) == ("/v1/chat/completions", "24h")
        number = f"batch_{len(self.batches)}"
        lines = self.uploads[int(made["input_file_id"].removeprefix("file-"))]
        self.batches[number] = {"id": number, "object": "batch", "status": "in_progress", "metadata": made["metadata"]}
        answers = [{"custom_id": line["custom_id"], "response": self.line(line), "error": None} for line in lines]
        answers = answers if self.end == "completed" else answers[:2]
        good = [answer for answer in answers if answer["response"]["status_code"] == 200]
        for kind, part in (("out", good), ("err", [answer for answer in answers if answer not in good])):
            self.files[f"{kind}-{number}"] = b"".join(json.dumps(answer).encode() + b"\n" for answer in reversed(part))
        return self.batches[number]

    def _list(self, name, body):
        return {"object": "list", "data": list(self.batches.values()), "has_more": False}

    def _look(self, name, body):
        number = name.removeprefix("batches/")
        self.looks[number] += 1
        state = self.batches[number]
        if self.looks[number] >= self.polls:
            state |= {"status": self.end}
            if self.end in ("completed", "expired"):
                state |= {"output_file_id": f"out-{number}", "error_file_id": f"err-{number}"}
        return state

    def _content(self, name, body):
        return self.files[name.removeprefix("files/").removesuffix("/content")]


@pytest.fixture
def batches(say):
    return Batches(say)


@pytest.fixture
def server(serve, say, batches):
    """A server that answers no single request."""
    server = serve(say.failure(500))
    server.other = batches
    return server


@pytest.fixture
def ask(server, client, questions):
    """Ask in a batch, by a new client each time."""

    def ask(count, **rest):
        chat = client(server, **{"batch": True, "batch_poll": 0.01, "retries": 0, **rest})
        return chat.complete(questions(count)), chat.usage

    return ask


def test_a_batch_answers_in_the_order_of_requests_and_fills_the_cache(server, ask, batches, say):
    batches.line = lambda line: {
        "status_code": 200,
        "body": json.loads(say.completion(json.dumps({"text": line["body"]["messages"][-1]["content"] + "\u2028"}))),
    }
    replies, usage = ask(5, price_in=1.0)
    assert [reply.value for reply in replies] == [{"text": f"question {number}\u2028"} for number in range(5)]
    assert usage == Usage(5, 0, 500, 50, pytest.approx(0.0005))
    again, usage = ask(5)
    assert [reply.value for reply in again] == [reply.value for reply in replies]
    assert usage == Usage(cached=5)
    assert (len(batches.batches), len(server.asked)) == (1, 0)
    ask(7)
    assert [len(lines) for lines in batches.uploads] == [5, 2]
    assert batches.uploads[0][0]["body"]["model"] == "tiny"


def test_a_lost_look_leaves_the_batch_to_the_next_run(ask, batches, say):
    batches.broken["look"] = [say.failure(500, "out of order")]
    with pytest.raises(ChatError, match="out of order"):
        ask(3)
    replies, usage = ask(4)
    assert all(reply.value for reply in replies)
    assert usage.requests == 1
    assert set(batches.asked.values()) == {1}


def test_a_lost_download_leaves_the_batch_to_the_next_run(ask, batches, say):
    batches.broken["content"] = [say.cut()]
    with pytest.raises(ChatError, match="The batch goes on"):
        ask(3)
    assert all(reply.value for reply in ask(3)[0])
    assert len(batches.batches) == 1


@pytest.mark.parametrize("retries", [0, 3])
def test_a_batch_whose_id_was_lost_is_found_by_its_name(ask, batches, say, retries):
    batches.broken["create"] = [say.cut()]
    assert all(reply.value for reply in ask(3, retries=retries)[0])
    assert len(batches.batches) == 1


def test_a_batch_whose_id_was_lost_with_the_run_is_found_by_its_name(ask, batches, say):
    batches.broken |= {"create": [say.cut()], "list": [say.failure(500)]}
    with pytest.raises(ChatError):
        ask(3)
    replies, usage = ask(3)
    assert all(reply.value for reply in replies)
    assert (usage.requests, len(batches.batches)) == (0, 1)


def test_a_batch_that_was_never_created_is_sent(ask, batches, say):
    batches.broken["create"] = [say.failure(500)]
    with pytest.raises(ChatError):
        ask(3)
    assert not batches.batches
    assert all(reply.value for reply in ask(3)[0])
    batches.broken["create"] = [say.failure(500), say.failure(429)]
    assert all(reply.value for reply in ask(6, retries=2)[0])
    assert len(batches.batches) == 2


def test_refused_requests_of_a_batch_have_flaws(ask, batches, say):
    def line(line):
        bad = line["body"]["messages"][-1]["content"] == "question 1"
        error = {"error": {"message": "against the rules"}}
        body = json.loads(say.completion('{"text": "fine"}'))
        return {"status_code": 400, "body": error} if bad else {"status_code": 200, "body": body}

    batches.line = line
    replies, _ = ask(3)
    assert [reply.value for reply in replies] == [{"text": "fine"}, None, {"text": "fine"}]
    assert re.match(r"refused: .*against the rules", replies[1].flaw)


def test_what_an_expired_batch_has_answered_is_kept_and_the_rest_sent_anew(ask, batches):
    batches.end = "expired"
    replies, _ = ask(5)
    assert [reply.flaw for reply in replies] == ["", "", *["no answer: the batch is expired"] * 3]
    batches.end = "completed"
    replies, usage = ask(5)
    assert all(reply.value for reply in replies)
    assert (usage.requests, usage.cached) == (3, 2)


def test_a_failed_batch_is_an_error_and_is_forgotten(ask, batches):
    batches.end = "failed"
    with pytest.raises(ChatError, match="the batch batch_0 failed"):
        ask(2)
    batches.end = "completed"
    assert all(reply.value for reply in ask(2)[0])


def test_a_server_without_batches(ask, batches, say):
    batches.broken["files"] = [say.failure(404, "no such path")]
    with pytest.raises(ChatError, match=r"no such path.*Leave --batch out"):
        ask(2)


def test_an_unknown_batch_is_forgotten(ask, batches, say):
    batches.broken["look"] = [say.failure(404, "no such batch")]
    with pytest.raises(ChatError, match="batch_0 is unknown"):
        ask(2)
    assert all(reply.value for reply in ask(2)[0])
    assert len(batches.batches) == 2


@pytest.mark.parametrize("bound", [{"max_requests": 3}, {"max_cost": 3.5 * 512e-6, "price_out": 1.0}])
def test_a_budget_bounds_the_batch(ask, batches, bound):
    with pytest.raises(BudgetSpent):
        ask(5, **bound)
    assert [len(lines) for lines in batches.uploads] == [3]
    assert ask(5)[1] == Usage(2, 3, 200, 20, 0.0)


def test_large_batches_are_split(ask, batches, monkeypatch):
    monkeypatch.setattr("clmeeval_data.llm.batch._MOST_REQUESTS", 2)
    assert all(reply.value for reply in ask(5)[0])
    assert [len(lines) for lines in batches.uploads] == [2, 2, 1]


def test_a_killed_run_finds_its_batch_again(server, ask, batches, questions, root, tmp_path):
    batches.polls = 1000
    line = [sys.executable, "-c", RUN, server.url, str(tmp_path / "cache"), json.dumps(questions(1)[0].schema)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    with subprocess.Popen(line, cwd=root, env=environment) as process:
        while not batches.looks["batch_0"] and process.poll() is None:
            time.sleep(0.01)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    batches.polls = 0
    replies, usage = ask(5)
    assert [reply.value for reply in replies] == [{"text": "fine"}] * 5
    assert (usage.requests, len(batches.batches)) == (0, 1)


def test_keys_are_in_no_file_of_the_batch(ask, batches, monkeypatch):
    monkeypatch.setenv("CLMEEVAL_LLM_API_KEY", "sk-very-secret-0123456789")
    ask(2)
    assert "sk-very-secret" not in json.dumps(batches.uploads)
