"""Filters: each takes a pair and gives the reason why it is dropped, or None to keep it.

A filter says one thing. Its thresholds come from the recipe.
"""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from clmeeval_data.builders.filters.descriptions import boilerplate, broken_off, described_in, prose, summary
from clmeeval_data.builders.filters.functions import (
    machinery,
    repeating_comment,
    repeating_text,
    uncompilable,
    unparsable,
)
from clmeeval_data.builders.filters.intents import language, request, specific, whole
from clmeeval_data.builders.filters.leak import leak
from clmeeval_data.builders.filters.lexical import unrelated
from clmeeval_data.builders.filters.rules import FunctionRules, Rules, SnippetRules
from clmeeval_data.builders.filters.size import length, tokens, words
from clmeeval_data.builders.filters.snippets import foreign_code, idle, incomplete, unrelated_name
from clmeeval_data.builders.sources import Pair

if TYPE_CHECKING:
    from clmeeval_data.builders.recipes import Recipe

Filter = Callable[[Pair], str | None]
Step = tuple[str, Filter]
Choice = tuple[object, str, Filter]  # a rule, which is false where it is off; the step; the filter


def for_recipe(recipe: "Recipe", rules: Rules | None = None) -> list[Step]:
    """The filters of a recipe with their names, in the order in which they run: cheap ones first.

    Args:
        recipe: The recipe.
        rules: What it asks beyond size, syntax and leaks; nothing by default.
    """
    of_benchmark = _cnle if recipe.benchmark == "cnle" else _csne
    choices: list[Choice] = [
        (True, "length", partial(length, prompt=recipe.prompt_length, target=recipe.target_length)),
        (True, "words", partial(words, benchmark=recipe.benchmark, span=recipe.text_words)),
        (True, "leak", leak),
        *of_benchmark(recipe, rules or Rules()),
    ]
    return [(step, filter_) for rule, step, filter_ in choices if rule]


def _cnle(_recipe: "Recipe", rules: Rules) -> list[Choice]:
    intents, snippets = rules.intents, rules.snippets
    return [
        (intents.ascii_share, "language", partial(language, ascii_share=intents.ascii_share)),
        (intents.whole, "intent", whole),
        (intents.requests, "intent", request),
        (intents.content_words, "intent", partial(specific, least=intents.content_words)),
        (snippets.code, "snippet", foreign_code),
        *_parsed(rules, "cnle"),
        (snippets.statements, "snippet", idle),
        (snippets.complete, "snippet", incomplete),
        _bounded(snippets, "cnle"),
        (snippets.shared_words, "lexical", partial(unrelated, benchmark="cnle", least=snippets.shared_words)),
        (snippets.shared_by_name, "lexical", partial(unrelated_name, least=snippets.shared_by_name)),
    ]


def _csne(recipe: "Recipe", rules: Rules) -> list[Choice]:
    descriptions, functions = rules.descriptions, rules.functions
    return [
        (True, "docstring", boilerplate),
        (True, "docstring", broken_off),
        (True, "docstring", partial(prose, share=recipe.prose_share)),
        (descriptions.ascii_share, "language", partial(described_in, ascii_share=descriptions.ascii_share)),
        (descriptions.summary, "docstring", summary),
        (functions.library, "function", machinery),
        (True, "comment", partial(repeating_comment, similarity=recipe.comment_similarity)),
        *_parsed(rules, "csne"),
        _bounded(functions, "csne"),
        (functions.silent, "comment", partial(repeating_text, similarity=functions.repeating_text)),
        (descriptions.shared_words, "lexical", partial(unrelated, benchmark="csne", least=descriptions.shared_words)),
    ]


def _parsed(rules: Rules, benchmark: str) -> list[Choice]:
    return [
        (True, "syntax", partial(unparsable, benchmark=benchmark)),
        (rules.compiler, "syntax", partial(uncompilable, benchmark=benchmark)),
    ]


def _bounded(rule: SnippetRules | FunctionRules, benchmark: str) -> Choice:
    bounded = partial(tokens, benchmark=benchmark, fewest=rule.fewest_tokens, most=rule.most_tokens)
    return (rule.fewest_tokens or rule.most_tokens, "tokens", bounded)
