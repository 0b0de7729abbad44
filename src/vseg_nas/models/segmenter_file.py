"""Files of trained video networks: weights and everything needed to use them, read as data alone.

Two kinds hold the same: ``.safetensors``, small and final, and the Lightning checkpoint ``.ckpt`` of a training.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from torch import Tensor, nn

from vseg_nas.errors import DataError
from vseg_nas.models.arch2 import DEC_CHANNELS
from vseg_nas.models.cell import DynamicCell
from vseg_nas.models.propagation import PASTS, CellPropagation, EachFrame, Past
from vseg_nas.models.static import StaticSegmenter
from vseg_nas.models.video import VideoSegmenter
from vseg_nas.models.weights import load_weights, read_pickled, read_safetensors, verify_checksum, write_safetensors
from vseg_nas.normalisation import check_normalisation
from vseg_nas.space import Genotype, strict_json

_FORMAT = "vseg_nas.video/1"
_MAX_NAME = 100
_LONGEST_SIDE = 2**14  # of a frame, in pixels
_MAX_CLASSES = 254  # ids are stored as uint8, 255 is ignored
SPEC = "spec"
"""Name of the metadata, or hyperparameter of a Lightning checkpoint, that holds `SegmenterSpec.to_dict` as JSON."""
PREFIX = "segmenter."
"""Where the network lies in the LightningModule."""


@dataclass(frozen=True)
class SegmenterSpec:
    """What, besides weights, makes a video network of a file usable.

    Attributes:
        name: of the cell, or of the training of a static network, for people.
        seed: of the training.
        recipe: equal for trainings that differ in cell, past, flow and seed alone.
        classes: names, in the order of their ids.
        palette: RGB of each class.
        genotype: of the cell; None: there is none, and the static network labels every frame.
        past: what the cell reads as the previous frame; None without a cell.
        flow: whether that is warped along optical flow first.
        mean: of the RGB values in 0..1, taken off each frame.
        std: that frames are divided by then.
        size: height and width of the frames it was trained for; None: those of the data set.

    Raises:
        ValueError: on construction, with what was found and what was expected.
    """

    name: str
    seed: int
    recipe: str
    classes: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    genotype: Genotype | None
    past: Past | None
    flow: bool
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        """Refuses what cannot be used: a spec may come from anybody's file."""
        if not _is_name(self.name):
            raise ValueError(f"name: expected 1 to {_MAX_NAME} printable characters")
        if not _is_name(self.recipe):
            raise ValueError(f"recipe: expected 1 to {_MAX_NAME} printable characters")
        if type(self.seed) is not int:
            raise ValueError(f"seed: found {type(self.seed).__name__}, expected an integer")
        if not 2 <= len(self.classes) <= _MAX_CLASSES or not all(map(_is_name, self.classes)):
            raise ValueError(f"classes: found {len(self.classes)}, expected 2 to {_MAX_CLASSES} printable names")
        colours = [value for colour in self.palette for value in colour]
        if len(colours) != 3 * len(self.classes) or not all(type(v) is int and 0 <= v < 256 for v in colours):
            raise ValueError("palette: expected three numbers in 0..255 for each class")
        if self.genotype is not None and self.past not in PASTS:
            raise ValueError(f"past: found {str(self.past)[:20]!r}, expected one of {', '.join(PASTS)}")
        if type(self.flow) is not bool:
            raise ValueError(f"flow: found {type(self.flow).__name__}, expected true or false")
        if self.genotype is None and (self.past is not None or self.flow):
            raise ValueError("past, flow: found values, expected null and false as the genotype is null")
        check_normalisation(self.mean, self.std)
        sides = self.size or (1, 1)
        if len(sides) != 2 or not all(type(v) is int and 0 < v <= _LONGEST_SIDE for v in sides):
            raise ValueError(f"size: expected height and width, each at most {_LONGEST_SIDE}, or null")

    @property
    def group(self) -> str:
        """Its name in tables: of the cell, and what is special about the training."""
        if self.past is None:
            return f"static, {self.name}"
        past = {"previous": "", "current": ", current frame for the previous", "zero": ", zeros for the previous frame"}
        return self.name + past[self.past] + (", warped by flow" if self.flow else "")

    @property
    def expression(self) -> str:
        """The cell, for people; empty without one."""
        return self.genotype.expression() if self.genotype else ""

    @property
    def method(self) -> tuple[str, Past | None, bool, str]:
        """Equal for trainings that differ in their seed alone."""
        return self.genotype.key if self.genotype else "static", self.past, self.flow, self.recipe

    def build(self) -> VideoSegmenter:
        """The network with initial weights."""
        static = StaticSegmenter(self.classes, auxiliary=False)
        if self.genotype is None or self.past is None:
            return VideoSegmenter(static, EachFrame(), key_every=1)
        classifier = nn.Conv2d(DEC_CHANNELS, len(self.classes), 3, padding=1)
        return VideoSegmenter(static, CellPropagation(DynamicCell(self.genotype), classifier, self.past, self.flow))

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON and for hyperparameters."""
        plain = json.loads(json.dumps(asdict(self) | {"genotype": self.genotype and self.genotype.to_dict()}))
        return {"format": _FORMAT, **plain}

    @classmethod
    def from_dict(cls, data: object) -> Self:
        """Inverse of `to_dict`.

        Raises:
            ValueError: another schema, or values that cannot be used.
        """
        names = {"format", *cls.__dataclass_fields__}
        if not isinstance(data, dict) or set(data) != names:
            raise ValueError(f"expected an object with the keys {', '.join(sorted(names))}")
        if data["format"] != _FORMAT:
            raise ValueError(f"format: found {str(data['format'])[:40]!r}, expected {_FORMAT!r}")
        for name in ("classes", "palette", "mean", "std"):
            if not isinstance(data[name], list):
                raise ValueError(f"{name}: found {type(data[name]).__name__}, expected a list")
        if not isinstance(data["size"], list | None):
            raise ValueError(f"size: found {type(data['size']).__name__}, expected a list or null")
        if not all(isinstance(colour, list) for colour in data["palette"]):
            raise ValueError("palette: expected lists of three numbers")
        return cls(
            name=data["name"],
            seed=data["seed"],
            recipe=data["recipe"],
            classes=tuple(data["classes"]),
            palette=tuple(tuple(colour) for colour in data["palette"]),
            genotype=None if data["genotype"] is None else Genotype.from_dict(data["genotype"]),
            past=data["past"],
            flow=data["flow"],
            mean=tuple(data["mean"]),
            std=tuple(data["std"]),
            size=None if data["size"] is None else tuple(data["size"]),
        )


def _is_name(text: object) -> bool:
    return isinstance(text, str) and 0 < len(text) <= _MAX_NAME and text.isprintable()


def save_segmenter(segmenter: VideoSegmenter, spec: SegmenterSpec, path: Path) -> None:
    """Writes weights and spec as safetensors; replaces in one step."""
    write_safetensors(segmenter.state_dict(), {SPEC: json.dumps(spec.to_dict())}, path)


def load_segmenter(path: Path) -> tuple[VideoSegmenter, SegmenterSpec]:
    """Reads a network, ready for evaluation; nothing in the file is executed.

    Args:
        path: a ``.safetensors`` of `save_segmenter`, or a ``.ckpt`` of `train`.

    Raises:
        DataError: the file is missing, damaged or of another kind.
    """
    if not path.is_file():
        raise DataError(f"{path}: not found, expected a checkpoint that `train` wrote (.safetensors or .ckpt)")
    state, plain = _read_checkpoint(path) if path.suffix == ".ckpt" else read_safetensors(path)
    try:
        spec = SegmenterSpec.from_dict(strict_json.loads(plain.get(SPEC, "null")))
    except ValueError as error:
        raise DataError(f"{path}: not a video network of `train` ({error})") from error
    segmenter = spec.build()
    load_weights(segmenter, state, path, "the cell and classes it names")
    return segmenter.eval(), spec


def _read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Weights and hyperparameters of a Lightning checkpoint, as `read_safetensors` gives them."""
    verify_checksum(path)
    match read_pickled(path):
        case {"state_dict": dict(state), "hyper_parameters": {"spec": str(spec)}}:
            own = {n.removeprefix(PREFIX): v for n, v in state.items() if isinstance(n, str) and n.startswith(PREFIX)}
            return own, {SPEC: spec}
    raise DataError(f"{path}: expected a Lightning checkpoint of `train`")
