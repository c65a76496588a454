"""Killed and interrupted runs: what was paid for is kept, and the next run asks for the rest."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from clmeeval_data.llm import ChatRequest

RUN = """
import sys
from pathlib import Path
from clmeeval_data.llm import ChatClient, ChatRequest, LlmOptions
url, cache, count = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
schema = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
chat = ChatClient(LlmOptions(url, "tiny", cache, concurrency=4))
replies = chat.complete([ChatRequest("Rephrase.", f"question {number}", schema) for number in range(count)])
print(sum(reply.value is not None for reply in replies), chat.usage.requests, chat.usage.cached)
"""
SCHEMA = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}


@pytest.fixture
def run(root, tmp_path):
    """Start the script in a process of its own."""
    started = []

    def start(server, count):
        line = [sys.executable, "-c", RUN, server.url, str(tmp_path / "cache"), str(count)]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
        pipe = subprocess.PIPE
        started.append(subprocess.Popen(line, cwd=root, env=environment, stdout=pipe, stderr=pipe, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_a_killed_run_has_lost_nothing_that_it_received(serve, run, client, say):
    """After 30 answers all further ones are held back: exactly four are under way when the process is killed."""
    held, together = threading.Event(), threading.Lock()
    begun = []

    def script(body, attempt):
        with together:
            begun.append(body)
            wait = len(begun) > 30
        if wait:
            held.wait(60)
        return say.reply()

    server = serve(script)
    process = run(server, 60)
    server.requests_until(34)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    held.set()

    chat = client(server)
    replies = chat.complete([ChatRequest("Rephrase.", f"question {number}", SCHEMA) for number in range(60)])
    assert all(reply.value for reply in replies)
    assert (chat.usage.requests, chat.usage.cached) == (30, 30)
    assert sorted(server.counts.values()) == [1] * 56 + [2] * 4


def test_a_run_killed_anywhere_asks_at_most_for_what_was_under_way(serve, run, client, say):
    server = serve(lambda body, attempt: say.reply(wait=0.003))
    process = run(server, 150)
    server.requests_until(70)
    process.kill()
    process.communicate()
    chat = client(server)
    chat.complete([ChatRequest("Rephrase.", f"question {number}", SCHEMA) for number in range(150)])
    assert len(server.counts) == 150
    assert sum(count - 1 for count in server.counts.values()) <= 4
    assert max(server.counts.values()) <= 2


def test_ctrl_c_sends_no_more_and_keeps_what_arrives_within_a_moment(serve, run, client, say):
    server = serve(lambda body, attempt: say.reply(wait=0.0 if len(server.asked) < 6 else 0.3))
    process = run(server, 50)
    server.requests_until(9)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert "KeyboardInterrupt" in errors
    asked = len(server.asked)
    assert asked < 50
    chat = client(server)
    chat.complete([ChatRequest("Rephrase.", f"question {number}", SCHEMA) for number in range(50)])
    assert chat.usage.requests == 50 - asked
    assert set(server.counts.values()) == {1}


def test_ctrl_c_does_not_wait_for_a_server_that_hangs(serve, run, say):
    held = threading.Event()

    def script(body, attempt):
        held.wait(60)
        return say.reply()

    server = serve(script)
    process = run(server, 5)
    server.requests_until(1)
    process.send_signal(signal.SIGINT)
    try:
        _, errors = process.communicate(timeout=45)
    finally:
        held.set()
    assert "KeyboardInterrupt" in errors


def test_two_processes_share_a_cache(serve, run, client, say):
    server = serve(lambda body, attempt: say.reply(wait=0.01))
    processes = [run(server, 60) for _ in range(2)]
    for process in processes:
        printed, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
        assert printed.split()[0] == "60"
    assert len(server.counts) == 60
    asked = len(server.asked)
    chat = client(server)
    chat.complete([ChatRequest("Rephrase.", f"question {number}", SCHEMA) for number in range(60)])
    assert (chat.usage.cached, len(server.asked)) == (60, asked)
