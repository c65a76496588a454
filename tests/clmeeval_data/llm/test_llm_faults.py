"""Each fault of a server by itself; how many HTTP requests it leads to; and all of them at random."""

import random
import socket
import threading
import time
from collections import Counter
from dataclasses import replace

import pytest

from clmeeval_data.errors import ChatError, ConfigError
from clmeeval_data.llm import LlmOptions

GOOD = {"text": "fine"}


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 529])
@pytest.mark.parametrize("retry_after", [None, "0.01", "0"])
def test_a_passing_failure_is_tried_again(serve, client, questions, say, status, retry_after):
    failed = say.failure(status, retry_after=retry_after)
    server = serve(failed, failed, say.reply())
    chat = client(server)
    assert chat.complete(questions(1))[0].value == GOOD
    assert chat.usage.requests == len(server.asked) == 3


def test_retry_after_is_waited_for(serve, client, questions, say):
    server = serve(say.failure(429, retry_after="0.4"), say.reply())
    start = time.monotonic()
    assert client(server).complete(questions(1))[0].value == GOOD
    assert time.monotonic() - start >= 0.4


def test_a_server_that_asks_for_too_long_a_wait_is_not_asked_again(serve, client, questions, say):
    server = serve(say.failure(429, "quota of the day is used", retry_after="3600"))
    with pytest.raises(ChatError, match=r"quota of the day is used.*run the same command later"):
        client(server).complete(questions(3))
    assert len(server.asked) == 1


def test_a_limit_that_holds_stops_the_run(serve, client, questions, say):
    server = serve(say.failure(429, "slow down"))
    with pytest.raises(ChatError, match="slow down"):
        client(server, retries=2).complete(questions(3))
    assert len(server.asked) == 3


def test_a_connection_cut_in_the_middle_is_tried_again(serve, client, questions, say):
    server = serve(say.cut(), say.cut(), say.reply())
    assert client(server).complete(questions(1))[0].value == GOOD
    assert len(server.asked) == 3


def test_an_answer_that_does_not_come_in_time_is_tried_again(serve, client, questions, say):
    again = threading.Event()

    def script(body, attempt):
        again.wait(20) if attempt == 0 else again.set()
        return say.reply()

    server = serve(script)
    assert client(server, timeout=1).complete(questions(1))[0].value == GOOD
    assert len(server.asked) == 2


def test_an_answer_without_an_end_is_given_up(serve, client, questions, say):
    """Bytes keep coming, so that no pause between two of them is too long."""
    server = serve(say.Say(trickle=True), say.reply())
    assert client(server, timeout=1).complete(questions(1))[0].value == GOOD
    assert len(server.asked) == 2


def test_a_flood_is_read_up_to_a_bound(serve, client, questions, say):
    body = say.completion("x" * 30_000_000)
    server = serve(say.Say(body=body))
    reply = client(server, timeout=20).complete(questions(1))[0]
    assert reply.flaw == "not a chat completion"
    assert 4_000_000 < len(reply.text) < 6_000_000
    assert client(server).complete(questions(1))[0].cached


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        (401, "CLMEEVAL_LLM_API_KEY"),
        (402, "account is empty"),
        (403, "isn't allowed"),
        (404, "name of the model"),
        (405, "most end in /v1"),
        (307, "most end in /v1"),
    ],
)
def test_what_no_retry_mends_stops_the_run_at_once(serve, client, questions, say, status, advice):
    server = serve(say.failure(status, "the model 'tiny' or the key is unknown", retry_after="0"))
    chat = client(server)
    with pytest.raises(ChatError, match=rf"/v1, model 'tiny': refused: .*is unknown.*{advice}"):
        chat.complete(questions(20))
    assert chat.usage.requests == len(server.asked) == 1


def test_a_server_that_is_not_there(options, client, questions):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    nowhere = type("Server", (), {"url": f"http://127.0.0.1:{port}/v1"})
    with pytest.raises(ChatError, match=r"cannot be reached.*the server runs"):
        client(nowhere, retries=2).complete(questions(9))


def test_a_server_that_keeps_failing_stops_the_run(serve, client, questions, say):
    server = serve(say.failure(500, "out of memory"))
    with pytest.raises(ChatError, match=r"3 requests in a row, 3 times each: .*out of memory"):
        client(server, retries=2).complete(questions(50))
    assert len(server.asked) == 9


def test_one_request_that_keeps_failing_has_a_flaw_and_is_asked_again_by_the_next_run(serve, client, questions, say):
    def script(body, attempt):
        broken = body["messages"][-1]["content"] == "question 1" and attempt < 3
        return say.failure(500, "bad luck") if broken else say.reply()

    server = serve(script)
    replies = client(server, retries=2).complete(questions(4))
    assert [reply.value for reply in replies] == [GOOD, None, GOOD, GOOD]
    assert replies[1].flaw.startswith("no answer in 3 tries: ")
    assert "bad luck" in replies[1].flaw
    assert client(server).complete(questions(4))[1].value == GOOD
    assert server.counts == {"question 0": 1, "question 1": 4, "question 2": 1, "question 3": 1}


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_refused_request_has_a_flaw(serve, client, questions, say, status):
    long = say.failure(status, "'max_tokens' is too large: this model's maximum context length is 4096")
    server = serve(lambda body, attempt: long if body["messages"][-1]["content"] == "question 1" else say.reply())
    replies = client(server).complete(questions(3))
    assert [reply.value for reply in replies] == [GOOD, None, GOOD]
    assert "maximum context length" in replies[1].flaw
    assert len(server.asked) == 3


