import csv
import io
import re
from pathlib import Path

import pytest

from vseg_nas.reporting.table_formats import (
    Code,
    Column,
    Table,
    comma_separated,
    latex,
    latex_text,
    markdown,
    write_table,
)
from vseg_nas.results.numbers import Number

COLUMNS = (Column("method", left=True), Column("mIoU, %"), Column("ms"))
TABLE = Table(
    "A table",
    COLUMNS,
    (
        (("paper", Number(65.3, 1), None),),
        (("ours", Number(66.6666, 1, std=0.25), Number(51.54, 1, quartiles=(50.0, 53.26))),),
    ),
    ("A note.",),
)


def test_markdown_by_hand() -> None:
    assert markdown(TABLE) == (
        "**A table**\n"
        "\n"
        "| method | mIoU, % | ms |\n"
        "| --- | ---: | ---: |\n"
        "| paper | 65.3 | - |\n"
        "| ours | 66.7 ± 0.2 | 51.5 (50.0\N{EN DASH}53.3) |\n"
        "\n"
        "- A note.\n"
    )


def test_latex_by_hand() -> None:
    assert latex(TABLE).splitlines() == [
        r"\begin{table}",
        r"  \centering",
        r"  \caption{A table}",
        r"  \begin{tabular}{lrr}",
        r"    \toprule",
        r"    method & mIoU, \% & ms \\",
        r"    \midrule",
        r"    paper & 65.3 & - \\",
        r"    \midrule",
        r"    ours & 66.7 $\pm$ 0.2 & 51.5 (50.0--53.3) \\",
        r"    \bottomrule",
        r"  \end{tabular}",
        r"  \par\smallskip{\footnotesize A note.}",
        r"\end{table}",
    ]


def test_csv_has_unrounded_numbers_and_spreads_in_columns_of_their_own() -> None:
    assert list(csv.reader(io.StringIO(comma_separated(TABLE)))) == [
        ["method", "mIoU, %", "mIoU, % std", "ms", "ms lower quartile", "ms upper quartile"],
        ["paper", "65.3", "", "", "", ""],
        ["ours", "66.6666", "0.25", "51.54", "50", "53.26"],
    ]


def test_markup_in_cells_is_text_in_every_format() -> None:
    hostile = r"a|b *c* `d` <script> [x](y) 50% & $e_1$ #f ~ ^ \g {h}"
    table = Table("", (Column("text", left=True), Column("code", left=True)), (((hostile, Code("a|b")),),))
    row = markdown(table).splitlines()[2]
    assert row.endswith(r" | `a\|b` |")
    assert re.findall(r"(?<!\\)[|*`<>\[\]&_]", row) == ["|", "|", "`", "`", "|"]  # the frame of the row, the code
    body = next(line for line in latex(table).splitlines() if line.startswith("    a"))
    assert r"\textbar{}" in body
    assert r"50\% \& \$e\_1\$ \#f \textasciitilde{} \textasciicircum{} \textbackslash{}g \{h\}" in body
    assert body.endswith(r"\texttt{a\textbar{}b} \\")
    assert next(iter(csv.DictReader(io.StringIO(comma_separated(table)))))["text"] == hostile


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x"])
def test_csv_text_is_no_formula(text: str) -> None:
    table = Table("", (Column("text", left=True), Column("number")), (((text, Number(-1.5, 1)),),))
    assert comma_separated(table).splitlines()[1] == f"'{text},-1.5"


def test_line_breaks_end_no_row() -> None:
    table = Table("", (Column("text", left=True),), ((("a\n| b |\r\nc",),),))
    assert len(markdown(table).splitlines()) == 3
    assert len(comma_separated(table).splitlines()) == 2


def test_only_wide_latex_tables_are_shrunk() -> None:
    def table(width: int) -> str:
        return latex(Table("", (Column("x"),) * width, (((Number(1, 0),) * width,),)))

    assert "resizebox" not in table(7)
    assert table(8).count("{") == table(8).count("}")
    assert r"\resizebox{\linewidth}{!}{%" in table(8)


def test_latex_text_has_no_raw_character_beyond_letters() -> None:
    assert latex_text("5\N{MULTIPLICATION SIGN}5 ± 1\N{EN DASH}2…") == r"5$\times$5 $\pm$ 1--2\ldots{}"


@pytest.mark.parametrize("text", ["[1cm]", "*a"])
def test_the_end_of_a_latex_row_takes_no_option_from_the_next(text: str) -> None:
    assert latex_text(text).startswith("{")


def test_a_row_of_another_width_is_refused() -> None:
    with pytest.raises(ValueError, match="row of 1 cells, expected 3"):
        Table("", COLUMNS, ((("alone",),),))


def test_files(tmp_path: Path) -> None:
    paths = write_table(TABLE, tmp_path / "new" / "size.1024")
    assert [path.name for path in paths] == ["size.1024.md", "size.1024.tex", "size.1024.csv"]
    assert [path.read_text(encoding="utf-8") for path in paths] == [
        markdown(TABLE),
        latex(TABLE),
        comma_separated(TABLE),
    ]
