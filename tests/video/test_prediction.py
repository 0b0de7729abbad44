"""The loop: what is labelled, tallied and written, in constant memory."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import psutil
import pytest
import torch
from PIL import Image as PillowImage

from tests.video.making import Threshold, bright_corner, grey_ramp, write_video
from vseg_nas.data import RawClip, SyntheticStreet, normalise, resized
from vseg_nas.models.segmenter_file import load_segmenter
from vseg_nas.normalisation import IMAGENET_MEAN, IMAGENET_STD
from vseg_nas.pictures import Image, Size
from vseg_nas.video.frames import Frame
from vseg_nas.video.key_frames import Adaptive, EveryK
from vseg_nas.video.overlay import VideoWriter, blend
from vseg_nas.video.prediction import WARM_UP, VideoStatistics, predict_video
from vseg_nas.video.predictor import Floats, Predictor
from vseg_nas.video.stream import VideoStream
from vseg_nas.video.torch_predictor import TorchPredictor
from vseg_nas.video.writers import frame_table, full_palette, label_maps, overlay_video


class Sequence:
    """A source over images in memory; the last is repeated up to `total`."""

    rate = Fraction(25)
    time_base = Fraction(1, 25)
    pixel_aspect = Fraction(1)
    endless = False
    skipped = 0
    first_error = ""

    def __init__(self, images: list[Image], total: int | None = None) -> None:
        self.size: tuple[int, int] = (images[0].shape[0], images[0].shape[1])
        self.total: int | None = total or len(images)
        self._images = images

    def __iter__(self) -> Iterator[Frame]:
        for index in range(self.total or 0):
            image = self._images[min(index, len(self._images) - 1)]
            yield Frame(image, index * self.time_base, f"{index:06}")

    def close(self) -> None: ...


def test_the_loop_tells_keys_and_changes() -> None:
    dark, corner = np.full((48, 64, 3), 20, np.uint8), bright_corner()
    done = list(predict_video(Sequence([dark, corner, corner, dark]), Threshold(), EveryK(3)))
    assert [one.key for one in done] == [True, False, False, True]
    assert [one.changed for one in done] == [None, 0.25, 0.0, 0.25]
    assert done[1].labels.tolist() == (corner[..., 0] > 127).astype(int).tolist()
    assert all(one.ms > 0 for one in done)


def test_the_loop_reads_confidence_for_the_policy_that_wants_it() -> None:
    predictor = Threshold(sure=[0.9, 0.5, 0.9, 0.9])
    done = list(predict_video(Sequence([bright_corner()] * 4), predictor, Adaptive(0.2, 0.1, None)))
    assert [one.key for one in done] == [True, False, True, False]


def test_it_stops_after_so_many_frames() -> None:
    assert len(list(predict_video(Sequence([bright_corner()] * 9), Threshold(), EveryK(None), most=4))) == 4


def test_times_leave_the_first_of_each_kind_out() -> None:
    statistics = VideoStatistics()
    for one in predict_video(Sequence([bright_corner()] * 20), Threshold(), EveryK(2)):
        statistics.add(one)
    assert (statistics.frames, statistics.keys) == (20, 10)
    assert (len(statistics.key_ms), len(statistics.dynamic_ms)) == (10 - WARM_UP, 10 - WARM_UP)


class _Prepares(Threshold):
    def __init__(self, size: Size | None) -> None:
        Predictor.__init__(self, ("a", "b"), ((0, 0, 0),) * 2, IMAGENET_MEAN, IMAGENET_STD, size)


@pytest.mark.parametrize("size", [None, (24, 32), (96, 128), (24, 128), (48, 64)])
def test_frames_are_prepared_as_evaluation_does_it(size: Size | None) -> None:
    """Albumentations and torch there, OpenCV and NumPy here."""
    image = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    mine: Floats = _Prepares(size).prepare(image)
    theirs = resized(size)(RawClip((image,), (image[..., 0],), ("a",))).frames.numpy()
    np.testing.assert_allclose(mine, theirs, atol=1e-5)
    assert size is not None or np.allclose(mine, normalise(image[None]).numpy(), atol=1e-5)


def test_torch_labels_as_the_network_does() -> None:
    """OpenCV resizes logits here, torch in evaluation: the same but for pixels between two equally likely classes."""
    segmenter, spec = load_segmenter(Path(__file__).parents[2] / "weights/camvid_cpu_best_cell.safetensors")
    predictor = TorchPredictor(segmenter, spec, torch.device("cpu"), (96, 128))
    for image in SyntheticStreet(1, 3, (150, 210))[0].frames:
        frame = torch.from_numpy(predictor.prepare(image)[0])
        expected = segmenter.step(frame, size=(150, 210)).numpy()
        found = predictor.step(image)
        assert found.shape == expected.shape
        assert found.dtype == np.uint8
        assert (found == expected).mean() > 0.999
        assert len(np.unique(found)) > 1


def test_an_image_of_another_type_is_refused() -> None:
    with pytest.raises(ValueError, match="found float64"):
        Threshold().step(np.zeros((8, 8, 3)))  # type: ignore[arg-type]


def test_what_is_written(tmp_path: Path) -> None:
    corner = bright_corner((49, 63))  # odd sides stay
    source, palette = Sequence([corner] * 5), full_palette(((200, 0, 0), (0, 0, 200)))
    path = tmp_path / "o.mp4"
    with (
        frame_table(tmp_path / "f.csv") as row,
        label_maps(tmp_path / "labels", palette) as png,
        overlay_video(path, source.size, source.rate, source.time_base, Fraction(1), palette, 1.0) as video,
    ):
        for one in predict_video(source, Threshold(), EveryK(2)):
            for sink in (row, png, video):
                sink(one)
    rows = list(csv.DictReader((tmp_path / "f.csv").open()))
    assert [r["kind"] for r in rows] == ["key", "dynamic", "key", "dynamic", "key"]
    assert [r["time_s"] for r in rows] == ["0.000000", "0.040000", "0.080000", "0.120000", "0.160000"]
    assert [r["changed"] for r in rows] == ["", *["0.000000"] * 4]
    expected = (corner[..., 0] > 127).astype(np.uint8)
    image = PillowImage.open(tmp_path / "labels/000003.png")
    assert np.array_equal(np.asarray(image), expected)
    assert np.array_equal(np.asarray(image.convert("RGB")), palette[expected])
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.height, stream.width, stream.average_rate, stream.frames) == (49, 63, Fraction(25), 5)
        for frame in container.decode(stream):
            shown = frame.to_ndarray(format="rgb24").astype(int)
            assert np.abs(shown - palette[expected]).mean() < 12
    assert not list(tmp_path.glob(".*"))


def test_blending_is_a_mean() -> None:
    image, labels = np.full((2, 2, 3), 100, np.uint8), np.array([[0, 1], [1, 0]], np.uint8)
    palette = full_palette(((200, 0, 0), (0, 100, 0)))
    assert blend(image, labels, palette, 0.5)[0].tolist() == [[150, 50, 50], [50, 100, 50]]
    assert np.array_equal(blend(image, labels, palette, 0.0), image)


def test_the_overlay_of_a_varying_rate_keeps_the_times(tmp_path: Path) -> None:
    ticks = [0, 10, 200, 210, 700, 1500]
    source = VideoStream(str(write_video(tmp_path / "a.mp4", grey_ramp(6), ticks=ticks)))
    writer = VideoWriter(tmp_path / "b.mp4", source.size, source.rate, source.time_base)
    for frame in source:
        writer.write(frame.image, frame.time)
    writer.close()
    assert [f.time for f in VideoStream(str(tmp_path / "b.mp4"))] == [Fraction(tick, 1000) for tick in ticks]


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_memory_stays_flat_over_20000_frames(tmp_path: Path) -> None:
    """Decoding, the loop and all three products; the network is the one thing left out."""
    process, images = psutil.Process(), grey_ramp(50)
    clip = write_video(tmp_path / "a.mp4", images * 400)
    palette, statistics, used = full_palette(((0, 0, 0), (255, 255, 255))), VideoStatistics(), []
    source = VideoStream(str(clip))
    with (
        frame_table(tmp_path / "f.csv") as row,
        overlay_video(
            tmp_path / "o.mp4", source.size, source.rate, source.time_base, Fraction(1), palette, 0.5
        ) as video,
    ):
        for one in predict_video(source, Threshold(), EveryK(5)):
            row(one)
            video(one)
            statistics.add(one)
            if statistics.frames % 2000 == 0:
                used.append(process.memory_info().rss / 2**20)
    assert statistics.frames == 20_000
    assert max(used[2:]) - used[1] < 8, used
