"""The law of imports, read from the source: who may know whom, and what nobody may load."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
KERNEL = "clmeeval_data"
FOLDERS = ("clmeeval_data", "builders", "paraphrase", "evaluation")

# What each part may import besides itself.
PARTS = {
    "kernel": set(),
    "paraphrase": {"kernel"},
    "builders": {"kernel", "paraphrase"},
    "evaluation": {"kernel"},
    "commands": {"kernel", "builders", "evaluation"},
}
# The same inside evaluation, down to single modules. A new module there takes its place in this order.
FIGURES = {f"scoring.{name}" for name in ("metrics", "paired", "signature", "significance", "slices", "summary")}
EVALUATION = {
    "cli": {
        "commands",
        "console",
        "cluster",
        "training",
        "tune",
        "plan",
        "protocols",
        "recorder",
        "batch_size",
        "editors",
        "hparams",
    },
    "commands": {"console", "answers_dataset", "compare", "execute", "merge", "verify", "report", "results", *FIGURES},
    "console": set(),
    "verify": {"plan", "runner", "protocols", "editors", "model", "results"},
    "tune": {"cluster", "runner", "measurement", "answers", "editors", "scoring", "hparams", "model", "results"},
    "cluster": {"plan", "execution", "runner", "recorder", "published_answers", "answers"}
    | {"batch_size", "protocols", "editors", "model", "results"},
    "execution": {"recorder", "protocols", "answers", "editors.contract"},  # it is told how to load a model: no plan
    "plan": {"runner", "recorder", "batch_size", "protocols", "editors", "hparams", "model"},
    "training": {"editors", "hparams", "model", "results", "scoring"},
    "runner": {"recorder", "batch_size", "protocols", "editors", "scoring", "model", "results"},
    "recorder": {"merge", "protocols", "answers", "editors.contract", "results"},
    "merge": {"results", *FIGURES},
    "batch_size": {"protocols", "measurement", "answers", "editors.contract"},
    "protocols": {"measurement", "answers", "editors.contract", "scoring", "model", "results"},
    "measurement": {"editors", "scoring", "answers", "model"},
    "answers_dataset": {"measurement", "published_answers", "answers", "editors.contract", "scoring", "model"},
    "published_answers": {"answers", "editors.contract", "scoring", "model"},
    "answers": {"editors.contract", "scoring", "model", "results"},
    "editors": {"model"},
    "scoring": {"editors.contract", "model", "results"},
    "hparams": {"editors", "model"},
    "model": set(),
    "testing": {"training", "editors", "hparams", "model"},
    "execute": {"results", *FIGURES},
    "compare": {"results", *FIGURES},
    "leaderboard": {"publishing", "submission", "report", "results", *FIGURES},
    "submission": {"report", "results", "editors.contract", "scoring.dimensions", *FIGURES},
    "publishing": {"report", "results", *FIGURES},
    "report": {"results", *FIGURES},
    "results": set(),
}
WITHOUT_TORCH = ("report", "results", "merge", "publishing", "submission", "leaderboard", *sorted(FIGURES))
TORCH_FREE = tuple(f"{KERNEL}.evaluation.{name}" for name in WITHOUT_TORCH)
# Which modules may import a library, and which of these may not after all.
LIBRARIES = {
    "torch": ((f"{KERNEL}.evaluation",), TORCH_FREE),
    "transformers": ((f"{KERNEL}.evaluation",), TORCH_FREE),
    "openai": ((f"{KERNEL}.llm",), ()),
    "httpx2": ((f"{KERNEL}.llm",), ()),
    "huggingface_hub": ((f"{KERNEL}.hub", f"{KERNEL}.builders.sources"), ()),
    "tree_sitter": ((f"{KERNEL}.syntax",), ()),
    "tree_sitter_python": ((f"{KERNEL}.syntax",), ()),
    "ray": ((f"{KERNEL}.ray_cluster",), ()),
    "requests": ((f"{KERNEL}.builders.sources",), ()),
    "pydantic": ((f"{KERNEL}.builders.overrides",), ()),
    "rapidfuzz": ((KERNEL,), (f"{KERNEL}.evaluation.report",)),
}
VAGUE_NAMES = re.compile(r"^_*(utils?|helpers?|common|misc|managers?|\w+_(utils?|helpers?|manager))$")
FORBIDDEN_MODULES = {"pickle", "dill", "joblib", "yaml"}


class Import(NamedTuple):
    """One import: the module that has it, its line, and the full name of what it asks for."""

    module: str
    line: int
    name: str
    relative: bool


def sources() -> dict[str, Path]:
    """Every module of the package, by the name under which it is installed."""
    found = {}
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            parts = parts if folder == KERNEL else (KERNEL, *parts)
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


SOURCES = sources()


def imports_of(module: str, text: str) -> Iterator[Import]:
    """All imports of a module, inside functions too, and those that a registry makes later ("package.module:name")."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (Import(module, node.lineno, alias.name, False) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                is_module = name in SOURCES or node.module is None
                yield Import(module, node.lineno, name if is_module else node.module, node.level > 0)


