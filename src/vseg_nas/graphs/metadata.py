"""What an exported graph says of itself; read without torch.

Legend: K classes.
"""

import json
from dataclasses import dataclass
from reprlib import repr as brief
from typing import Any, Self

from vseg_nas.labels import IGNORE
from vseg_nas.normalisation import check_normalisation
from vseg_nas.space import strict_json

FORMAT = "vseg_nas.graphs/2"  # 1 stretched planes, so labels drifted on frames whose sides 32 does not divide
KEY = "vseg_nas"
"""Of the entry in an ONNX file's metadata, and name of the extra file in a .pt2."""
_LONGEST = 200  # characters of a name
_LONGEST_SIDE = 2**14  # of a frame, in pixels


@dataclass(frozen=True)
class GraphMetadata:
    """All that using a graph needs besides the graph.

    Attributes:
        name: of the cell, for people.
        expression: of the cell.
        classes: K names, in the order of their ids.
        palette: RGB of each class.
        mean: of the RGB values in 0..1, taken off each frame.
        std: that frames are divided by then.
        size: height and width of the frames it was trained for; None: those of the data set.
        output: ``logits`` or ``labels``.

    Raises:
        ValueError: on construction, if that is not what was found.
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
        """A file may be anybody's."""
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
        if self.size is not None and not all(0 < side <= _LONGEST_SIDE for side in self.size):
            raise ValueError(f"size: found {list(self.size)}, expected at most {_LONGEST_SIDE} each")
        if self.output not in ("logits", "labels"):
            raise ValueError(f"output: found {brief(self.output)}")

    def to_json(self) -> str:
        """As it stands in the file."""
        return json.dumps({"format": FORMAT, **self.__dict__})

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Inverse of `to_json`.

        Raises:
            ValueError: it is not of this format.
        """
        data: Any = strict_json.loads(text)
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise ValueError(f"found no metadata of format {FORMAT}; graphs of an earlier one must be exported anew")
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
