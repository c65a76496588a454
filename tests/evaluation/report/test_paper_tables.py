import csv
import io
import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest
import typer

from clmeeval_data.evaluation.report import command as table_command
from clmeeval_data.evaluation.report.latex import escaped, latex
from clmeeval_data.evaluation.report.paper import paper_tables
from clmeeval_data.evaluation.report.runs import load_runs
from clmeeval_data.evaluation.report.tables import build_tables
from clmeeval_data.shell import run_app

HOSTILE = r"""\input{/etc/passwd} 100% $x$ #1 a_b^c ~{}&\\[9pt]*--- "q" `c` 'd' <x>|y 模型 é ñ ﬁ \end{tabular} ⟨ · …"""
COMMANDS = {
    "begin", "end", "centering", "caption", "label", "small", "footnotesize", "scriptsize", "setlength", "tabcolsep",
    "toprule", "midrule", "bottomrule", "cmidrule", "multicolumn", "textbf", "textit", "texttt", "quad", "par",
    "smallskip", "raggedright", "allowbreak", "textbackslash", "textasciitilde", "textasciicircum", "textless",
    "textgreater", "textbar", "char", "ldots", "langle", "rangle", "cdot", "uparrow", "downarrow",
}  # fmt: skip
TOKEN = re.compile(r"\\[a-zA-Z]+|\\.|[{}$&%#_^~]|\n|[^\\{}$&%#_^~\n]+")


def read_table(text):
    """Read LaTeX strictly: the rows of every tabular, each a list of cells, a wide cell as often as it is wide.

    Refuses what is not ASCII, unknown commands, comments after the first line, characters that are special and not
    escaped, and unbalanced braces, environments and formulas.
    """
    assert text.isascii()
    assert text.startswith("% Needs ") and "%" not in re.sub(r"\\%", "", text.split("\n", 1)[1])
    body = text.split("\n", 1)[1]
    assert "".join(TOKEN.findall(body)) == body
    braces, environments, formula = 0, [], False
    for token in TOKEN.findall(body):
        if token.startswith("\\") and token[1].isalpha():
            assert token[1:] in COMMANDS, token
            assert not formula or token[1:] in {"langle", "rangle", "cdot", "uparrow", "downarrow"}
        elif token.startswith("\\"):
            assert token[1] in "\\{}$&#_%`'^~\"", token
        elif token == "$":
            formula = not formula
        elif token in "{}":
            braces += 1 if token == "{" else -1
            assert braces >= 0
        else:
            assert token not in "#_^~", token
    assert (braces, formula) == (0, False)
    for kind, name in re.findall(r"\\(begin|end)\{([^}]*)\}", body):
        if kind == "begin":
            environments.append(name)
        else:
            assert environments.pop() == name
    assert not environments
    tabulars = re.findall(r"\\begin\{tabular\}\{([^\n]*)\}\n(.*?)\\end\{tabular\}", body, re.DOTALL)
    return [rows_of(*found) for found in tabulars]


def rows_of(specification, body):
    width = len(re.sub(r"@\{\}| ", "", specification))
    body = re.sub(r"\\(top|mid|bottom)rule|\\cmidrule\(lr\)\{\d+-\d+\}", "", body)
    lines = [line for line in re.split(r"(?<!\\)\\\\\n", body.strip() + "\n") if line.strip()]
    rows = []
    for line in lines:
        cells = []
        for cell in re.split(r"(?<!\\)&", line):
            wide = re.match(r"\s*\\multicolumn\{(\d+)\}\{[^{}]*(?:\{\})?[^{}]*\}\{(.*)\}\s*$", cell, re.DOTALL)
            cells += [wide[2]] * int(wide[1]) if wide else [cell.strip()]
        assert len(cells) == width, line
        assert not re.match(r"\s*[\[*]", line), "an argument of the line end before"
        rows.append(cells)
    return rows


@pytest.fixture
def tables(four_methods, results):
    return build_tables(load_runs([results]))


def test_the_paper_layout(tables, results):
    (rows,) = read_table(latex(paper_tables(tables)))
    assert rows[0] == ["", *["Effectiveness"] * 3, *["Generalisation"] * 3, *["Specificity"] * 3, "Fluency"]
    assert rows[1] == ["Method", *["EM", "BLEU", "ROUGE-{}L"] * 3, "bits"]
    labels = [row[0] for row in rows[2:]]
    assert [re.sub(r"\s*\{\\footnotesize \(.*", "", label) for label in labels] == [
        r"\textit{none}",
        r"\footnotesize Global optimisation", r"\quad ft",
        r"\footnotesize Locate-{}then-{}edit", r"\quad rome",
        r"\footnotesize External memory", r"\quad grace",
    ]  # fmt: skip
    assert "incomplete" in labels[2] and "1 failed" in labels[4] and "(" not in labels[6]


