"""Names in printed lines stay what they are."""

import io

import pytest
from rich.console import Console

from vseg_nas.console.lines import print_line


@pytest.mark.parametrize("terminal", [True, False])
def test_a_line_is_printed_as_it_is(terminal: bool) -> None:
    """Rich would turn the code into a picture, take brackets for a style, colour numbers and wrap at the width."""
    file = io.StringIO()
    line = f"written: runs/:car:/[bold]/12/{'x' * 200}.json"
    print_line(Console(file=file, force_terminal=terminal, width=40), line)
    assert file.getvalue() == f"{line}\n"