FLAWED = {
    "not JSON": "Sure, here is the text you asked for.",
    "empty": "",
    "field 'text' is missing": '{"txt": "fine"}',
    "field 'text' is integer, not string": '{"text": 1}',
    "the reply is array, not object": '["fine"]',
}


@pytest.mark.parametrize("flaw", FLAWED)
def test_a_paid_reply_without_a_value_is_kept_and_not_asked_for_again(serve, client, questions, say, flaw):
    server = serve(say.reply(FLAWED[flaw]))
    for cached in (False, True):
        reply = client(server).complete(questions(1))[0]
        assert (reply.value, reply.text, reply.flaw, reply.cached) == (None, FLAWED[flaw], flaw, cached)
    assert len(server.asked) == 1


def test_an_endless_reply_is_cut_off(serve, client, questions, say):
    server = serve(say.reply('{"text": "' + "na " * 500, finish="length"))
    assert client(server).complete(questions(1))[0].flaw == "cut off"


def test_a_page_instead_of_a_completion(serve, client, questions, say):
    server = serve(say.Say(body=b"<html>Welcome</html>", headers={"Content-Type": "text/html"}))
    reply = client(server).complete(questions(1))[0]
    assert (reply.flaw, reply.text) == ("not a chat completion", "<html>Welcome</html>")


FINALS = {
    "good": (0.6, lambda say: say.reply(), ""),
    "fence": (0.1, lambda say: say.reply('Sure!\n```json\n{"text": "fine"}\n```'), ""),
    "language": (0.05, lambda say: say.reply('{"text": "les légumes 野菜"}'), ""),
    "prose": (0.05, lambda say: say.reply("I would rather not."), "not JSON"),
    "empty": (0.05, lambda say: say.reply(""), "empty"),
    "endless": (0.05, lambda say: say.reply('{"text": "and and', finish="length"), "cut off"),
    "wrong": (0.05, lambda say: say.reply('{"text": null}'), "field 'text' is null, not string"),
    "refused": (0.05, lambda say: say.failure(400, "this prompt is against the rules"), "refused: "),
}


def test_two_thousand_requests_with_faults_at_random(serve, client, questions, say):
    """Every request ends with a value or a flaw, and costs as many HTTP requests as it met faults, and one more."""
    choose = random.Random(5)
    kinds = [
        lambda: say.failure(429, retry_after="0.005"),
        lambda: say.failure(429),
        lambda: say.failure(500),
        lambda: say.failure(503, retry_after="0"),
        say.cut,
    ]
    names = choose.choices(list(FINALS), [share for share, _, _ in FINALS.values()], k=2000)
    plans = {}
    for number, name in enumerate(names):
        faults = [choose.choice(kinds)() for _ in range(choose.choices((0, 1, 2, 4), (80, 12, 6, 2))[0])]
        final = replace(FINALS[name][1](say), wait=0.05 if number < 60 else 0.0)
        plans[f"question {number}"] = [*faults, final]
    server = serve(lambda body, attempt: plans[body["messages"][-1]["content"]][attempt])
    chat = client(server, concurrency=6)
    replies = chat.complete(questions(2000))

    for name, reply in zip(names, replies, strict=True):
        expected = FINALS[name][2]
        assert (reply.value is None) == bool(expected)
        assert reply.flaw.startswith(expected) if expected else reply.flaw == ""
    assert server.counts == Counter({user: len(plan) for user, plan in plans.items()})
    assert chat.usage.requests == sum(map(len, plans.values()))
    assert 1 < server.most_at_once <= 6

    paid = [name != "refused" for name in names]
    again = client(server).complete([ask for ask, kept in zip(questions(2000), paid, strict=True) if kept])
    assert [reply.value for reply in again] == [r.value for r, kept in zip(replies, paid, strict=True) if kept]
    assert all(reply.cached for reply in again)
    assert len(server.asked) == chat.usage.requests


@pytest.mark.parametrize(
    "address",
    ["", "localhost:8000", "ftp://host/v1", "http://", "https://host/v1?key=1", "http://host:99999999/v1", "//h"],
)
def test_addresses_that_cannot_be_used(address):
    with pytest.raises(ConfigError, match=r"--llm-base-url cannot be used\. Expected http"):
        LlmOptions(address, "tiny")


@pytest.mark.parametrize(
    "wrong",
    [
        {"model": " "},
        {"concurrency": 0},
        {"timeout": 0},
        {"timeout": float("nan")},
        {"retries": -1},
        {"max_requests": -1},
        {"max_cost": -1.0},
        {"max_cost": 1.0},
        {"price_in": float("inf")},
    ],
)
def test_options_that_cannot_be_used(wrong):
    with pytest.raises(ConfigError):
        LlmOptions(**{"base_url": "http://localhost/v1", "model": "tiny", **wrong})
