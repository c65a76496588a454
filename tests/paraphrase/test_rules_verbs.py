"""Verbs of the rules: their forms, when a word is one, and tables without slips."""

import re
import tomllib
from importlib.resources import files

import pytest

from clmeeval_data.paraphrase.rules.lexicon import Lexicon
from clmeeval_data.paraphrase.rules.verbs import Verbs

TABLES = {
    name: tomllib.loads((files("clmeeval_data.paraphrase.rules") / f"{name}.toml").read_text(encoding="utf-8"))
    for name in ("verbs", "heads", "words", "openings", "topics")
}
VERBS = Verbs(TABLES["verbs"])
# From a dictionary, not from the rules.
FORMS = """
sort sorts sorting | get gets getting | remove removes removing | copy copies copying | match matches matching
split splits splitting | do does doing | be is being | have has having | process processes processing | fix fixes fixing
apply applies applying | display displays displaying | run runs running | set sets setting | put puts putting
open opens opening | write writes writing | see sees seeing | free frees freeing | echo echoes echoing | go goes going
begin begins beginning | format formats formatting | filter filters filtering | edit edits editing
offset offsets offsetting | submit submits submitting | transfer transfers transferring | refer refers referring
listen listens listening
crop crops cropping | zip zips zipping | unzip unzips unzipping | plot plots plotting | quit quits quitting
cache caches caching | parse parses parsing | hash hashes hashing | index indexes indexing | query queries querying
get~rid~of gets~rid~of getting~rid~of | make~use~of makes~use~of making~use~of | add~up adds~up adding~up
"""


@pytest.mark.parametrize("forms", [line.split() for line in re.split(r"\||\n", FORMS) if line.strip()])
def test_inflection(forms):
    base, third, gerund = (form.replace("~", " ") for form in forms)
    assert VERBS.inflected(base, "base") == base
    assert VERBS.inflected(base, "third") == third
    assert VERBS.inflected(base, "gerund") == gerund


def test_inflection_can_be_undone_for_every_known_verb():
    for verb in VERBS.known - frozenset(TABLES["verbs"]["not_openings"].split()):
        for form in ("third", "gerund"):
            inflected = VERBS.inflected(verb, form)
            assert VERBS.base(inflected, form) in (verb, None)
            assert VERBS.base(inflected, form) or inflected in TABLES["verbs"]["not_openings"].split()


@pytest.mark.parametrize(
    ("text", "form", "verb"),
    [
        ("sort a list", "base", "sort"),
        ("list all files", "base", "list"),
        ("list comprehension in python", "base", None),
        ("index out of range", "base", None),
        ("Import error", "base", None),
        ("import a module", "base", "import"),
        ("Exit code that means an error", "base", None),
        ("Start index of the operation", "base", None),
        ("Set by the user", "base", None),
        ("Set of keys", "base", None),
        ("quickly sort a list", "base", "sort"),
        ("multiply all items", "base", "multiply"),
        ("Sorting a list", "gerund", "sort"),
        ("String formatting", "gerund", None),
        ("Missing values in a list", "gerund", None),
        ("Encoding for multilingual files", "gerund", None),
        ("Looping over a list", "gerund", "loop"),
        ("Returns the keys", "third", "return"),
        ("Checks for a key", "third", "check"),
        ("Lists in Python", "third", None),
        ("Is there a way", "third", None),
        ("Do lists keep their order", "base", None),
    ],
)
def test_a_word_opens_a_request_or_is_a_noun(text, form, verb):
    opened = VERBS.opening(text, form)
    assert (opened and opened.verb) == verb


@pytest.mark.parametrize(
    ("text", "is_statement"),
    [
        ("numpy has stopped working", True),
        ("hg verify doesn't return 0", True),
        ("The class accepts the following arguments", True),
        ("Instances of this class represent libraries", True),
        ("function returns a list", True),
        ("The LMTP protocol , which is similar to ESMTP , is based on SMTP", True),
        ("The class that is used when a node has children", False),
        ("fill empty results with zeros", False),
        ("a way to represent dates", False),
        ("The name of the module the loader will handle", False),
        ("The file ( by default this is the same )", False),
    ],
)
def test_a_statement_has_a_finite_verb_in_its_main_clause(text, is_statement):
    assert VERBS.is_statement(text) is is_statement


@pytest.mark.parametrize(
    ("text", "form", "base"),
    [
        ("Sorting a list and removing duplicates", "gerund", "sort a list and remove duplicates"),
        ("Sorting a list by counting and merging", "gerund", None),
        ("Creates and returns the lock", "third", "create and return the lock"),
        ("Opens the file , reads it , and closes it", "third", "open the file , read it , and close it"),
        ("Returns lists and sets", "third", None),
        ("Returns a list of calls and the results", "third", "return a list of calls and the results"),
    ],
)
def test_coordinated_verbs_change_together(text, form, base):
    assert VERBS.in_base_form(text, form) == base


def test_verbs_that_take_the_place_of_others_can_be_inflected():
    for head in TABLES["heads"]["head"]:
        for verb in head["into"]:
            assert verb.split()[0] in VERBS.known or verb.split()[0].endswith("ly"), verb


def test_every_entry_has_known_fields_and_says_something_else():
    contexts = {"unless", "not_after", "only_after", "not_before", "only_before", "unless_later", "family"}
    for entry in TABLES["words"]["same"]:
        assert set(entry) <= {"words"} | contexts
        assert len(set(entry["words"])) == len(entry["words"]) > 1
    for entry in TABLES["words"]["turn"]:
        assert set(entry) <= {"from", "into"} | contexts
        phrases = entry["from"] if isinstance(entry["from"], list) else [entry["from"]]
        assert not set(phrases) & set(entry["into"])
        assert entry["into"]
    for entry in TABLES["heads"]["head"]:
        assert set(entry) <= {"verb", "into", "needs", "unless", "swap"}
        assert all(set(entry["into"]) - {verb} for verb in entry["verb"].split("|"))
    for entry in TABLES["openings"]["opening"]:
        assert set(entry) <= {"from", "into", "unless", "only"}
        groups = re.compile(entry["from"]).groups
        numbers = [int(number) for template in entry["into"] for number in re.findall(r"\{(?:\w+:)?(\d)\}", template)]
        assert all(1 <= number <= groups for number in numbers), entry


def test_the_tables_touch_nothing_that_tells_one_request_from_another():
    kept = {
        *(
            "first",
            "last",
            "keys",
            "values",
            "key",
            "value",
            "row",
            "column",
            "rows",
            "columns",
            "not",
            "without",
            "no",
        ),
        *(
            "except",
            "less",
            "greater",
            "ascending",
            "descending",
            "before",
            "after",
            "minimum",
            "only",
            "more",
            "least",
        ),
    }
    assert not kept & {
        phrase for name in ("same", "turn") for entry in TABLES["words"][name]
        for phrase in (entry.get("words") or ([entry["from"]] if isinstance(entry["from"], str) else entry["from"]))
    }  # fmt: skip


def test_the_vocabulary_is_in_lower_case():
    assert all(word == word.casefold() for word in Lexicon(TABLES["words"], TABLES["heads"]).vocabulary)