def entries_of(module: str, text: str) -> Iterator[Import]:
    """The modules that a registry of this module loads by name ("package.module:attribute")."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            named = re.fullmatch(rf"({KERNEL}(?:\.\w+)+):\w+", node.value)
            if named:
                yield Import(module, node.lineno, named.group(1), False)


TEXTS = {module: path.read_text(encoding="utf-8") for module, path in SOURCES.items()}
IMPORTS = [found for module, text in TEXTS.items() for found in imports_of(module, text)]
ENTRIES = [found for module, text in TEXTS.items() for found in entries_of(module, text)]


def below(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def part_of(module: str) -> str:
    second = module.split(".")[1] if "." in module else ""
    return second if second in PARTS else "kernel"


def shown(found: list[Import]) -> str:
    lines = {f"{SOURCES[item.module].relative_to(ROOT)}:{item.line} imports {item.name}" for item in found}
    return "\n".join(sorted(lines))


def test_the_sources_were_found():
    assert {"clmeeval_data", "clmeeval_data.records", "clmeeval_data.evaluation.results"} <= set(SOURCES)
    assert any(found.name == "clmeeval_data.errors" for found in IMPORTS)


def test_parts_know_only_those_below_them():
    own = [found for found in (*IMPORTS, *ENTRIES) if below(found.name, KERNEL)]
    wrong = [
        found for found in own if part_of(found.name) not in {part_of(found.module), *PARTS[part_of(found.module)]}
    ]
    assert not wrong, shown(wrong)


def test_evaluation_runs_in_one_direction():
    prefix = f"{KERNEL}.evaluation."
    inside = [
        found for found in (*IMPORTS, *ENTRIES) if found.module.startswith(prefix) and found.name.startswith(prefix)
    ]
    wrong = []
    for found in inside:
        layer = found.module.removeprefix(prefix).split(".")[0]
        assert layer in EVALUATION, f"{found.module} has no place in the order of evaluation: add it to EVALUATION"
        if not any(below(found.name, prefix + allowed) for allowed in {layer, *EVALUATION[layer]}):
            wrong.append(found)
    assert not wrong, shown(wrong)


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_library_is_used_only_where_it_belongs(library):
    allowed, not_there = LIBRARIES[library]
    wrong = [
        found
        for found in IMPORTS
        if below(found.name, library)
        and (
            not any(below(found.module, package) for package in allowed)
            or any(below(found.module, package) for package in not_there)
        )
    ]
    assert not wrong, shown(wrong)


def test_imports_are_absolute_and_by_the_installed_name():
    wrong = [found for found in IMPORTS if found.relative or found.name.split(".")[0] in FOLDERS[1:]]
    assert not wrong, shown(wrong)


def test_nothing_is_pickled_and_no_yaml_is_read():
    wrong = [found for found in IMPORTS if found.name.split(".")[0] in FORBIDDEN_MODULES]
    assert not wrong, shown(wrong)


def test_no_module_imports_itself_through_others():
    graph: dict[str, set[str]] = {module: set() for module in SOURCES}
    for found in IMPORTS:
        if found.name in SOURCES and found.name != found.module:
            graph[found.module].add(found.name)
    assert find_circle(graph) is None


def find_circle(graph: dict[str, set[str]]) -> list[str] | None:
    """The modules of one circle, or None where there is none."""
    done: set[str] = set()

    def visit(module: str, path: list[str]) -> list[str] | None:
        if module in path:
            return [*path[path.index(module) :], module]
        if module in done:
            return None
        circles = (visit(other, [*path, module]) for other in sorted(graph[module]))
        circle = next((found for found in circles if found), None)
        done.add(module)
        return circle

    return next((circle for module in sorted(graph) if (circle := visit(module, []))), None)


def test_the_search_for_circles_finds_one():
    assert find_circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert find_circle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) is None


@pytest.mark.parametrize("module", SOURCES)
def test_files_are_short_and_named_for_what_they_hold(module):
    assert len(TEXTS[module].splitlines()) <= 400
    assert not VAGUE_NAMES.match(module.split(".")[-1])


def test_tests_have_unique_names_and_no_packages():
    names = [path.name for path in (ROOT / "tests").rglob("*.py") if path.name != "conftest.py"]
    assert "__init__.py" not in names
    assert len(names) == len(set(names)), sorted(name for name in set(names) if names.count(name) > 1)


def run_python(code: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout


def test_importing_the_package_is_quick():
    code = "import time; start = time.perf_counter(); import clmeeval_data; print(time.perf_counter() - start)"
    assert min(float(run_python(code)) for _ in range(5)) < 0.3


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        (KERNEL, {"torch", "transformers", "datasets", "pyarrow", "huggingface_hub", "openai", "tree_sitter", "numpy"}),
        (f"{KERNEL}.llm", {"openai", "httpx2"}),
        (f"{KERNEL}.storage", {"torch", "datasets", "pyarrow", "huggingface_hub", "jinja2"}),
        (f"{KERNEL}.hub", {"torch", "datasets", "pyarrow", "huggingface_hub"}),
        (f"{KERNEL}.answers", {"torch", "datasets", "pyarrow", "huggingface_hub", "jinja2"}),
        (f"{KERNEL}.builders.cli", {"torch", "transformers", "datasets", "tree_sitter", "openai"}),
        (f"{KERNEL}.commands", {"torch", "transformers", "datasets", "tree_sitter", "openai", "pyarrow", "jinja2"}),
        (f"{KERNEL}.evaluation.cli", {"torch", "transformers", "datasets"}),
        (f"{KERNEL}.evaluation.leaderboard", {"torch", "transformers", "datasets", "matplotlib"}),
        (f"{KERNEL}.evaluation.report", {"torch", "transformers", "matplotlib"}),
    ],
)
def test_importing_loads_nothing_heavy(module, heavy):
    loaded = run_python(f"import sys, {module}; print(*sys.modules)").split()
    assert not heavy & set(loaded)


def test_the_side_of_the_reports_runs_without_torch():
    modules = [module for module in SOURCES if any(below(module, package) for package in TORCH_FREE)]
    loaded = run_python(f"import sys, {', '.join(modules)}; print(*sys.modules)").split()
    assert not {"torch", "transformers"} & set(loaded)
