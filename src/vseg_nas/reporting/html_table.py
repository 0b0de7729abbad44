"""A table as HTML; all text in it is escaped."""

from collections.abc import Sequence
from html import escape

from vseg_nas.reporting.table_formats import Cell, Code, Column, Table
from vseg_nas.results.numbers import MISSING, Number

UNBROKEN = 24  # characters of a cell that stay on one line


def html_table(table: Table) -> str:
    """The table and its notes, without its title; numbers stand below each other and are aligned to the right."""
    head = "".join(_heading(column) for column in table.columns)
    widest = _widest_spreads(table)
    bodies = "".join(f"<tbody>{''.join(_row(table, row, widest) for row in body)}</tbody>" for body in table.bodies)
    notes = "".join(f"<li>{escape(note)}</li>" for note in table.notes)
    below = f'<ul class="notes">{notes}</ul>' if notes else ""
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead>{bodies}</table></div>{below}'


def _heading(column: Column) -> str:
    return f"<th>{escape(column.title)}</th>" if column.left else f'<th class="number">{escape(column.title)}</th>'


def _widest_spreads(table: Table) -> list[str]:
    """The widest ± of each column; empty where there is none, or where quartiles have a line of their own."""
    columns = [[row[i] for row in table.rows] for i in range(len(table.columns))]
    numbers = [[cell for cell in column if isinstance(cell, Number)] for column in columns]
    spreads = [[] if any(n.quartiles for n in column) else [n.spread for n in column] for column in numbers]
    return [max(column, key=len, default="") for column in spreads]


def _row(table: Table, row: Sequence[Cell], widest: Sequence[str]) -> str:
    cells = zip(table.columns, row, widest, strict=True)
    return f"<tr>{''.join(_cell(column, cell, spread) for column, cell, spread in cells)}</tr>"


def _cell(column: Column, cell: Cell, widest: str) -> str:
    text = MISSING if cell is None else str(cell)
    if column.left:
        shown = f"<code>{escape(text)}</code>" if isinstance(cell, Code) else escape(text)
        return f'<td class="{"short" if len(text) <= UNBROKEN else "long"}">{shown}</td>'
    if isinstance(cell, Number) and cell.spread:
        kind = "quartiles" if cell.quartiles else "spread"
        return f'<td class="number">{cell.rounded}<span class="{kind}"> {escape(cell.spread)}</span></td>'
    value = cell.rounded if isinstance(cell, Number) else escape(text)
    room = f'<span class="room" aria-hidden="true"> {escape(widest)}</span>' if widest else ""
    return f'<td class="number">{value}{room}</td>'
