"""`predict` and `export` as a user runs them: what they write, what they refuse."""

from __future__ import annotations

import csv
import importlib
import itertools
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image as PillowImage

import vseg_nas.export
import vseg_nas.predict
from tests.builders import save_network, video_spec
from tests.fixtures import InProcess
from tests.video.making import grey_ramp, write_video
from vseg_nas.errors import ExtraError
from vseg_nas.models.bundled import bundled_checkpoint

QUICK = ["gpu=cpu", "gpu.threads=1", "name=one"]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A clip of seven frames and a checkpoint."""
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 255, (50, 70, 3), dtype=np.uint8) for _ in range(7)]
    write_video(tmp_path / "clip.mp4", images)
    save_network(tmp_path / "video.safetensors", video_spec(size=(64, 96)))
    return tmp_path


def test_a_clip_gets_its_labels(in_process: InProcess, files: Path) -> None:
    options = ["source=clip.mp4", "checkpoint=video.safetensors", "labels=true", "key.every=3", *QUICK]
    status, out, err = in_process(vseg_nas.predict.main, *options)
    assert (status, err) == (0, "")
    run = files / "runs/predict/one"
    rows = list(csv.DictReader((run / "frames.csv").open()))
    assert [row["kind"] for row in rows] == ["key", "dynamic", "dynamic", "key", "dynamic", "dynamic", "key"]
    result = json.loads((run / "predict.json").read_text())
    assert (result["frames"], result["key_frames"], result["skipped"]) == (7, 3, 0)
    assert (result["size"], result["network_size"]) == ([50, 70], [64, 96])
    assert result["key_ms"] is None  # three key frames are warm-up
    assert result["dynamic_ms"]["low"] <= result["dynamic_ms"]["median"] <= result["dynamic_ms"]["high"]
    assert "7 frames in" in out
    with av.open(str(run / "overlay.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.frames, stream.height, stream.width, stream.average_rate) == (7, 50, 70, Fraction(25))
    labels = [np.asarray(PillowImage.open(path)) for path in sorted((run / "labels").iterdir())]
    assert [image.shape for image in labels] == [(50, 70)] * 7
    changes = [(one != other).mean() for one, other in itertools.pairwise(labels)]
    np.testing.assert_allclose([float(row["changed"]) for row in rows[1:]], changes, atol=1e-6)


def test_the_labels_are_those_of_the_network(in_process: InProcess, files: Path) -> None:
    """Step by step, by the transform of `evaluate`."""
    from vseg_nas.data import RawClip, resized
    from vseg_nas.models.segmenter_file import load_segmenter
    from vseg_nas.video.stream import VideoStream

    options = ["source=clip.mp4", "checkpoint=video.safetensors", "labels=true", "key.every=3", "overlay=false"]
    assert in_process(vseg_nas.predict.main, *options, *QUICK)[0] == 0
    segmenter, transform = load_segmenter(files / "video.safetensors")[0], resized((64, 96))
    segmenter.key_every = 3
    for frame in VideoStream("clip.mp4"):
        clip = transform(RawClip((frame.image,), (frame.image[..., 0],), (frame.name,)))
        expected = segmenter.step(clip.frames[0], size=(50, 70)).numpy()
        written = np.asarray(PillowImage.open(files / f"runs/predict/one/labels/{frame.name}.png"))
        assert (written == expected).mean() > 0.999


def test_a_folder_with_the_bundled_checkpoint(in_process: InProcess, tmp_path: Path) -> None:
    (tmp_path / "frames").mkdir()
    for index, image in enumerate(grey_ramp(3)):
        PillowImage.fromarray(image).save(tmp_path / f"frames/{index}.png")
    (tmp_path / "frames/1.png").write_bytes(b"damaged")
    status, out, _ = in_process(vseg_nas.predict.main, "source=frames/*.png", "key=adaptive", "overlay=false", *QUICK)
    assert status == 0
    assert "skipped: 1 frames; the first: frames/1.png: found a damaged image" in out
    result = json.loads((tmp_path / "runs/predict/one/predict.json").read_text())
    assert (result["frames"], result["network_size"], result["rate"]) == (2, [180, 240], 10)


def _nothing(folder: Path) -> None: ...


def _empty_folder(folder: Path) -> None:
    (folder / "empty").mkdir()


def _text(folder: Path) -> None:
    (folder / "a.mp4").write_text("no video")


def _wrong_checkpoint(folder: Path) -> None:
    write_video(folder / "a.mp4", grey_ramp(2))
    (folder / "w.safetensors").write_bytes(b"wrong")


@pytest.mark.parametrize(
    ("make", "options", "part"),
    [
        (_nothing, [], "source: not set"),
        (_nothing, ["source=none.mp4"], "source: found no none.mp4, expected a video, a folder"),
        (_nothing, ["source=none/*.png"], "found no image that matches"),
        (_nothing, ["source=97"], "source: found no camera 97"),
        (_empty_folder, ["source=empty"], "source: empty: found no image in it"),
        (_text, ["source=a.mp4"], "source: a.mp4: cannot be read as video"),
        (_wrong_checkpoint, ["source=a.mp4", "checkpoint=w.safetensors"], "w.safetensors: found a header of"),
        (_wrong_checkpoint, ["source=a.mp4", "checkpoint=none"], "checkpoint: found no file none"),
        (_wrong_checkpoint, ["source=a.mp4", "runtime=onnx"], "checkpoint: found none, expected the folder that"),
        (_wrong_checkpoint, ["source=a.mp4", "runtime=onnx", "checkpoint=."], "key_frame.onnx: not found"),
        (_wrong_checkpoint, ["source=a.mp4", "key.every=0"], "key.every: found 0, expected at least 1"),
        (_wrong_checkpoint, ["source=a.mp4", "key=never"], "key=never: no such option, expected one of: adaptive"),
        (_wrong_checkpoint, ["source=a.mp4", "opacity=2"], "opacity: found 2"),
        (_wrong_checkpoint, ["source=a.mp4", "rate=inf"], "rate: found inf, expected a finite number"),
        (_wrong_checkpoint, ["source=a.mp4", "rate=nan"], "rate: found nan, expected a finite number"),
        (_wrong_checkpoint, ["source=a.mp4", "rate=1e9"], "rate: found 1000000000.0, expected at most 1000"),
        (_wrong_checkpoint, ["source=a.mp4", "rate=1e-9"], "rate: found 1e-09, expected at least 0.0001"),
        (_wrong_checkpoint, ["source=a.mp4", "rate=-1"], "rate: found -1, expected at least 0.0001"),
        (
            _wrong_checkpoint,
            ["source=a.mp4", "size=[100000,100000]"],
            "size: found frames of 100000 x 100000, which take",
        ),
        (_wrong_checkpoint, ["source=a.mp4", f"size=[32,{10**30}]"], "of memory or more, expected at most the"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_no_run(
    in_process: InProcess, tmp_path: Path, make: Callable[[Path], None], options: list[str], part: str
) -> None:
    make(tmp_path)
    status, _, err = in_process(vseg_nas.predict.main, *options, *QUICK)
    assert status == 2
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert part in err
    assert not (tmp_path / "runs/predict/one").exists()


def test_a_missing_extra_is_one_line_with_the_command(
    in_process: InProcess, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    status, _, err = in_process(vseg_nas.predict.main, "source=clip.mp4", *QUICK)
    assert status == 2
    assert err.endswith("install it with: pip install 'vseg-nas[video]'\n")
    assert err.count("\n") == 1
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.delitem(sys.modules, "vseg_nas.graphs.sessions", raising=False)
    with pytest.raises(ExtraError, match=r"onnxruntime: not installed, .*pip install 'vseg-nas\[onnx\]'"):
        importlib.import_module("vseg_nas.graphs.sessions")


def test_flow_cannot_be_exported(in_process: InProcess, tmp_path: Path) -> None:
    save_network(tmp_path / "flow.safetensors", video_spec("gated_warp", flow=True))
    status, _, err = in_process(vseg_nas.export.main, "checkpoint=flow.safetensors", "name=one")
    assert status == 2
    assert "DISOpticalFlow" in err
    assert not (tmp_path / "runs/export/one").exists()


def test_the_bundled_checkpoint_is_there() -> None:
    assert bundled_checkpoint().is_file()


def test_each_frame_of_a_folder_has_a_label_map(in_process: InProcess, files: Path) -> None:
    for index, name in enumerate(("left/x.png", "left/x.bmp", "right/x.png", "right/y.png")):
        (files / "cam" / name).parent.mkdir(parents=True, exist_ok=True)
        PillowImage.fromarray(grey_ramp(4)[index]).save(files / "cam" / name)
    PillowImage.fromarray(np.zeros((9, 9, 3), np.uint8)).save(files / "cam/left/0.png")
    options = ["source=cam/**/*", "checkpoint=video.safetensors", "labels=true", "rate=0.0002777", *QUICK]
    status, out, err = in_process(vseg_nas.predict.main, *options)
    assert (status, err) == (0, "")
    assert "skipped: 1 frames; the first: cam/left/0.png: found 9x9 pixels, expected 64x48 as most" in out
    run = files / "runs/predict/one"
    rows = list(csv.DictReader((run / "frames.csv").open()))
    assert [row["name"] for row in rows] == ["left/x.bmp", "left/x.png", "right/x", "right/y"]
    assert [row["kind"] for row in rows] == ["key", "dynamic", "key", "dynamic"]
    assert all((run / "labels" / f"{row['name']}.png").is_file() for row in rows)
    with av.open(str(run / "overlay.mp4")) as container:
        assert container.streams.video[0].average_rate == Fraction(2777, 10_000_000)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_prediction_leaves_a_video_and_begins_again(files: Path, number: signal.Signals) -> None:
    write_video(files / "long.mp4", grey_ramp(50, (50, 70)) * 40)
    options = ["source=long.mp4", "checkpoint=video.safetensors", "labels=true", "key=adaptive", *QUICK]
    command = [sys.executable, "-m", "vseg_nas.predict", *options]
    run = files / "runs/predict/one"
    with subprocess.Popen(command, cwd=files, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as child:
        while child.poll() is None and not (run / "labels/000200.png").exists():
            time.sleep(0.01)
        child.send_signal(number)
    left = run / ("overlay.partial.mp4" if number == signal.SIGKILL else "overlay.mp4")
    with av.open(str(left)) as container:
        assert sum(1 for _ in container.decode(video=0)) >= 150
    done = subprocess.run([*command, "frames=300"], capture_output=True, text=True, cwd=files)
    assert done.returncode == 2
    assert "holds an unfinished run of another command (frames was None, is 300)" in done.stderr
    done = subprocess.run(command, capture_output=True, text=True, cwd=files)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(list((run / "labels").iterdir())) == 2000
    assert not list(run.glob("*partial*"))
    with av.open(str(run / "overlay.mp4")) as container:
        assert container.streams.video[0].frames == 2000
