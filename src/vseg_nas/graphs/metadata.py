"""The metadata of an exported graph; read without torch.

Legend: K classes.
"""

import json
from dataclasses import dataclass
from reprlib import repr as brief
from typing import Any, Self

from vseg_nas.labels import IGNORE
from vseg_nas.models.settings import LONGEST_SIDE
from vseg_nas.normalisation import check_normalisation
from vseg_nas.space import strict_json

FORMAT = "vseg_nas.graphs/2"  # format 1 stretched planes, so labels drifted on frames whose sides 32 does not divide
KEY = "vseg_nas"
"""The key of the metadata in an ONNX file, and the name of the extra file in a .pt2."""
_LONGEST = 200  # characters of a name


@dataclass(frozen=True)
class GraphMetadata:
    """What a program needs besides the graph to use it.

    Attributes:
        name: The name of the cell, for people.
        expression: The cell in one line, see `Genotype.expression`.
        classes: The names of the K classes, in the order of their ids.
        palette: The RGB colour of each class.
        mean: Mean of each RGB channel in 0..1, which is subtracted from frames.
        std: Standard deviation of each RGB channel, by which frames are divided afterwards.
        size: Height and width in pixels of the frames that it was trained for; None means those of the data set.
        output: The kind of tensor that the graph returns, ``logits`` or ``labels``.

    Raises:
        ValueError: On construction, if a value cannot be used.
    """

    name: str
    expression: str
    classes: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    size: tuple[int, int] | None
    output: str

    def __post_init__(self) -> None:
        """Checks all values, since the file may be from an untrusted source."""
        if not self.classes or len(self.classes) != len(self.palette):
            raise ValueError(f"found {len(self.classes)} classes and {len(self.palette)} colours")
        if not all(type(v) is int and 0 <= v < 256 for colour in self.palette for v in colour):
            raise ValueError("palette: expected numbers in 0..255")
        if not all(len(colour) == 3 for colour in self.palette):
            raise ValueError("palette: expected three numbers for each class")
        if len(self.classes) > IGNORE or not all(map(_is_name, (self.name, *self.classes))):
            raise ValueError(
                f"name, classes: expected at most {IGNORE} printable names of at most {_LONGEST} characters"
            )
        check_normalisation(self.mean, self.std)
        if self.size is not None and not all(0 < side <= LONGEST_SIDE for side in self.size):
            raise ValueError(f"size: found {list(self.size)}, expected at most {LONGEST_SIDE} each")
        if self.output not in ("logits", "labels"):
            raise ValueError(f"output: found {brief(self.output)}")

    def to_json(self) -> str:
        """Returns the metadata as they are stored in the file."""
        return json.dumps({"format": FORMAT, **self.__dict__})

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Returns the metadata that `to_json` wrote.

        Raises:
            ValueError: The text has another format, or holds values that cannot be used.
        """
        data: Any = strict_json.loads(text)
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise ValueError(f"found no metadata of format {FORMAT}; graphs of an earlier one must be exported again")
        try:
            return cls(
                name=str(data["name"]),
                expression=str(data["expression"]),
                classes=tuple(map(str, data["classes"])),
                palette=tuple(tuple(colour) for colour in data["palette"]),
                mean=tuple(map(float, data["mean"])),  # type: ignore[arg-type]
                std=tuple(map(float, data["std"])),  # type: ignore[arg-type]
                size=None if data["size"] is None else (int(data["size"][0]), int(data["size"][1])),
                output=data["output"],
            )
        except (KeyError, TypeError, IndexError, OverflowError) as error:
            raise ValueError(f"{type(error).__name__}: {error}") from error


def _is_name(text: str) -> bool:
    return 0 < len(text) <= _LONGEST and text.isprintable()