def plain(cell):
    return re.sub(r"\\text(bf|it)\{([^}]*)\}", r"\2", cell)


def test_numbers_are_those_of_the_summary_in_percent(tables, four_methods):
    (rows,) = read_table(latex(paper_tables(tables)))
    (grace,) = [row for row in rows if row[0] == r"\quad grace"]
    scores = json.loads((four_methods["grace"].path / "summary.json").read_text())["scores"]
    dimensions = ("effectiveness", "generalisation", "specificity")
    expected = [f"{100 * scores[d][m]['mean']:.2f}" for d in dimensions for m in ("exact_match", "bleu", "rouge_l")]
    assert [plain(cell) for cell in grace[1:10]] == expected
    assert plain(grace[10]) == f"{scores['fluency']['ngram_entropy']['mean']:.2f}"


def test_bold_is_what_the_leaderboard_marks_and_nothing_else(tables):
    (row,) = [row for row in tables[0].rows if row.run.method == "grace"]
    for best in (frozenset(), frozenset({("specificity", "bleu"), ("fluency", "ngram_entropy")})):
        marked = tuple(replace(other, best=best if other is row else frozenset()) for other in tables[0].rows)
        (rows,) = read_table(latex(paper_tables([replace(tables[0], rows=marked)])))
        bold = [(line[0], place) for line in rows for place, cell in enumerate(line) if r"\textbf" in cell]
        assert bold == ([(r"\quad grace", 8), (r"\quad grace", 10)] if best else [])


def test_the_floor_is_in_italics_and_intervals_are_below(tables):
    (rows,) = read_table(latex(paper_tables(tables, intervals=True), intervals=True))
    floor = next(place for place, row in enumerate(rows) if row[0] == r"\textit{none}")
    assert all(re.fullmatch(r"\\textit\{[\d.]+\}", cell) for cell in rows[floor][1:])
    assert rows[floor + 1][0] == ""
    assert all(re.fullmatch(r"\{\\scriptsize [\d.]+--[\d.]+\}", cell) for cell in rows[floor + 1][1:])
    low, high = re.findall(r"[\d.]+", rows[floor + 1][2])
    assert float(low) <= float(plain(rows[floor][2])) <= float(high)
    assert "scriptsize" not in latex(paper_tables(tables))


def test_the_signature_stands_under_each_table_and_can_be_broken(tables):
    text = latex(paper_tables(tables))
    below = text.partition(r"\end{tabular}")[2]
    found = re.search(r"\\texttt\{(.*)\}\\par\}", below)[1]
    letters = re.sub(r"\\allowbreak\{\}", "", found)
    assert letters == escaped(tables[0].signature)
    assert found.count(r"\allowbreak{}") == len(re.findall("[|,]", tables[0].signature))


