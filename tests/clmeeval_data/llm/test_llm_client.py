import logging
import sqlite3
import time
from dataclasses import replace

import pytest

from clmeeval_data.errors import ChatError
from clmeeval_data.llm import ChatClient, ChatRequest, Usage

SECRET = "sk-very-secret-0123456789"


def echo(say):
    return lambda body, attempt: say.reply(f'{{"text": "to {body["messages"][-1]["content"]}"}}')


def test_replies_come_in_the_order_of_requests_and_a_second_run_sends_nothing(serve, client, questions, say):
    def slow_first(body, attempt):
        number = int(body["messages"][-1]["content"].split()[-1])
        return say.reply(f'{{"text": "to question {number}"}}', wait=0.02 * (number % 3))

    server = serve(slow_first)
    chat = client(server)
    replies = chat.complete(questions(20))
    assert [reply.value for reply in replies] == [{"text": f"to question {number}"} for number in range(20)]
    assert not any(reply.cached or reply.flaw for reply in replies)
    assert chat.usage == Usage(requests=20, prompt_tokens=2000, completion_tokens=200)
    again = client(server)
    assert again.complete(questions(20)) == [replace(reply, cached=True) for reply in replies]
    assert again.usage == Usage(cached=20)
    assert len(server.asked) == 20


def test_equal_requests_are_sent_once(serve, client, questions, say):
    server = serve(echo(say))
    one, two = questions(2)
    replies = client(server).complete([one, two, one, one])
    assert [reply.value["text"] for reply in replies] == [f"to question {n}" for n in (0, 1, 0, 0)]
    assert [reply.cached for reply in replies] == [False, False, True, True]
    assert len(server.asked) == 2


def test_nothing_is_asked_for_no_requests(serve, client, say):
    server = serve(say.reply())
    assert client(server).complete([]) == []
    assert not server.asked


CHANGES = {"system": "Other.", "user": "other", "schema": {"type": "object"}, "seed": 1, "temperature": 0.1}
CHANGES |= {"max_tokens": 9, "version": "2"}


@pytest.mark.parametrize("change", CHANGES)
def test_every_part_of_a_request_is_in_its_key(serve, client, questions, say, change):
    server = serve(say.reply())
    chat, request = client(server), questions(1)[0]
    chat.complete([request])
    chat.complete([replace(request, **{change: CHANGES[change]})])
    assert len(server.asked) == 2


def test_model_and_server_are_in_the_key_and_a_slash_or_password_is_not(serve, client, questions, say):
    server = serve(say.reply())
    ask = questions(1)
    client(server).complete(ask)
    client(server, model="other").complete(ask)
    client(server, base_url=server.url.replace("127.0.0.1", "localhost")).complete(ask)
    assert len(server.asked) == 3
    client(server, base_url=server.url + "/").complete(ask)
    client(server, base_url=server.url.replace("//", "//somebody:password@")).complete(ask)
    assert len(server.asked) == 3


def test_what_is_sent(serve, client, say):
    server = serve(say.reply())
    schema = {"type": "object", "properties": {}}
    client(server).complete(
        [ChatRequest("Do this.", "with that \ud800", schema, seed=3, temperature=0.5, max_tokens=99)]
    )
    assert server.paths == ["/v1/chat/completions"]
    assert server.asked[0] == {
        "model": "tiny",
        "messages": [{"role": "system", "content": "Do this."}, {"role": "user", "content": "with that ?"}],
        "max_tokens": 99,
        "temperature": 0.5,
        "seed": 3,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "reply", "schema": schema, "strict": False},
        },
    }


def test_concurrency_reaches_its_bound_and_never_passes_it(serve, client, questions, say):
    """All after the first wait until five are under way."""

    def script(body, attempt):
        end = time.monotonic() + 30
        while len(server.asked) > 1 and server.most_at_once < 5 and time.monotonic() < end:
            time.sleep(0.005)
        return say.reply(wait=0.02)

    server = serve(script)
    client(server, concurrency=5).complete(questions(41))
    assert server.most_at_once == 5


