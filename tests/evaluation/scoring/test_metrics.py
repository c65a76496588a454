import ast
import math
import random
from collections import Counter

import numpy as np
import pytest
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics import BLEU, CHRF

from clmeeval_data.errors import UnknownNameError
from clmeeval_data.evaluation.scoring import metrics
from clmeeval_data.evaluation.scoring.metrics import METRICS

SNIPPETS = [
    "sorted(pairs, key=lambda pair: pair[1], reverse=True)",
    "config = json.loads(Path(path).read_text(encoding='utf-8'))",
    "[value for row in rows for value in row if value is not None]",
    "re.findall(r'[\\w.+-]+@[\\w-]+\\.[\\w.]+', text)",
    "subprocess.run(cmd, capture_output=True, text=True, check=True).stdout",
    "with open('data.csv', newline='') as f:\n    rows = list(csv.reader(f, delimiter=';'))",
    "Return the n smallest elements of the iterable, in ascending order.",
    "df.groupby('city')['sales'].agg(['mean', 'sum']).reset_index()",
]


def perturbed_pairs(count):
    """Pairs of a snippet and a copy with words and characters dropped, doubled, swapped or replaced."""
    rng = random.Random(7)
    for _ in range(count):
        reference = rng.choice(SNIPPETS)
        words = reference.split(" ")
        for _ in range(rng.randrange(4)):
            place = rng.randrange(len(words))
            words[place] = rng.choice(["", "value", words[place].upper(), words[place] * 2, "(" + words[place], "\n"])
        if rng.random() < 0.3:
            rng.shuffle(words)
        yield " ".join(words[: rng.randint(1, len(words))]), reference


PAIRS = list(perturbed_pairs(240))


def words_of_13a(text):
    return BLEU(tokenize="13a").tokenizer(text.strip()).split()


def plain_bleu(output, reference):
    """BLEU-4 of one pair, written from the formula."""
    out, ref = words_of_13a(output), words_of_13a(reference)
    logs = 0.0
    for size in range(1, 5):
        found = Counter(tuple(out[i : i + size]) for i in range(len(out) - size + 1))
        wanted = Counter(tuple(ref[i : i + size]) for i in range(len(ref) - size + 1))
        common = sum(min(count, wanted[gram]) for gram, count in found.items())
        if not common:
            return 0.0
        logs += math.log(common / sum(found.values())) / 4
    return math.exp(logs + min(0.0, 1 - len(ref) / len(out)))


def plain_rouge_l(output, reference):
    """F1 of the longest common subsequence of lower-cased words, by the textbook table."""
    out, ref = (
        "".join(c if c.isascii() and c.isalnum() else " " for c in text.lower()).split() for text in (output, reference)
    )
    table = [[0] * (len(ref) + 1) for _ in range(len(out) + 1)]
    for i, a in enumerate(out):
        for j, b in enumerate(ref):
            table[i + 1][j + 1] = table[i][j] + 1 if a == b else max(table[i][j + 1], table[i + 1][j])
    longest = table[-1][-1]
    return 2 * longest / (len(out) + len(ref)) if longest else 0.0


def test_pairs_are_neither_all_equal_nor_all_unlike():
    scores = [plain_bleu(output, reference) for output, reference in PAIRS]
    assert sum(0 < score < 1 for score in scores) > 60
    assert any(score > 0.999 for score in scores) and 0.0 in scores


def test_bleu_equals_sacrebleu_and_the_formula():
    theirs = BLEU(tokenize="13a", smooth_method="none", lowercase=False, force=True, effective_order=False)
    for output, reference in PAIRS:
        score = metrics.bleu(output, reference)
        assert score == pytest.approx(theirs.sentence_score(output, [reference]).score / 100, abs=1e-12)
        assert score == pytest.approx(plain_bleu(output, reference), abs=1e-9)


