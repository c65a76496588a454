"""Text metrics: how close an answer is to its reference, whether it is code, and how varied a sampled text is.

Every score but ``ngram_entropy`` lies in [0, 1], and higher is closer. Surrounding white space never counts. Two empty
texts are equal (1.0 in every comparison), one empty text scores 0.0.

Source: Li et al., ICSE 2025 (arXiv 2411.06638), section IV; BLEU, ROUGE-L and exact match are its definitions, the
others stand beside them.
"""

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from clmeeval_data.registry import Registry

if TYPE_CHECKING:
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF

BLEU_ORDER = 4
ENTROPY_WEIGHTS = {2: 2 / 3, 3: 4 / 3}


@dataclass(frozen=True)
class Metric:
    """One metric as tables and docs show it, with the function that computes it.

    ``better`` is the direction; scores lie in [``low``, ``high``], ``high`` None meaning that there is no bound.
    ``scope``: "text" is scored for every answer, "code" only where the target is code, "fluency" only for sampled text.
    ``score`` takes the output and the reference; a "fluency" metric ignores the reference.
    """

    name: str
    title: str
    scope: Literal["text", "code", "fluency"]
    score: Callable[[str, str], float]
    better: Literal["higher", "lower"] = "higher"
    low: float = 0.0
    high: float | None = 1.0
    unit: str = ""


def exact_match(output: str, reference: str) -> float:
    """1.0 if both texts are the same string after stripping, else 0.0.

    Range: 0 or 1, higher is better. It does not tell a near miss, or an answer that means the same, from nonsense.
    """
    return float(output.strip() == reference.strip())


def bleu(output: str, reference: str) -> float:
    """BLEU-4 of one sentence on 13a tokens: geometric mean of n-gram precisions times brevity penalty, unsmoothed.

    Range: 0 to 1, higher is better. Without smoothing it is 0 whenever no 4-gram is shared, so also for two equal texts
    of fewer than four tokens: see ``short_target``. An empty reference, for which the formula divides by zero, scores
    1.0 against an empty output and 0.0 against any other.

    Source: Papineni et al., ACL 2002; sacrebleu with ``tok:13a|smooth:none|case:mixed|eff:no``.
    """
    output, reference = output.strip(), reference.strip()
    if not (output and reference):
        return float(output == reference)
    # corpus_score of one pair is sentence_score without its advice, logged once, to turn on effective_order.
    score: float = _bleu().corpus_score([output], [[reference]]).score
    return min(1.0, score / 100)


def rouge_l(output: str, reference: str) -> float:
    """ROUGE-L: F1 of the longest common subsequence of lower-cased words, without stemming and without a bootstrap.

    Range: 0 to 1, higher is better. Words are runs of the letters a-z and digits: it sees neither punctuation nor case,
    which in code can be all the difference, and scores 0 where a text has no word, even when both are equal.

    Source: Lin, ACL workshop 2004; rouge-score's ``rougeL``.
    """
    output, reference = output.strip(), reference.strip()
    if not (output and reference):
        return float(output == reference)
    return float(_rouge().score(reference, output)["rougeL"].fmeasure)


def chrf(output: str, reference: str) -> float:
    """chrF2: F-score of character n-grams up to order 6, recall counting twice; white space is ignored.

    Range: 0 to 1, higher is better. Unlike BLEU it is meaningful for short texts. It does not see order beyond six
    characters.

    Source: Popović, WMT 2015; sacrebleu with ``nc:6|nw:0|space:no|eff:yes`` (orders that a text is too short for are
    left out).
    """
    output, reference = output.strip(), reference.strip()
    if not (output and reference):
        return float(output == reference)
    score: float = _chrf().sentence_score(output, [reference]).score
    return min(1.0, score / 100)


def edit_similarity(output: str, reference: str) -> float:
    """1 - d / (len(output) + len(reference)), d the least number of inserted and deleted characters (Indel distance).

    Range: 0 to 1, higher is better. A replaced character counts as one deletion and one insertion; this is the "edit
    similarity" of code completion benchmarks (CodeXGLUE), and not the Levenshtein one.
    """
    from rapidfuzz.distance import Indel

    return Indel.normalized_similarity(output.strip(), reference.strip())


def valid_syntax(output: str, reference: str = "") -> float:
    """1.0 if the output is Python that parses, and not empty, else 0.0; the reference is not looked at.

    Range: 0 or 1, higher is better. It says nothing of what the code does. Outputs have as many tokens as the target,
    so a longer answer is cut and may fail for that alone.
    """
    from clmeeval_data.syntax import parses

    text = output.strip()
    return float(bool(text) and parses(text))


def syntax_match(output: str, reference: str) -> float:
    """How much of the syntax trees agrees: ``clmeeval_data.syntax.tree_similarity`` of the output to the reference.

    Range: 0 to 1, higher is better. Formatting does not count. Equal trees need not be equal programs.
    """
    from clmeeval_data.syntax import tree_similarity

    output, reference = output.strip(), reference.strip()
    if not (output and reference):
        return float(output == reference)
    return tree_similarity(output, reference)


