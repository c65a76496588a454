import pytest

from clmeeval_data.errors import BudgetSpent, ChatError
from clmeeval_data.llm import Usage


def test_requests_stop_at_their_bound_and_the_next_run_goes_on(serve, client, questions, say):
    server = serve(say.reply(wait=0.01))
    for run in (1, 2, 3):
        chat = client(server, max_requests=7, concurrency=4)
        with pytest.raises(BudgetSpent, match=r"all 7 requests of --max-requests .* are kept"):
            chat.complete(questions(25))
        assert chat.usage.requests == 7
        assert len(server.asked) == 7 * run
    assert [reply.value for reply in client(server, max_requests=4).complete(questions(25))] == [{"text": "fine"}] * 25
    assert set(server.counts.values()) == {1}


def test_failed_requests_count_too(serve, client, questions, say):
    server = serve(say.failure(500))
    with pytest.raises(BudgetSpent):
        client(server, max_requests=4, retries=9).complete(questions(3))
    assert len(server.asked) == 4


def test_the_bound_holds_over_the_calls_of_a_client(serve, client, questions, say):
    chat = client(serve(say.reply()), max_requests=5)
    chat.complete(questions(3))
    with pytest.raises(BudgetSpent):
        chat.complete(questions(9))
    assert chat.usage.requests == 5


def test_a_bound_of_nothing_answers_from_the_cache_alone(serve, client, questions, say):
    server = serve(say.reply())
    client(server).complete(questions(3))
    chat = client(server, max_requests=0)
    assert all(reply.cached for reply in chat.complete(questions(3)))
    with pytest.raises(BudgetSpent):
        chat.complete(questions(4))
    assert len(server.asked) == 3


def test_a_bound_that_is_met_exactly_is_not_passed(serve, client, questions, say):
    assert len(client(serve(say.reply()), max_requests=5).complete(questions(5))) == 5


def test_cost_is_counted(serve, client, questions, say):
    server = serve(say.reply(usage=(1000, 50)))
    chat = client(server, price_in=2.0, price_out=8.0)
    chat.complete(questions(10))
    assert chat.usage == Usage(10, 0, 10_000, 500, pytest.approx((10_000 * 2 + 500 * 8) / 1e6))
    assert chat.usage + chat.usage == Usage(20, 0, 20_000, 1000, pytest.approx(0.048))


def test_cost_never_passes_its_bound(serve, client, questions, say):
    """Each reply costs 0.0005 USD, and may cost 0.000512; near the bound fewer go at a time."""
    server = serve(say.reply(usage=(100, 500), wait=0.01))
    chat = client(server, price_out=1.0, max_cost=0.0101, concurrency=8)
    with pytest.raises(
        BudgetSpent, match=r"0.010000 of --max-cost 0.0101 USD are spent.*next request may cost 0.000512"
    ):
        chat.complete(questions(50))
    assert len(server.asked) == 20
    assert chat.usage.cost == pytest.approx(0.01)
    assert server.most_at_once > 1
    again = client(server)
    again.complete(questions(50))
    assert again.usage.requests == 30


def test_the_prompt_counts_at_the_most_tokens_it_can_have(serve, client, questions, say):
    server = serve(say.reply())
    with pytest.raises(BudgetSpent):
        client(server, price_in=1000.0, max_cost=2.0).complete(questions(1))
    assert not server.asked


def test_a_reply_without_usage_counts_at_its_most(serve, client, questions, say):
    chat = client(serve(say.reply(usage=None)), price_out=1.0)
    chat.complete(questions(2))
    assert chat.usage == Usage(requests=2, cost=pytest.approx(2 * 512 / 1e6))


def test_a_spent_budget_is_a_chat_error():
    assert issubclass(BudgetSpent, ChatError)
