import subprocess
import sys

import pytest

from clmeeval_data.errors import ClmeevalError, UnknownNameError
from clmeeval_data.registry import Registry


@pytest.fixture
def registry():
    return Registry("editor", {"rome": "fractions:Fraction", "ft": "decimal:Decimal", "broken": "no.such.module:X"})


def test_a_name_gives_its_object(registry):
    from fractions import Fraction

    assert registry["rome"] is Fraction


def test_names_keep_the_order_of_registration(registry):
    assert list(registry) == ["rome", "ft", "broken"]
    assert len(registry) == 3


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("rom", "unknown editor 'rom'. Did you mean 'rome'? Known: broken, ft, rome."),
        ("ROME", "unknown editor 'ROME'. Known: broken, ft, rome."),
        ("memit", "unknown editor 'memit'. Known: broken, ft, rome."),
    ],
)
def test_an_unknown_name_gets_a_suggestion_and_the_list(registry, name, message):
    with pytest.raises(UnknownNameError) as caught:
        registry[name]
    assert str(caught.value) == message  # not quoted, as a KeyError's message would be
    assert isinstance(caught.value, ClmeevalError)
    assert isinstance(caught.value, LookupError)


def test_asking_whether_a_name_is_known_raises_nothing(registry):
    assert "memit" not in registry
    assert registry.get("memit") is None


def test_a_module_is_imported_by_its_first_look_up(root):
    code = (
        "import sys; from clmeeval_data.registry import Registry; r = Registry('x', {'a': 'wave:open'});"
        "list(r); before = 'wave' in sys.modules; r['a']; print(before, 'wave' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]