def identifier_match(output: str, reference: str) -> float:
    """F1 of the identifiers of output and reference as multisets: names, attributes, names of keyword arguments.

    Range: 0 to 1, higher is better. It sees which functions and arguments are used, and neither their order nor what
    is done with them; a variable of another name is a miss. Two codes without any identifier score 1.0, a code with
    some and one without 0.0.

    Source: Ding et al., CrossCodeEval, NeurIPS 2023 (arXiv 2310.11248), whose released code takes sets, found by
    regular expression, and so counts a name once however often it stands there.
    """
    from clmeeval_data.syntax import identifiers

    output, reference = output.strip(), reference.strip()
    if not (output and reference):
        return float(output == reference)
    found, wanted = Counter(identifiers(output)), Counter(identifiers(reference))
    if not (found or wanted):
        return 1.0
    return 2 * (found & wanted).total() / (found.total() + wanted.total())


def ngram_entropy(text: str) -> float:
    """Mean of 2/3 H2 and 4/3 H3, where Hn is the entropy in bits of the text's n-gram frequencies.

    Range: 0 upwards, higher is more varied; a text that repeats itself comes close to 0, and T tokens reach at most
    about log2(T). It does not tell sense from nonsense: compare it with the unedited model's.

    The tokens are BLEU's (13a). The released definition takes those of ``nltk.word_tokenize``, which needs a download;
    the two differ mainly in contractions and underscores.

    Source: Meng et al., NeurIPS 2022 (arXiv 2202.05262), section 3.3, after Zhang et al., NeurIPS 2018.
    """
    tokens = _tokens(text)
    weighted = [weight * _entropy(tokens, size) for size, weight in ENTROPY_WEIGHTS.items()]
    return sum(weighted) / len(weighted)


def short_target(reference: str) -> bool:
    """Whether a reference has fewer than four 13a tokens: its BLEU-4 is 0 by definition, even for an equal output."""
    return len(_tokens(reference)) < BLEU_ORDER


def text_scores(output: str, reference: str, code: bool) -> dict[str, float]:
    """Every metric of scope "text", and with ``code`` those of scope "code", by name."""
    scopes = {"text", "code"} if code else {"text"}
    chosen = (metric for metric in METRICS.values() if metric.scope in scopes)
    return {metric.name: metric.score(output, reference) for metric in chosen}


EXACT_MATCH = Metric("exact_match", "EM", "text", exact_match)
BLEU_4 = Metric("bleu", "BLEU", "text", bleu)
ROUGE_L = Metric("rouge_l", "ROUGE-L", "text", rouge_l)
CHRF_2 = Metric("chrf", "chrF", "text", chrf)
EDIT_SIMILARITY = Metric("edit_similarity", "Edit similarity", "text", edit_similarity)
VALID_SYNTAX = Metric("valid_syntax", "Valid syntax", "code", valid_syntax)
SYNTAX_MATCH = Metric("syntax_match", "Syntax match", "code", syntax_match)
IDENTIFIER_MATCH = Metric("identifier_match", "Identifier match", "code", identifier_match)
NGRAM_ENTROPY = Metric(
    "ngram_entropy", "Entropy", "fluency", lambda output, _reference: ngram_entropy(output), high=None, unit="bits"
)

METRICS: Registry[Metric] = Registry(
    "metric",
    {
        "exact_match": f"{__name__}:EXACT_MATCH",
        "bleu": f"{__name__}:BLEU_4",
        "rouge_l": f"{__name__}:ROUGE_L",
        "chrf": f"{__name__}:CHRF_2",
        "edit_similarity": f"{__name__}:EDIT_SIMILARITY",
        "valid_syntax": f"{__name__}:VALID_SYNTAX",
        "syntax_match": f"{__name__}:SYNTAX_MATCH",
        "identifier_match": f"{__name__}:IDENTIFIER_MATCH",
        "ngram_entropy": f"{__name__}:NGRAM_ENTROPY",
    },
)


@cache
def _bleu() -> "BLEU":
    from sacrebleu.metrics.bleu import BLEU

    return BLEU(tokenize="13a", smooth_method="none", lowercase=False, force=True, effective_order=False)


@cache
def _chrf() -> "CHRF":
    from sacrebleu.metrics.chrf import CHRF

    return CHRF()


@cache
def _rouge() -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rougeL"], use_stemmer=False)


def _tokens(text: str) -> list[str]:
    tokenised: str = _bleu().tokenizer(text.strip())
    return tokenised.split()


def _entropy(tokens: list[str], size: int) -> float:
    counts = Counter(zip(*(tokens[start:] for start in range(size)), strict=False))
    total = counts.total()
    return sum(count / total * math.log2(total / count) for count in counts.values())