def test_hostile_names_are_text(write_run, entry, results):
    write_run(HOSTILE, [entry(i) for i in range(6)], model=HOSTILE, config={HOSTILE: HOSTILE})
    write_run(HOSTILE, [entry(i) for i in range(6)], model=HOSTILE, config={HOSTILE: "[x]"})
    tables = build_tables(load_runs([results]))
    for text in (latex(tables), latex(paper_tables(tables, True), True)):
        (rows,) = read_table(text)
        assert any(r"\textbackslash{}input\{/etc/passwd\}" in row[0] for row in rows)
        assert r"\'{e}" in text and r"$\langle$U+6A21$\rangle$" in text


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no TeX is installed")
@pytest.mark.parametrize("encoding", ["", r"\usepackage[T1]{fontenc}"])
def test_hostile_names_compile(write_run, entry, results, tmp_path, encoding):
    write_run(HOSTILE, [entry(i) for i in range(6)], model=HOSTILE, config={HOSTILE: HOSTILE})
    for number, character in enumerate(map(chr, range(33, 127))):
        write_run(f"{character}{character}a{number}{character}", [entry(0)])
    tables = build_tables(load_runs([results]))
    text = latex(tables) + latex(paper_tables(tables, True), True)
    start = rf"\documentclass[twocolumn]{{article}}\usepackage{{booktabs}}{encoding}\begin{{document}}"
    (tmp_path / "paper.tex").write_text(f"{start}\n{text}\n\\end{{document}}\n")
    command = ["pdflatex", "-draftmode", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace", check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Missing character" not in done.stdout


def test_escaping_can_be_undone():
    """Every printable ASCII character in every pair comes back from what TeX would show."""
    shown = {
        r"\textbackslash{}": "\\", r"\textasciitilde{}": "~", r"\textasciicircum{}": "^", r"\textless{}": "<",
        r"\textgreater{}": ">", r"\textbar{}": "|", r"{\char34}": '"', r"{\char96}": "`", r"{\char39}": "'",
        "{[}": "[", "{]}": "]", "{*}": "*", "-{}": "-", r"\{": "{", r"\}": "}", r"\$": "$", r"\&": "&", r"\#": "#",
        r"\_": "_", r"\%": "%",
    }  # fmt: skip
    pattern = re.compile("|".join(sorted(map(re.escape, shown), key=len, reverse=True)))
    ascii_ = [chr(code) for code in range(33, 127)]
    for first in ascii_:
        for second in ascii_:
            assert pattern.sub(lambda found: shown[found[0]], escaped(first + second)) == first + second
    assert escaped("a\x1b\u202eb") == r"a$\langle$U+001B$\rangle$$\langle$U+202E$\rangle$b"


def test_the_strict_reader_refuses_what_is_wrong(tables):
    text = latex(paper_tables(tables))
    for old, new in (
        (r"\quad grace", "grace & more"), (r"\bottomrule", r"\bottomrule}"), (r"\end{table*}", ""), ("grace", "a_b"),
        ("grace", r"\input"), ("grace", "é"), ("grace", "50% of"), ("grace", "$x"),
    ):  # fmt: skip
        assert old in text
        with pytest.raises((AssertionError, IndexError)):
            read_table(text.replace(old, new, 1))


@pytest.fixture
def command(monkeypatch, capsysbinary, tmp_path):
    app = typer.Typer(add_completion=False)
    app.callback()(lambda: None)
    table_command.add_to(app)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["clmeeval-leaderboard", "table", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            run_app(app)
        captured = capsysbinary.readouterr()
        return stopped.value.code, captured.out.decode(), captured.err.decode()

    return run


def test_the_command_prints_or_writes_every_format(four_methods, results, command, tmp_path):
    for options in (["latex"], ["markdown"], ["csv"], ["latex", "--preset", "paper", "--intervals"],
                    ["markdown", "--preset", "paper"], ["csv", "--preset", "paper"]):  # fmt: skip
        code, out, err = command(results, "--format", *options)
        assert (code, err) == (0, "")
        assert "dataset:cnle" in out.replace(r"\allowbreak{}", "")
        file = tmp_path / "deep" / "table"
        assert command(results, "--format", *options, "--out", file) == (0, f"{file}\n", "")
        assert file.read_text() == out


def test_markdown_in_the_papers_layout(four_methods, results, command):
    _, out, _ = command(results, "--format", "markdown", "--preset", "paper")
    lines = [line for line in out.splitlines() if line.startswith("| ")]
    assert [line.split(" | ")[0].strip("| ") for line in lines] == ["Method", ":--", "none", "ft", "rome", "grace"]
    assert "| Specificity ROUGE-L ↑ | Fluency bits ↑ |" in lines[0]
    assert "100.00" in lines[-1]
    assert "–" not in lines[-1], "intervals only where they are asked for"
    _, out, _ = command(results, "--format", "markdown", "--preset", "paper", "--intervals")
    assert re.search(r"100\.00\*{0,2} \(\d+\.\d–100\.0\)", out)


def test_csv_has_the_full_precision(four_methods, results, command):
    _, out, _ = command(results, "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    (grace,) = [row for row in rows if row["method"] == "grace"]
    summary = json.loads((four_methods["grace"].path / "summary.json").read_text())
    assert float(grace["specificity.chrf.mean"]) == summary["scores"]["specificity"]["chrf"]["mean"]


def test_what_cannot_be_done_is_one_line(four_methods, results, command, tmp_path):
    (tmp_path / "file").write_text("")
    for arguments, message in (
        ([tmp_path / "gone"], "error: no results folder"),
        ([results, "--format", "word"], "error: Invalid value for '--format'"),
        ([results, "--out", tmp_path / "file" / "table.tex"], "error: cannot write"),
    ):
        code, _, err = command(*arguments)
        assert (code, err.count("\n")) == (2, 1)
        assert err.startswith(message)
