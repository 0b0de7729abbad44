"""Files of trained video networks: weights and everything else that is needed to use them; nothing is executed.

Two kinds of file hold the same: ``.safetensors``, which is small and final, and the Lightning checkpoint ``.ckpt`` of a
training.

What identifies a network, from the narrowest to the widest (`EvaluationRow` stores all of them):

====================  ==================================================  ==========================================
identifier            made of                                             equal for
====================  ==================================================  ==========================================
name of a row         the folder of the run                               one training
method, trained_with  cell, past, flow and recipe                         trainings that differ in their seed alone
group                 name of the spec, past and flow                     what has one name in tables
recipe                data set, stages, precision, static weights         all but cell, past, flow and seed
name of the spec      what ``cell=`` says, or how static was trained on   trainings of one cell
====================  ==================================================  ==========================================
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from reprlib import repr as brief
from typing import Any, Self

from torch import Tensor, nn

from vseg_nas.errors import DataError
from vseg_nas.models.arch2 import DEC_CHANNELS
from vseg_nas.models.bundled import bundled_checkpoint
from vseg_nas.models.cell import DynamicCell
from vseg_nas.models.propagation import PASTS, CellPropagation, EachFrame
from vseg_nas.models.settings import LONGEST_SIDE, MAX_NAME, Past
from vseg_nas.models.static import StaticSegmenter
from vseg_nas.models.video_segmenter import VideoSegmenter
from vseg_nas.models.weights import load_weights, read_pickled, read_safetensors, write_safetensors
from vseg_nas.normalisation import check_normalisation
from vseg_nas.runs.digests import verify_checksum
from vseg_nas.space import Genotype, strict_json

_FORMAT = "vseg_nas.video/1"
_MAX_CLASSES = 254  # ids are stored as uint8, of which 255 means ignored
SPEC = "spec"
"""The key of the metadata, or the hyperparameter of a Lightning checkpoint, that holds `SegmenterSpec` as JSON."""
PREFIX = "segmenter."
"""The prefix of the names of the network's weights in a Lightning checkpoint."""


@dataclass(frozen=True)
class SegmenterSpec:
    """What is needed besides the weights to build and use a video network.

    Attributes:
        name: The name of the cell, or of the training of a static network, for people.
        seed: The seed of the training.
        recipe: An identifier that is equal for trainings that differ in cell, past, flow and seed only.
        classes: The names of the K classes, in the order of their ids.
        palette: The RGB colour of each class.
        genotype: The genotype of the cell; None if the static network predicts every frame.
        past: The frame that the cell reads as the previous one; None without a cell.
        flow: Whether the past is warped along optical flow first.
        mean: Mean of each RGB channel in 0..1, which is subtracted from frames.
        std: Standard deviation of each RGB channel, by which frames are divided afterwards.
        size: Height and width in pixels of the frames that it was trained for; None means those of the data set.

    Raises:
        ValueError: On construction, if a value cannot be used; the message says what was found and expected.
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
        """Checks all values, since the file may be from an untrusted source."""
        if not _is_name(self.name):
            raise ValueError(f"name: expected 1 to {MAX_NAME} printable characters")
        if not _is_name(self.recipe):
            raise ValueError(f"recipe: expected 1 to {MAX_NAME} printable characters")
        if type(self.seed) is not int or not 0 <= self.seed < 2**63:
            raise ValueError(f"seed: found {brief(self.seed)}, expected an integer of at least 0 and 63 bits")
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
        if len(sides) != 2 or not all(type(v) is int and 0 < v <= LONGEST_SIDE for v in sides):
            raise ValueError(f"size: expected height and width, each at most {LONGEST_SIDE}, or null")

    @property
    def group(self) -> str:
        """The name of the network in tables: its cell, and what is special about its training."""
        if self.past is None:
            return f"static, {self.name}"
        past = {"previous": "", "current": ", current frame for the previous", "zero": ", zeros for the previous frame"}
        return self.name + past[self.past] + (", warped by flow" if self.flow else "")

    @property
    def expression(self) -> str:
        """The cell in one line, see `Genotype.expression`; empty without a cell."""
        return self.genotype.expression() if self.genotype else ""

    @property
    def method(self) -> tuple[str, Past | None, bool, str]:
        """An identifier that is equal for trainings that differ in their seed only."""
        return self.genotype.key if self.genotype else "static", self.past, self.flow, self.recipe

    def build(self) -> VideoSegmenter:
        """Builds the network with initial weights."""
        static = StaticSegmenter(self.classes, auxiliary=False)
        if self.genotype is None or self.past is None:
            return VideoSegmenter(static, EachFrame(), key_every=1)
        classifier = nn.Conv2d(DEC_CHANNELS, len(self.classes), 3, padding=1)
        return VideoSegmenter(static, CellPropagation(DynamicCell(self.genotype), classifier, self.past, self.flow))

    def to_dict(self) -> dict[str, Any]:
        """Returns plain data, for JSON and for hyperparameters."""
        plain = json.loads(json.dumps(asdict(self) | {"genotype": self.genotype and self.genotype.to_dict()}))
        return {"format": _FORMAT, **plain}

    @classmethod
    def from_dict(cls, data: object) -> Self:
        """Returns the spec that `to_dict` made ``data`` from.

        Raises:
            ValueError: The data have another schema, or values that cannot be used.
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
    return isinstance(text, str) and 0 < len(text) <= MAX_NAME and text.isprintable()


def save_segmenter(segmenter: VideoSegmenter, spec: SegmenterSpec, path: Path) -> None:
    """Writes weights and spec as .safetensors, atomically."""
    write_safetensors(segmenter.state_dict(), {SPEC: json.dumps(spec.to_dict())}, path)


def load_segmenter(path: Path) -> tuple[VideoSegmenter, SegmenterSpec]:
    """Reads a network and puts it in evaluation mode; nothing in the file is executed.

    Args:
        path: A ``.safetensors`` that `save_segmenter` wrote, or a ``.ckpt`` that `train` wrote.

    Raises:
        DataError: The file is missing, damaged or of another kind.
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


def load_for_inference(checkpoint: str | None) -> tuple[VideoSegmenter, SegmenterSpec]:
    """Reads a network to label video with, or to export.

    Args:
        checkpoint: A file that `train` wrote; None means the bundled checkpoint.

    Raises:
        DataError: The file cannot be used.
    """
    return load_segmenter(bundled_checkpoint() if checkpoint is None else Path(checkpoint))


def _read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Returns weights and hyperparameters of a Lightning checkpoint, in the form of `read_safetensors`."""
    verify_checksum(path)
    match read_pickled(path):
        case {"state_dict": dict(state), "hyper_parameters": {"spec": str(spec)}}:
            own = {n.removeprefix(PREFIX): v for n, v in state.items() if isinstance(n, str) and n.startswith(PREFIX)}
            return own, {SPEC: spec}
    raise DataError(f"{path}: expected a Lightning checkpoint of `train`")
