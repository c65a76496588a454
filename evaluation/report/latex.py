r"""Tables for papers in LaTeX, with booktabs. Names are untrusted: nothing of them reaches TeX as a command.

A document needs \usepackage{booktabs}; the output is ASCII, so that any engine and encoding will do.
"""

import re
import unicodedata
from collections.abc import Sequence
from itertools import groupby

from clmeeval_data.evaluation.report.paper import PaperTable, families_of
from clmeeval_data.evaluation.report.tables import Column, Row, Table
from clmeeval_data.evaluation.report.untrusted import one_line

ESCAPES = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "_": r"\_", "%": r"\%",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': r"{\char34}", "`": r"{\char96}", "'": r"{\char39}", "[": "{[}", "]": "{]}", "*": "{*}",
    "-": "-{}", "⟨": r"$\langle$", "⟩": r"$\rangle$", "·": r"$\cdot$", "–": "--", "…": r"\ldots{}",
    "↑": r"$\uparrow$", "↓": r"$\downarrow$",
}  # fmt: skip
"""``[`` and ``*`` would be arguments of a line end before them, and two ``-`` a dash."""
ACCENTS = {"\u0300": "`", "\u0301": "'", "\u0302": "^", "\u0303": "~", "\u0308": '"', "\u030c": "v", "\u0327": "c"}
MISSING = "--"
HEADINGS = {"cost": "Cost"}
READING = "Bold: the best, where it clearly is. Italics: the unedited model."
PREAMBLE = "% Needs \\usepackage{booktabs} in the preamble.\n"


def latex(tables: Sequence[Table], intervals: bool = False) -> str:
    """The tables as LaTeX floats over the width of a page, each with its signature below.

    Args:
        tables: The tables; those of ``paper.paper_tables`` have their rows under the headings of their families.
        intervals: Whether each row has a line of 95 % intervals below.
    """
    return PREAMBLE + "".join(f"\n{_float(table, intervals)}\n" for table in tables)


def escaped(text: str) -> str:
    """A text as LaTeX shows it: in ASCII, with no command of its own; a letter that TeX may not have by its number."""
    return "".join(map(_escaped_character, one_line(text)))


def _escaped_character(character: str) -> str:
    if character in ESCAPES:
        return ESCAPES[character]
    if character.isascii():
        return character
    letter, *marks = list(unicodedata.normalize("NFD", character))
    if letter.isascii() and letter.isalpha() and letter not in "ij" and len(marks) == 1 and marks[0] in ACCENTS:
        return f"\\{ACCENTS[marks[0]]}{{{letter}}}"
    return rf"$\langle$U+{ord(character):04X}$\rangle$"


def _float(table: Table, intervals: bool) -> str:
    columns = table.columns()
    lines = [
        r"\begin{table*}[t]",
        r"\centering",
        rf"\caption{{{_caption(table, intervals)}}}",
        rf"\label{{tab:clmeeval-{re.sub('[^a-z0-9]+', '-', table.dataset.lower())}-{table.key}}}",
        r"\footnotesize",
        r"\setlength{\tabcolsep}{3pt}",
        rf"\begin{{tabular}}{{@{{}}l {_specification(columns)}@{{}}}}",
        r"\toprule",
        *_header(columns, arrows=not isinstance(table, PaperTable)),
        *_body(table, columns, intervals),
        r"\bottomrule",
        r"\end{tabular}",
        rf"\par\smallskip{{\raggedright\footnotesize\texttt{{{_signature(table.signature)}}}\par}}",
        r"\end{table*}",
    ]
    return "\n".join(lines)


def _caption(table: Table, intervals: bool) -> str:
    paper = isinstance(table, PaperTable)
    unit = "Scores in percent, fluency in bits; higher is better." if paper else "Scores from 0 to 1."
    below = ["Below each mean its 95 % interval."] if intervals else []
    return " ".join(escaped(text) for text in (f"{table.title}.", unit, *below, READING, *table.notes()))


def _specification(columns: Sequence[Column]) -> str:
    return " ".join("r" * len(list(group)) for _, group in groupby(columns, lambda column: column.dimension))


def _header(columns: Sequence[Column], arrows: bool) -> list[str]:
    """Dimensions above, each over a rule, and metrics below, with their directions where arrows are wanted."""
    titles, rules, first = [""], "", 2
    for name, group in groupby(columns, lambda column: column.group):
        width = len(list(group))
        titles.append(rf"\multicolumn{{{width}}}{{c}}{{{HEADINGS.get(name, name.capitalize())}}}")
        rules += rf"\cmidrule(lr){{{first}-{first + width - 1}}}"
        first += width
    metrics = [escaped(f"{column.title} {column.arrow}" if arrows else column.title) for column in columns]
    return [_line(titles), rules, _line(["Method", *metrics]), r"\midrule"]


def _body(table: Table, columns: Sequence[Column], intervals: bool) -> list[str]:
    groups = families_of(table.rows) if isinstance(table, PaperTable) else [("", list(table.rows))]
    lines: list[str] = []
    for title, rows in groups:
        lines += [r"\midrule"] if lines else []
        lines += (
            [rf"\multicolumn{{{len(columns) + 1}}}{{@{{}}l}}{{\footnotesize {escaped(title)}}} \\"] if title else []
        )
        for row in rows:
            lines += _row(row, columns, intervals, r"\quad " if title else "")
    return lines


def _row(row: Row, columns: Sequence[Column], intervals: bool, indent: str) -> list[str]:
    label = escaped(row.label)
    doubtful = not row.run.complete or row.run.cases.failed
    label = rf"\textit{{{label}}}" if row.is_floor else label
    label += rf" {{\footnotesize ({escaped(row.status)})}}" if doubtful else ""
    lines = [_line([f"{indent}{label}", *(_cell(row, column) for column in columns)])]
    if intervals:
        below = [rf"{{\scriptsize {bounds}}}" if (bounds := _bounds(row, column)) else "" for column in columns]
        lines.append(_line(["", *below]))
    return lines


def _cell(row: Row, column: Column) -> str:
    estimate = row.estimate(column)
    if estimate is None or estimate.mean is None:
        return MISSING
    mean = escaped(column.text(estimate.mean))
    if row.is_floor:
        return rf"\textit{{{mean}}}"
    return rf"\textbf{{{mean}}}" if column.measure in row.best else mean


def _bounds(row: Row, column: Column) -> str:
    estimate = row.estimate(column)
    return "" if estimate is None else escaped(column.bounds(estimate))


def _signature(line: str) -> str:
    return "".join(
        escaped(part) + (r"\allowbreak{}" if part in ("|", ",") else "") for part in re.split("([|,])", line)
    )


def _line(cells: Sequence[str]) -> str:
    return f"{' & '.join(cells)} \\\\"
