"""Tiny data sets in the exact folder layouts of the real ones, and a source of clips made of nothing."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vseg_nas.data import RawClip

WIDTH, HEIGHT = 8, 6


def save_frame(path: Path, seed: int = 0, size: tuple[int, int] = (HEIGHT, WIDTH)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size, 3)).astype(np.uint8)).save(path)


def save_mask(path: Path, values: Sequence[int] = (0,), size: tuple[int, int] = (HEIGHT, WIDTH)) -> None:
    """A mask whose first pixels hold the values, in order, and the rest the last of them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = np.full(size, values[-1], np.uint8)
    mask.ravel()[: len(values)] = values
    Image.fromarray(mask).save(path)


CAMVID_SEQUENCES: dict[str, list[tuple[str, Sequence[int]]]] = {  # split: name pattern, frame numbers of each sequence
    "train": [
        ("0001TP_{:06}", [*range(6690, 7000, 30), 7021, *range(7050, 8521, 30)]),  # steps of 31, then 29
        ("0006R0_f{:05}", range(930, 3931, 30)),
        ("0016E5_{:05}", range(390, 2401, 30)),
        ("0016E5_{:05}", range(4350, 7921, 30)),
        ("0016E5_{:05}", range(8190, 8641, 30)),
    ],
    "val": [("0016E5_{:05}", range(7959, 8160, 2))],
    "test": [("0001TP_{:06}", range(8550, 10381, 30)), ("Seq05VD_f{:05}", range(0, 5101, 30))],
}


@pytest.fixture(scope="session")
def camvid_names() -> dict[str, list[str]]:
    return {
        split: [pattern.format(number) for pattern, numbers in sequences for number in numbers]
        for split, sequences in CAMVID_SEQUENCES.items()
    }


@pytest.fixture(scope="session")
def tiny_camvid(tmp_path_factory: pytest.TempPathFactory, camvid_names: dict[str, list[str]]) -> Path:
    """All names of CamVid, over frames of 8x6 pixels; not to be written to."""
    root = tmp_path_factory.mktemp("camvid")
    for split, names in camvid_names.items():
        (root / f"{split}.txt").write_text("".join(f"{name}.png\n" for name in names))
        save_frame(root / split / f"{names[0]}.png")
        save_mask(root / f"{split}annot" / f"{names[0]}.png", [*range(12), 255])
        for name in names[1:]:
            os.link(root / split / f"{names[0]}.png", root / split / f"{name}.png")
            os.link(root / f"{split}annot" / f"{names[0]}.png", root / f"{split}annot" / f"{name}.png")
    return root


@pytest.fixture
def camvid_folder(tmp_path: Path) -> Callable[..., Path]:
    """Writes a train split of a few frames, to be damaged at will."""

    def build(names: Sequence[str] = ("0001TP_000030", "0001TP_000060", "0001TP_000090")) -> Path:
        for seed, name in enumerate(names):
            save_frame(tmp_path / "train" / f"{name}.png", seed)
            save_mask(tmp_path / "trainannot" / f"{name}.png", range(12))
        (tmp_path / "train.txt").write_text("".join(f"{name}.png\n" for name in names))
        return tmp_path

    return build


class MadeUp:
    """A `ClipSource`: sequences of so many frames, cut into overlapping clips of equal content."""

    classes = ("one", "two")
    palette = ((0, 0, 0), (255, 255, 255))

    def __init__(self, frames_per_drive: Sequence[int], length: int = 3, size: tuple[int, int] = (12, 16)) -> None:
        places = [
            (f"run{run}", tuple(range(start, start + length)))
            for run, frames in enumerate(frames_per_drive)
            for start in range(frames - length + 1)
        ]
        self.length = length
        self.sequences = tuple(run for run, _ in places)
        self.frame_ids = tuple(frames for _, frames in places)
        self.frame_seconds = None
        self.reads = 0
        rng = np.random.default_rng(0)
        self._frame = rng.integers(0, 256, (*size, 3)).astype(np.uint8)
        self._mask = rng.integers(0, 2, size).astype(np.uint8)

    def __len__(self) -> int:
        return len(self.sequences)

    def __getitem__(self, index: int) -> RawClip:
        self.reads += 1
        names = tuple(f"{self.sequences[index]}_{frame}" for frame in self.frame_ids[index])
        return RawClip((self._frame,) * self.length, (self._mask,) * self.length, names)

    def fingerprint(self) -> str:
        return "made up"


@pytest.fixture
def made_up() -> type[MadeUp]:
    return MadeUp
