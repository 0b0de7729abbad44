"""The cell of a measured network, in the form of all rows of results."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import PlainSerializer, PlainValidator, ValidationInfo, field_validator

from vseg_nas.results.result import Flag, Record, Text
from vseg_nas.space import Genotype
from vseg_nas.validators import refused, unexpected


def _genotype(value: object) -> Genotype:
    return value if isinstance(value, Genotype) else Genotype.from_dict(value)


StoredGenotype = Annotated[Genotype, PlainValidator(_genotype), PlainSerializer(Genotype.to_dict)]
"""A genotype; a file holds its `Genotype.to_dict`."""


@dataclass(frozen=True)
class UsedCell:
    """A cell and its inputs, on which the time of a network depends.

    Attributes:
        genotype: The cell.
        past: The frame that the cell reads as the previous one.
        flow: Whether the previous frame is warped along optical flow.
    """

    genotype: Genotype
    past: str
    flow: bool

    @property
    def key(self) -> tuple[str, str, bool]:
        """A key that is equal for networks that differ only in weights, names and spelling of the genotype."""
        return self.genotype.key, self.past, self.flow


class CellRecord(Record):
    """The fields of a row that describe the cell of the network; all are empty for a network without a cell.

    Attributes:
        genotype: The cell.
        expression: The cell in one line, for people.
        past: The frame that the cell reads as the previous one.
        flow: Whether the previous frame is warped along optical flow.
    """

    genotype: StoredGenotype | None
    expression: Text
    past: Text | None
    flow: Flag | None

    @field_validator("expression")
    @classmethod
    def _is_that_of_the_genotype(cls, expression: str, info: ValidationInfo) -> str:
        genotype = info.data.get("genotype")
        if genotype is None and expression:
            raise refused("found a text, expected none as the genotype is null")
        if genotype is not None and expression != genotype.expression():
            raise refused("found another cell than the genotype, expected the same")
        return expression

    @field_validator("past", "flow")
    @classmethod
    def _goes_with_a_genotype(cls, value: str | bool | None, info: ValidationInfo) -> str | bool | None:
        has_cell = info.data.get("genotype") is not None
        if not has_cell and value is not None:
            raise refused("found a value, expected null as for the genotype")
        if has_cell and value is None:
            raise unexpected("a string" if info.field_name == "past" else "true or false")
        return value

    @property
    def cell(self) -> UsedCell | None:
        """The cell; None for a network without one."""
        if self.genotype is None or self.past is None or self.flow is None:
            return None
        return UsedCell(self.genotype, self.past, self.flow)
