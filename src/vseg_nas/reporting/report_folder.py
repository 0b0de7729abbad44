"""Writes the files of a report."""

from collections.abc import Callable, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from vseg_nas.figures.style import save_png_and_svg
from vseg_nas.reporting.page import TableBlock, slug
from vseg_nas.reporting.table_formats import Table, write_table
from vseg_nas.runs.files import write_bytes


class ReportFolder:
    """Writes files under unique names and remembers them.

    Args:
        path: The folder; it is made with the first file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.written: list[Path] = []
        self._taken: set[str] = set()

    def save(self, name: str, write: Callable[[Path], list[Path]]) -> tuple[Path, ...]:
        """Calls `write` with a path without a suffix.

        Returns:
            The files written.
        """
        wanted = slug(name)
        number, stem = 1, wanted
        while stem in self._taken:
            number += 1
            stem = f"{wanted}-{number}"
        self._taken.add(stem)
        files = write(self.path / stem)
        self.written += files
        return tuple(files)

    def table(self, name: str, table: Table, commands: Sequence[str]) -> TableBlock:
        """Writes a table in all its formats."""
        return TableBlock(table, self.save(name, lambda stem: write_table(table, stem)), tuple(commands))

    def figure(self, name: str, figure: Figure) -> tuple[Path, ...]:
        """Writes a figure as PNG and as SVG."""
        return self.save(name, lambda stem: save_png_and_svg(figure, stem))

    def copy(self, name: str, suffix: str, content: bytes) -> tuple[Path, ...]:
        """Writes content unchanged."""

        def write(stem: Path) -> list[Path]:
            path = stem.with_name(stem.name + suffix)
            write_bytes(path, content)
            return [path]

        return self.save(name, write)