def test_rouge_l_equals_rouge_score_and_the_formula():
    theirs = RougeScorer(["rougeL"], use_stemmer=False)
    for output, reference in PAIRS:
        score = metrics.rouge_l(output, reference)
        assert score == pytest.approx(theirs.score(reference, output)["rougeL"].fmeasure, abs=1e-12)
        assert score == pytest.approx(plain_rouge_l(output, reference), abs=1e-9)


def test_chrf_equals_sacrebleu():
    theirs = CHRF()
    for output, reference in PAIRS:
        if output.strip():
            expected = theirs.sentence_score(output, [reference]).score / 100
            assert metrics.chrf(output, reference) == pytest.approx(expected, abs=1e-12)


def character_grams(text, size):
    text = "".join(text.split())
    return Counter(text[start : start + size] for start in range(len(text) - size + 1))


def plain_chrf(output, reference):
    """chrF2 of one pair, written from the formula: orders that one of the texts is too short for are left out."""
    precisions, recalls = [], []
    for size in range(1, 7):
        found, wanted = character_grams(output, size), character_grams(reference, size)
        if found and wanted:
            common = (found & wanted).total()
            precisions.append(common / found.total())
            recalls.append(common / wanted.total())
    precision, recall = (sum(parts) / max(1, len(parts)) for parts in (precisions, recalls))
    return 5 * precision * recall / (4 * precision + recall) if precision + recall else 0.0


def test_chrf_equals_the_formula():
    for output, reference in PAIRS:
        if output.strip():
            assert metrics.chrf(output, reference) == pytest.approx(plain_chrf(output, reference), abs=1e-9)


def plain_indel(output, reference):
    """The least number of insertions and deletions, by the textbook table."""
    row = list(range(len(reference) + 1))
    for i, a in enumerate(output, start=1):
        above, row = row, [i]
        for j, b in enumerate(reference, start=1):
            row.append(above[j - 1] if a == b else 1 + min(above[j], row[j - 1]))
    return row[-1]


def test_edit_similarity_equals_the_textbook_table():
    for output, reference in PAIRS[:80]:
        expected = 1 - plain_indel(output.strip(), reference.strip()) / len(output.strip() + reference.strip())
        assert metrics.edit_similarity(output, reference) == pytest.approx(expected, abs=1e-12)


def test_edit_similarity_counts_insertions_and_deletions_only():
    assert metrics.edit_similarity("abcd", "abXcd") == pytest.approx(1 - 1 / 9)
    assert metrics.edit_similarity("abc", "axc") == pytest.approx(1 - 2 / 6)  # Levenshtein would say 1 - 1 / 3
    assert metrics.edit_similarity(" abc\n", "abc") == 1.0


@pytest.mark.parametrize("name", [name for name in METRICS if METRICS[name].scope != "fluency"])
def test_every_comparison_is_one_for_equal_texts_and_stays_in_its_range(name):
    metric = METRICS[name]
    texts = [snippet for snippet in SNIPPETS if metric.scope == "text" or "Return the" not in snippet]
    for text in texts:
        assert metric.score(f"  {text}\n", text) == 1.0
    for output, reference in PAIRS:
        assert metric.low <= metric.score(output, reference) <= metric.high


@pytest.mark.parametrize(
    "name", ["exact_match", "bleu", "rouge_l", "chrf", "edit_similarity", "syntax_match", "identifier_match"]
)
def test_empty_texts_are_equal_to_each_other_and_unlike_all_others(name):
    score = METRICS[name].score
    assert score("", "") == 1.0
    assert score(" \n", "") == 1.0
    assert score("", "print(x)") == 0.0
    assert score("print(x)", "") == 0.0


def test_exact_match_sees_case_and_inner_blanks():
    assert metrics.exact_match("f(x)", "f(x)\n") == 1.0
    assert metrics.exact_match("f(X)", "f(x)") == 0.0
    assert metrics.exact_match("f( x)", "f(x)") == 0.0


