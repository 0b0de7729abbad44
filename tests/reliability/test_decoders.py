"""Damaged frames and masks: refused when they are read, or noticed by the manifest; never another error."""

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.fixtures import Figure
from tests.reliability.damage import damaged
from vseg_nas.data.camvid import camvid_layout
from vseg_nas.data.image_files import decode_frame, decode_mask
from vseg_nas.data.inspection import inspect
from vseg_nas.data.manifest import Manifest
from vseg_nas.errors import DataError

WIDTH, HEIGHT = 64, 48


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A frame as PNG, one as JPEG, and their masks, with content that compresses as real ones do."""
    rng = np.random.default_rng(0)
    (tmp_path / "train").mkdir()
    (tmp_path / "trainannot").mkdir()
    for name in ("0001TP_000030.png", "0001TP_000060.jpg"):
        small = Image.fromarray(rng.integers(0, 256, (6, 8, 3)).astype(np.uint8))
        small.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC).save(tmp_path / "train" / name)
        mask = Image.fromarray(np.kron(rng.integers(0, 12, (6, 8)), np.ones((8, 8))).astype(np.uint8))
        mask.save(tmp_path / "trainannot" / f"{name[:-4]}.png")
    (tmp_path / "train.txt").write_text("0001TP_000030.png\n0001TP_000060.jpg\n")
    return tmp_path


@pytest.mark.parametrize("times", [200, pytest.param(1000, marks=pytest.mark.slow)])
def test_no_damage_goes_unnoticed(root: Path, times: int, figure: Figure) -> None:
    layout = camvid_layout(root, "train", 1, 1)
    reports = list(inspect(layout, threads=1))
    assert [report.problem for report in reports] == [None] * 4
    manifest = Manifest.of(root, {report.path: report.sha256 for report in reports})
    rng, size, silent = random.Random(0), (WIDTH, HEIGHT), 0
    decoders: list[tuple[Path, Callable[[Path, bytes], object]]] = [
        *((path, lambda path, data: decode_frame(path, data, size)) for path in layout.frames),
        *((path, lambda path, data: decode_mask(path, data, size, layout.labels)) for path in layout.masks),
    ]
    for _ in range(times):
        path, decode = rng.choice(decoders)
        whole = path.read_bytes()
        changed = damaged(whole, rng)
        if changed == whole:
            continue
        try:
            decode(path, changed)
            silent += 1
        except DataError:
            pass
        path.write_bytes(changed)
        with pytest.raises(DataError, match="changed since"):
            manifest.verify(root, [path])
        path.write_bytes(whole)
    assert 0 < silent < times / 2  # of JPEG files mostly, which is what the manifest is for
    figure("G8", f"{times} damaged frames and masks: {silent} that decoders accept, 0 that the manifest does")