def test_one_at_a_time_until_the_first_reply(serve, client, questions, say):
    server = serve(say.failure(401, "Incorrect API key provided"))
    with pytest.raises(ChatError, match=r"Incorrect API key provided.*CLMEEVAL_LLM_API_KEY"):
        client(server, concurrency=8).complete(questions(30))
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("environment", "sent"),
    [
        ({"CLMEEVAL_LLM_API_KEY": SECRET, "OPENAI_API_KEY": "sk-other"}, SECRET),
        ({"OPENAI_API_KEY": "sk-other"}, "none"),  # OpenAI's key isn't given to a server on this machine
        ({}, "none"),
    ],
)
def test_which_key_is_sent(serve, client, questions, say, monkeypatch, environment, sent):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("OPENAI_ORG_ID", "org-1")
    server = serve(say.reply())
    client(server).complete(questions(1))
    assert server.headers[0]["Authorization"] == f"Bearer {sent}"
    assert "OpenAI-Organization" not in server.headers[0]


def test_a_password_in_the_address_is_basic_authentication(serve, client, questions, say, caplog):
    server = serve(say.reply(), say.failure(500))
    with caplog.at_level(logging.DEBUG):
        client(server, base_url=server.url.replace("//", "//somebody:password@")).complete(questions(1))
    assert server.headers[0]["Authorization"] == "Basic c29tZWJvZHk6cGFzc3dvcmQ="
    assert caplog.text
    assert "password" not in caplog.text


def test_the_key_is_in_no_database_log_or_error(serve, client, questions, say, monkeypatch, caplog, tmp_path):
    """Even where the server repeats it."""
    monkeypatch.setenv("CLMEEVAL_LLM_API_KEY", SECRET)

    def repeat(body, attempt):
        number = int(body["messages"][-1]["content"].split()[-1])
        said = {3: say.failure(500, SECRET), 5: say.failure(400, SECRET), 7: say.failure(401, SECRET)}
        return said.get(number, say.reply(f'{{"text": "{SECRET}"}}'))

    server = serve(repeat)
    with caplog.at_level(logging.DEBUG), pytest.raises(ChatError) as raised:
        client(server, concurrency=1, retries=1).complete(questions(8))
    assert "***" in str(raised.value)
    assert raised.value.__cause__ is None
    with caplog.at_level(logging.DEBUG):
        replies = client(server, concurrency=1, retries=1).complete(questions(7))
    assert replies[0].value == {"text": "***"}
    assert [reply.flaw for reply in replies if reply.flaw][1].startswith("refused: ")
    for text in (caplog.text, str(replies), str(raised.value), repr(vars(raised.value))):
        assert SECRET not in text
    kept = list((tmp_path / "cache").iterdir())
    assert kept
    assert not any(SECRET.encode() in path.read_bytes() for path in kept)
    with sqlite3.connect(tmp_path / "cache" / "replies.sqlite") as database:
        assert database.execute("SELECT count(*) FROM replies").fetchone() == (5,)
    database.close()


def test_replies_are_kept_below_the_users_cache_folder(serve, client, questions, say, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    client(serve(say.reply()), cache=None).complete(questions(1))
    assert (tmp_path / "xdg" / "clmeeval" / "llm" / "replies.sqlite").is_file()


def test_the_client_can_be_used_where_an_event_loop_runs(serve, options, questions, say):
    """As in a notebook."""
    import asyncio

    chat = ChatClient(options(serve(say.reply())))

    async def cell():
        return chat.complete(questions(2))

    assert [reply.value for reply in asyncio.run(cell())] == [{"text": "fine"}] * 2


def test_the_key_follows_no_redirect(serve, client, questions, say, monkeypatch):
    monkeypatch.setenv("CLMEEVAL_LLM_API_KEY", SECRET)
    other = serve(say.reply())
    first = serve(say.Say(307, b"{}", {"Location": f"{other.url}/chat/completions"}))
    with pytest.raises(ChatError, match="refused"):
        client(first).complete(questions(1))
    assert not other.asked