def test_a_short_target_has_bleu_zero_even_when_equal():
    assert metrics.short_target("return value") and metrics.bleu("return value", "return value") == 0.0
    assert metrics.short_target("a b c")
    assert not metrics.short_target("a b c d") and metrics.bleu("a b c d", "a b c d") == 1.0
    assert not metrics.short_target("f(x)")  # four tokens: f ( x )


def test_valid_syntax_needs_code():
    assert metrics.valid_syntax("  x = [1, 2]\n") == 1.0
    assert metrics.valid_syntax("x = [1, 2") == 0.0
    assert metrics.valid_syntax("   ") == 0.0


def test_valid_syntax_holds_for_all_that_python_parses_and_for_little_else():
    wider = 0
    for output, _ in PAIRS:
        try:
            ast.parse(output.strip())
        except SyntaxError:
            wider += metrics.valid_syntax(output) == 1.0
        else:
            assert metrics.valid_syntax(output) == float(bool(output.strip()))
    assert wider <= 2


@pytest.mark.parametrize(
    ("output", "reference", "score"),
    [
        ("f(x)", "f( x )  # twice", 1.0),
        ("x.sort(key=len)", "sorted(x, key=len)", 2 * 3 / 8),
        ("f(a, a)", "f(a, b)", 2 * 2 / 6),
        ("np.sum(a", "np.sum(a)", 1.0),
        ("f", "1 + 1", 0.0),
        ("'a'", "1 + 1", 1.0),
        ("data.x", "data['x']", 2 * 1 / 3),
        ("a = b", "b = a", 1.0),
    ],
)
def test_identifier_match_is_f1_of_the_multisets(output, reference, score):
    assert metrics.identifier_match(output, reference) == pytest.approx(score)
    assert metrics.identifier_match(reference, output) == pytest.approx(score)


def test_syntax_match_sees_structure_not_formatting():
    assert metrics.syntax_match("f( x,y )", "f(x, y)") == 1.0
    reference = "x = f(a)\nwhile x:\n    x = g(b, c)"
    near, far = metrics.syntax_match("x = f(a)", reference), metrics.syntax_match("import os", reference)
    assert far < near < metrics.syntax_match(reference, "x = f(a)")  # the share of the reference's subtrees


def test_ngram_entropy_equals_the_direct_computation():
    def entropy(words, size):
        grams = ["\x00".join(words[i : i + size]) for i in range(len(words) - size + 1)]
        _, counts = np.unique(grams, return_counts=True)
        shares = counts / counts.sum()
        return -(shares * np.log2(shares)).sum()

    for text in [*SNIPPETS, " ".join(SNIPPETS), "a b a b a b a c " * 5]:
        words = words_of_13a(text)
        expected = np.mean([entropy(words, 2) * 2 / 3, entropy(words, 3) * 4 / 3])
        assert metrics.ngram_entropy(text) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("text", ["", "one", "one two", "x x x x x x x x"])
def test_ngram_entropy_is_zero_without_variety(text):
    assert metrics.ngram_entropy(text) == 0.0


def test_text_scores_holds_the_metrics_of_its_scope():
    text = {"exact_match", "bleu", "rouge_l", "chrf", "edit_similarity"}
    assert set(metrics.text_scores("f(x)", "f(y)", code=False)) == text
    scores = metrics.text_scores("f(x)", "f(y)", code=True)
    assert set(scores) == text | {"valid_syntax", "syntax_match", "identifier_match"}
    assert all(isinstance(score, float) for score in scores.values())
    assert scores["bleu"] == metrics.bleu("f(x)", "f(y)") and scores["exact_match"] == 0.0


@pytest.mark.parametrize("name", list(METRICS))
def test_a_registered_metric_says_what_it_is(name):
    metric = METRICS[name]
    assert metric.name == name and metric.title
    function = getattr(metrics, name)
    assert "Range:" in function.__doc__ and "higher is" in function.__doc__
    assert metric.better == "higher"


def test_an_unknown_metric_is_named_with_a_suggestion():
    with pytest.raises(UnknownNameError, match=r"unknown metric 'rouge'.*Did you mean 'rouge_l'"):
        METRICS["rouge"]
