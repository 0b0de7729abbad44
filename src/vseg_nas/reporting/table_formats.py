"""A table, and its rendering as Markdown, LaTeX (booktabs) and CSV.

Every cell that is a `str` is plain text: each format escapes what looks like markup in it.
"""

import csv
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from vseg_nas.results.numbers import EN_DASH, MISSING, Number
from vseg_nas.runs.files import write_text

WIDE = 7  # a LaTeX table with more columns is shrunk to the width of the line
LATEX = {
    "\\": r"\textbackslash{}",
    **{mark: f"\\{mark}" for mark in "{}$&#_%"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    **{mark: f"{{{mark}}}" for mark in "[*"},  # after the end of a row LaTeX would take them for its options
    "±": r"$\pm$",
    "\N{MULTIPLICATION SIGN}": r"$\times$",
    EN_DASH: "--",
    "…": r"\ldots{}",
}


@dataclass(frozen=True)
class Code:
    """Text in a fixed-width font."""

    text: str

    def __str__(self) -> str:
        return self.text


Cell: TypeAlias = Number | Code | str | None
"""One cell of a table; None means that there is no value."""
Row: TypeAlias = tuple[Cell, ...]


@dataclass(frozen=True)
class Column:
    """The heading of a column, and whether the column is aligned left (words) or right (numbers)."""

    title: str
    left: bool = False


@dataclass(frozen=True)
class Table:
    """A table of a report.

    Attributes:
        title: The title; may be empty.
        columns: The columns from left to right.
        bodies: Groups of rows, separated by a rule if the format has one. Every row has a cell for each column.
        notes: Sentences below the table.
    """

    title: str
    columns: tuple[Column, ...]
    bodies: tuple[tuple[Row, ...], ...]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Checks that every row has a cell for each column."""
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"table: found a row of {len(row)} cells, expected {len(self.columns)}")

    @property
    def rows(self) -> tuple[Row, ...]:
        """The rows of all bodies."""
        return tuple(row for body in self.bodies for row in body)


def markdown(table: Table) -> str:
    """Returns the table as Markdown (GitHub), with its title above and its notes below."""
    lines = [
        [_markdown_text(column.title) for column in table.columns],
        ["---" if column.left else "---:" for column in table.columns],
        *([_markdown_cell(cell) for cell in row] for row in table.rows),
    ]
    title = f"**{_markdown_text(table.title)}**\n\n" if table.title else ""
    notes = "".join(f"- {_markdown_text(note)}\n" for note in table.notes)
    return title + "".join(f"| {' | '.join(line)} |\n" for line in lines) + (f"\n{notes}" if notes else "")


def _markdown_cell(cell: Cell) -> str:
    if isinstance(cell, Code):
        fence = "``" if "`" in cell.text else "`"
        return f"{fence}{_one_line(cell.text).replace('|', chr(92) + '|')}{fence}"
    return MISSING if cell is None else _markdown_text(str(cell))


def _markdown_text(text: str) -> str:
    return re.sub(r"([\\`*_\[\]<>|&])", r"\\\1", _one_line(text))


def latex(table: Table) -> str:
    """Returns a LaTeX table environment. It needs the package booktabs, and a wide table needs graphicx."""
    bodies = [[f"    {_latex_row(map(_latex_cell, row))}" for row in body] for body in table.bodies if body]
    tabular = [
        rf"  \begin{{tabular}}{{{''.join('l' if column.left else 'r' for column in table.columns)}}}",
        r"    \toprule",
        f"    {_latex_row(latex_text(column.title) for column in table.columns)}",
        *(line for body in bodies for line in (r"    \midrule", *body)),
        r"    \bottomrule",
        r"  \end{tabular}",
    ]
    if len(table.columns) > WIDE:
        tabular = [r"  \resizebox{\linewidth}{!}{%", *tabular[:-1], f"{tabular[-1]}}}"]
    notes = [rf"  \par\smallskip{{\footnotesize {latex_text(' '.join(table.notes))}}}"] if table.notes else []
    caption = [rf"  \caption{{{latex_text(table.title)}}}"]
    return "\n".join([r"\begin{table}", r"  \centering", *caption, *tabular, *notes, r"\end{table}", ""])


def _latex_row(cells: Iterable[str]) -> str:
    return rf"{' & '.join(cells)} \\"


def _latex_cell(cell: Cell) -> str:
    if isinstance(cell, Code):
        return rf"\texttt{{{latex_text(cell.text)}}}"
    return MISSING if cell is None else latex_text(str(cell))


def latex_text(text: str) -> str:
    """Returns plain text for LaTeX, with its special characters escaped."""
    return "".join(LATEX.get(character, character) for character in _one_line(text))


def comma_separated(table: Table) -> str:
    """Returns CSV: unrounded numbers, spreads in columns of their own, empty missing cells; no title and no notes."""
    columns = [_csv_column(column.title, [row[i] for row in table.rows]) for i, column in enumerate(table.columns)]
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows(zip(*(line for column in columns for line in column), strict=True))
    return file.getvalue()


def _csv_column(title: str, cells: Sequence[Cell]) -> list[list[str]]:
    """Returns a column, and one for each kind of spread that a cell of it has; each begins with its heading."""
    numbers = [cell if isinstance(cell, Number) else None for cell in cells]
    quartiles = [number.quartiles if number else None for number in numbers]
    spreads = {
        "std": [number.std if number else None for number in numbers],
        "lower quartile": [pair[0] if pair else None for pair in quartiles],
        "upper quartile": [pair[1] if pair else None for pair in quartiles],
    }
    columns = [[title, *map(_csv_cell, cells)]]
    for name, values in spreads.items():
        if any(value is not None for value in values):
            columns.append([f"{title} {name}", *("" if value is None else f"{value:.10g}" for value in values)])
    return columns


def _csv_cell(cell: Cell) -> str:
    if isinstance(cell, Number):
        return f"{cell.value:.10g}"
    text = "" if cell is None else _one_line(str(cell))
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text  # a spreadsheet would evaluate it as a formula


def _one_line(text: str) -> str:
    return " ".join(text.split())


def write_table(table: Table, stem: Path) -> list[Path]:
    """Writes a table as ``stem.md``, ``stem.tex`` and ``stem.csv``.

    Returns:
        The files written.
    """
    paths = []
    for suffix, text in ((".md", markdown(table)), (".tex", latex(table)), (".csv", comma_separated(table))):
        paths.append(stem.with_name(stem.name + suffix))
        write_text(paths[-1], text)
    return paths
