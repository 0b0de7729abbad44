"""Plain lines on the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


def print_line(console: Console, text: str) -> None:
    """Prints a line as it is: names in it are no markup and no emoji codes, and paths and commands stay unbroken."""
    console.print(text, markup=False, highlight=False, emoji=False, soft_wrap=True)
