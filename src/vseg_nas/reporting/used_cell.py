"""Which cell a measured network has, read from a row of a result file."""

from dataclasses import dataclass

from vseg_nas.reporting.json_object import JsonObject
from vseg_nas.space import Genotype


@dataclass(frozen=True)
class UsedCell:
    """A cell and what it is given: all that decides how long a network with it takes.

    Attributes:
        genotype: the cell.
        past: what stands for the previous frame.
        flow: whether that is warped along optical flow.
    """

    genotype: Genotype
    past: str
    flow: bool

    @property
    def key(self) -> tuple[str, str, bool]:
        """Equal for the same network up to weights, however the genotype is spelled and named."""
        return self.genotype.key, self.past, self.flow


def read_cell(row: JsonObject) -> UsedCell | None:
    """Reads the keys ``genotype``, ``past``, ``flow`` and ``expression``; None where the row has no cell.

    Raises:
        DataError: one of them is wrong, or they do not belong together.
    """
    if row.is_null("genotype"):
        for key in ("past", "flow"):
            if not row.is_null(key):
                row.fail(key, "found a value, expected null as for the genotype")
        if row.text("expression"):
            row.fail("expression", "found a text, expected none as the genotype is null")
        return None
    try:
        genotype = Genotype.from_dict(row.plain("genotype"))
    except ValueError as error:
        row.fail("genotype", str(error))
    if row.text("expression") != genotype.expression():
        row.fail("expression", "found another cell than the genotype, expected the same")
    return UsedCell(genotype, row.text("past"), row.boolean("flow"))
