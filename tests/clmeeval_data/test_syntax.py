"""Syntax: checked against the standard ``ast`` module, on the standard library's own files."""

import ast
import inspect
import subprocess
import sys
import sysconfig
import textwrap
import warnings
from pathlib import Path

import pytest

from clmeeval_data import syntax

STDLIB = Path(sysconfig.get_path("stdlib"))
MODULES = ["argparse.py", "dataclasses.py", "json/decoder.py", "difflib.py", "asyncio/tasks.py", "tkinter/font.py"]


def read(module):
    return (STDLIB / module).read_text(encoding="utf-8")


def parse(code):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.parse(code)


def definitions(tree, prefix=""):
    """Every function of a tree with its qualified name, by ``ast``."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ClassDef):
            yield from definitions(node, f"{prefix}{node.name}.")
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield prefix + node.name, node
            yield from definitions(node, f"{prefix}{node.name}.<locals>.")
        else:
            yield from definitions(node, prefix)


@pytest.mark.parametrize(
    "code",
    [
        "x = 1",
        "print('a')",
        "async def f():\n    async with a as b:\n        await b",
        "match x:\n    case [1, *rest]:\n        pass",
        "f'{x!r:>{w}} {y=}'",
        "def f(a, /, b, *, c): return a",
        "if x: pass\nelse: y",
        "a = 1; b = 2",
        "# a comment\nx",
        "0o777 + 0 + 1_000",
    ],
)
def test_python_3_parses(code):
    ast.parse(code)
    assert syntax.parses(code)


@pytest.mark.parametrize(
    "code",
    [
        "",
        "   \n",
        "# only a comment",
        "x = (",
        "def f(:\n    pass",
        "print 'a'",
        "print >>f, 'a'",
        "exec 'a'",
        "a <> b",
        "`a`",
        "10L",
        "0777",
        "ur'a'",
        "raise E, 'a'",
        "try:\n    pass\nexcept E, e:\n    pass",
        "def f():",
        "if x:\n    # nothing",
        "import os\n  os.exit()",
        "  x = 1",
        "def f():\n    a\n      b",
        "\x00",
        "(" * 2000,
    ],
)
def test_what_is_no_python_3_does_not_parse(code):
    assert not syntax.parses(code)


@pytest.mark.parametrize("code", ["x = 'a\ud800'", "x = 1\x00", "f(" * 5000, "é = 'ü'  # ñ"])
def test_strange_text_is_no_error(code):
    for function in (syntax.parses, syntax.tokens, syntax.normalised, syntax.calls, syntax.strip_comments):
        function(code)
    assert list(syntax.functions(code)) == []
    assert syntax.tree_similarity(code, code) == 1.0


@pytest.mark.parametrize("module", MODULES)
def test_functions_are_those_that_ast_finds(module):
    source = read(module)
    found = list(syntax.functions(source))
    expected = dict(definitions(parse(source)))
    assert [function.name for function in found][:3] == list(expected)[:3]
    assert {function.name for function in found} == set(expected)
    for function in found:
        node = expected[function.name] if [f.name for f in found].count(function.name) == 1 else None
        if node is not None:
            assert function.docstring == (ast.get_docstring(node) or "").strip()
            assert function.line == min([node.lineno, *(item.lineno for item in node.decorator_list)])
            assert ast.dump(parse(function.code).body[0]) == ast.dump(node)
            assert source.encode()[function.start : function.end].split() == function.code.encode().split()


def test_a_method_moves_to_the_margin_but_the_inside_of_its_strings_does_not():
    method = (
        'class A:\n    @cache\n    def f(self):\n        """Doc.\n\n        More."""\n        return """a\n    b"""\n'
    )
    (function,) = syntax.functions(method)
    assert function.name == "A.f"
    assert function.line == 2
    assert function.docstring == "Doc.\n\nMore."
    assert function.code.startswith("@cache\ndef f(self):\n")
    assert function.code.endswith('    return """a\n    b"""')


class _WithoutDocstrings(ast.NodeTransformer):
    def visit(self, node):
        self.generic_visit(node)
        if (
            isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            and ast.get_docstring(node) is not None
        ):
            node.body = node.body[1:] or [ast.Pass()]
        return node


@pytest.mark.parametrize("module", MODULES)
def test_strip_docstrings_removes_docstrings_and_nothing_else(module):
    source = read(module)
    expected = _WithoutDocstrings().visit(parse(source))
    tree = parse(syntax.strip_docstrings(source))
    if ast.get_docstring(tree) is not None:  # a module's docstring stays: it may be a snippet's only expression
        assert ast.get_docstring(tree) == ast.get_docstring(expected)
    assert ast.dump(tree) == ast.dump(expected)


@pytest.mark.parametrize(
    ("code", "stripped"),
    [
        ('def f():\n    """Doc."""\n    return 1', "def f():\n    return 1"),
        ('def f():\n    """Doc."""', "def f():\n    pass"),
        ('def f(): "doc"; return 1', "def f(): return 1"),
        ('def f():\n    "a" "b"\n\n    return 1', "def f():\n    return 1"),
        ("def f():\n    x = 'no doc'", "def f():\n    x = 'no doc'"),
        ("def f():\n    b'no doc'\n    return 1", "def f():\n    b'no doc'\n    return 1"),
        ("def f():\n    f'{no} doc'\n    return 1", "def f():\n    f'{no} doc'\n    return 1"),
        ("'a snippet'", "'a snippet'"),
    ],
)
def test_strip_docstrings(code, stripped):
    assert syntax.strip_docstrings(code) == stripped


@pytest.mark.parametrize("module", MODULES)
def test_strip_comments_keeps_the_meaning(module):
    source = read(module)
    stripped = syntax.strip_comments(source)
    assert ast.dump(parse(stripped)) == ast.dump(parse(source))
    assert syntax.comments(source)
    assert syntax.comments(stripped) == []


def test_strip_comments_removes_lines_that_held_nothing_else():
    assert syntax.strip_comments("# a\nx = 1  # b\n    # c\ny = '# d'\n# e") == "x = 1\ny = '# d'\n"
    assert syntax.comments("# a\nx = '# b'  # c") == ["# a", "# c"]


def test_tokens_leave_out_comments_and_keep_strings_whole():
    assert syntax.tokens("x = f('a b')  # c") == ["x", "=", "f", "(", "'a b'", ")"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("x=1;y=x", "first = 1\n\nsecond = first  # comment"),
        ("def f(a, b):\n    '''Doc.'''\n    return a+b", "def f(left, right): return left + right"),
        ("print('a')", 'print("a")'),
        ("[i for i in seq]", "[item for item in seq]"),
        ("with open(p) as f:\n  f.read()", "with open(p) as handle:\n    handle.read()"),
        ("def f(): 'doc'", "def f():\n    '''another'''"),
    ],
)
def test_normalised_is_equal_up_to_layout_and_names(one, other):
    assert syntax.normalised(one) == syntax.normalised(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("def f(a, b): return a - b", "def f(a, b): return b - a"),
        ("x.strip()", "x.lstrip()"),
        ("f(key=1)", "f(other=1)"),
        ("def f(): pass", "def g(): pass"),
        ("if a:\n    b\nc", "if a:\n    b\n    c"),
        ("print('a')", "print('b')"),
        ("sorted(d)", "sorted(e)"),
        ("x = 1", "x == 1"),
    ],
)
def test_normalised_differs_where_the_meaning_does(one, other):
    assert syntax.normalised(one) != syntax.normalised(other)


def test_free_names_can_be_numbered_too():
    assert syntax.normalised("sorted(d)", free_names=True) == syntax.normalised("sorted(e)", free_names=True)
    assert syntax.normalised("max(d)", free_names=True) != syntax.normalised("min(d)", free_names=True)
    assert syntax.normalised("json.loads(s)", free_names=True) != syntax.normalised("pickle.loads(s)", free_names=True)
    assert syntax.normalised("train(x)", free_names=True) != syntax.normalised("test(x)", free_names=True)
    assert syntax.normalised("train(x)", free_names=True) == syntax.normalised("train(y)", free_names=True)
    assert syntax.normalised("a - b", free_names=True) != syntax.normalised("a - a", free_names=True)


@pytest.mark.parametrize("module", MODULES)
def test_normalised_does_not_depend_on_comments_docstrings_and_layout(module):
    for function in list(syntax.functions(read(module)))[:40]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            bare = syntax.strip_comments(syntax.strip_docstrings(function.code))
        assert syntax.normalised(bare) == syntax.normalised(function.code)


@pytest.mark.parametrize(
    ("candidate", "reference", "share"),
    [
        ("max(a)", "min(b)", 1.0),
        ("# c\nmax(a)", "max(a)", 1.0),
        ("", "max(a)", 0.0),
        # inner nodes of the reference: argument_list, call, expression_statement, module; only the first is found
        ("f(g, a)", "f(a)", 0.0),
        ("f(a).b", "f(a)", 2 / 4),
        # the reference holds f(a) twice, the candidate once: call and argument_list count once each, of 2 + 2 + 2
        ("f(a)\nb", "f(a) + f(a)", 2 / 7),
    ],
)
def test_tree_similarity(candidate, reference, share):
    assert syntax.tree_similarity(candidate, reference) == pytest.approx(share)


def test_tree_similarity_of_a_code_to_itself_is_one():
    for function in list(syntax.functions(read("difflib.py")))[:20]:
        assert syntax.tree_similarity(function.code, function.code) == 1.0
        assert 0 < syntax.tree_similarity(function.code[: len(function.code) // 2], function.code) < 1


def test_calls_are_named_by_what_is_called():
    code = "import os\nos.path.join(a, f(b)).strip()\nx[0](c)\n'-'.join(y)"
    assert syntax.calls(code) == [".strip", "os.path.join", "f", ".join"]


def test_variables_have_roles_and_byte_offsets():
    code = textwrap.dedent("""
        def f(p, q=1):
            é = p.attr
            for i in range(é):
                g(kw=i)
            with open(p) as h:
                pass
            try:
                import mod
            except E as e:
                raise
    """)
    found = syntax.variables(code)
    assert all(code.encode()[place.start : place.end].decode() == place.name for place in found)
    assert {(place.name, place.role) for place in found if place.role != "used"} == {
        ("p", "parameter"),
        ("q", "parameter"),
        ("é", "assigned"),
        ("i", "loop"),
        ("h", "context"),
        ("e", "caught"),
    }
    assert not {"attr", "kw", "mod", "f"} & {place.name for place in found}


def test_tree_sitter_is_imported_when_first_used_and_only_here():
    code = "import clmeeval_data.syntax, sys; assert not any(m.startswith('tree_sitter') for m in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(inspect.getfile(syntax)).parents[2])
