"""CityScapes: a tiny data set in the official layout, with frame numbers that run on as in Frankfurt."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vseg_nas.data import CityScapes, image_files
from vseg_nas.data.cityscapes import cityscapes_layout
from vseg_nas.data.inspection import sequence_reports
from vseg_nas.errors import ConfigError, DataError
from vseg_nas.evaluation.sequences import sequences_of

FRAMES = [
    ("frankfurt", "000000", 294),
    ("frankfurt", "000000", 576),
    ("frankfurt", "000001", 1),
    ("ulm", "000003", 19),
]
LABEL_IDS = [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]


def save(path: Path, array: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(array, np.uint8)).save(path)


def build(root: Path, suffix: str = ".png", kind: str = "labelIds", ids: Any = None) -> Path:
    """Annotated frames are grey with the level of their index, predecessors one level of 100 more."""
    values = np.resize(np.arange(34) if ids is None else ids, (8, 16))
    for level, (city, sequence, frame) in enumerate(FRAMES):
        name = f"{city}_{sequence}_{frame:06}"
        save(root / f"leftImg8bit/val/{city}/{name}_leftImg8bit{suffix}", np.full((8, 16, 3), level))
        before = f"{city}_{sequence}_{frame - 1:06}_leftImg8bit{suffix}"
        save(root / "leftImg8bit_sequence/val" / city / before, np.full((8, 16, 3), 100 + level))
        save(root / f"gtFine/val/{city}/{name}_gtFine_{kind}.png", values)
    return root


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_predecessor_comes_from_the_same_sequence(tmp_path: Path, suffix: str) -> None:
    source = CityScapes(build(tmp_path, suffix), "val")
    assert len(source) == 4
    for level in range(4):
        previous, frame = source[level].frames
        assert abs(int(previous.mean()) - 100 - level) <= 1
        assert abs(int(frame.mean()) - level) <= 1
    assert source[1].names == ("frankfurt_000000_000575_leftImg8bit", "frankfurt_000000_000576_leftImg8bit")
    assert source.sequences == ("frankfurt_000000", "frankfurt_000000", "frankfurt_000001", "ulm_000003")
    assert source.frame_ids == ((293, 294), (575, 576), (0, 1), (18, 19))


def test_label_ids_become_the_19_classes(tmp_path: Path) -> None:
    source = CityScapes(build(tmp_path), "val")
    previous, mask = source[0].masks
    assert (previous == 255).all()
    expected = [LABEL_IDS.index(i) if i in LABEL_IDS else 255 for i in range(34)]
    assert mask.ravel()[:34].tolist() == expected
    assert source.classes[mask.ravel()[26]] == "car"
    assert len(source.classes) == len(source.palette) == 19


def test_train_ids_are_preferred_and_kept(tmp_path: Path) -> None:
    ids = [*range(19), 255]
    build(tmp_path)
    build(tmp_path, kind="labelTrainIds", ids=ids)
    assert CityScapes(tmp_path, "val")[0].masks[1].ravel()[:20].tolist() == ids
    by_label = CityScapes(tmp_path, "val", labels="label_ids")
    assert by_label[0].masks[1].ravel()[7] == 0
    assert by_label.fingerprint() != CityScapes(tmp_path, "val").fingerprint()


def test_single_frames_need_no_sequence(tmp_path: Path) -> None:
    root = build(tmp_path)
    for path in (root / "leftImg8bit_sequence").rglob("*.png"):
        path.unlink()
    clip = CityScapes(root, "val", length=1)[3]
    assert len(clip.frames) == len(clip.masks) == 1
    assert clip.masks[0].ravel()[7] == 0


def test_longer_clips_end_with_the_annotated_frame(tmp_path: Path) -> None:
    root = build(tmp_path)
    for path in (root / "leftImg8bit/val").rglob("*.png"):
        run, number = path.name.removesuffix("_leftImg8bit.png").rsplit("_", 1)
        before = root / "leftImg8bit_sequence/val" / path.parent.name / f"{run}_{int(number) - 2:06}_leftImg8bit.png"
        save(before, np.full((8, 16, 3), 7))
    source = CityScapes(root, "val", length=3)
    assert source.frame_ids[0] == (292, 293, 294)
    clip = source[0]
    assert (clip.frames[0] == 7).all()
    assert [bool((mask == 255).all()) for mask in clip.masks] == [True, True, False]


@pytest.mark.parametrize(
    "hidden",
    [
        "ulm/._ulm_000003_000019_leftImg8bit.png",
        "ulm/.ulm_000003_000019_leftImg8bit.png",
        ".ulm/ulm_000003_000019_leftImg8bit.png",
        ".ipynb_checkpoints/ulm_000003_000019_leftImg8bit.png",
        "ulm/.DS_Store",
        "._ulm",
    ],
)
def test_hidden_files_and_folders_are_no_frames(tmp_path: Path, hidden: str) -> None:
    before = CityScapes(build(tmp_path), "val").fingerprint()
    path = tmp_path / "leftImg8bit/val" / hidden
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"\0\5\x16\7")
    assert CityScapes(tmp_path, "val").fingerprint() == before


def test_missing_predecessor_is_named(tmp_path: Path) -> None:
    root = build(tmp_path)
    missing = root / "leftImg8bit_sequence/val/frankfurt/frankfurt_000000_000575_leftImg8bit.png"
    missing.unlink()
    with pytest.raises(DataError) as error:
        CityScapes(root, "val")
    assert str(error.value).startswith(f"{missing}: file not found")


def test_mistakes(tmp_path: Path) -> None:
    root = build(tmp_path)
    with pytest.raises(ConfigError, match="found 21, expected 1 to 20"):
        CityScapes(root, "val", length=21)
    with pytest.raises(DataError, match="leftImg8bit/train: found no frame"):
        CityScapes(root, "train")
    with pytest.raises(DataError, match=r"labelTrainIds\.png: file not found"):
        CityScapes(root, "val", labels="train_ids")
    save(root / "leftImg8bit/val/ulm/bonn_000003_000019_leftImg8bit.png", np.zeros((8, 16, 3)))
    with pytest.raises(DataError, match="bonn_000003_000019"):
        CityScapes(root, "val")


@pytest.mark.parametrize(("kind", "bad"), [("labelIds", 34), ("labelTrainIds", 19)])
def test_unknown_ids(tmp_path: Path, kind: str, bad: int) -> None:
    source = CityScapes(build(tmp_path, kind=kind, ids=[bad]), "val")
    with pytest.raises(DataError, match=f"{kind}.png: found label id {bad}"):
        source[0]


@pytest.mark.parametrize("without", [0, 1, 3])
def test_the_kind_of_label_is_that_of_all_frames(tmp_path: Path, without: int) -> None:
    """Train ids are made from label ids; where that stopped half-way, label ids are read."""
    build(tmp_path)
    build(tmp_path, kind="labelTrainIds", ids=[0])
    city, sequence, frame = FRAMES[without]
    (tmp_path / f"gtFine/val/{city}/{city}_{sequence}_{frame:06}_gtFine_labelTrainIds.png").unlink()
    masks = [CityScapes(tmp_path, "val")[index].masks[1].ravel()[7] for index in range(len(FRAMES))]
    assert masks == [0] * 4  # label id 7 is road
    assert CityScapes(tmp_path, "val")[0].masks[1].ravel()[8] == 1


@pytest.mark.parametrize("without", [0, 2])
def test_a_missing_mask_of_the_only_kind_is_named(tmp_path: Path, without: int) -> None:
    build(tmp_path, kind="labelTrainIds", ids=[0])
    city, sequence, frame = FRAMES[without]
    missing = tmp_path / f"gtFine/val/{city}/{city}_{sequence}_{frame:06}_gtFine_labelTrainIds.png"
    missing.unlink()
    with pytest.raises(DataError, match=r"labelTrainIds\.png: file not found"):
        CityScapes(tmp_path, "val")


@pytest.mark.parametrize("count", [1, 4])
def test_the_package_of_missing_predecessors_is_named(tmp_path: Path, count: int) -> None:
    root = build(tmp_path)
    before = sorted((root / "leftImg8bit_sequence").rglob("*.png"))
    for path in before[:count]:
        path.unlink()
    with pytest.raises(DataError) as error:
        CityScapes(root, "val")
    assert str(error.value) == (
        f"{before[0]}: file not found, as {count} of the 4 frames before annotated ones, "
        "expected the files of the package leftImg8bit_sequence_trainvaltest"
    )


def test_frames_far_apart_are_no_run(tmp_path: Path) -> None:
    runs = sequence_reports(cityscapes_layout(build(tmp_path), "val", 2))
    ends = [(run.first[-18:-12], run.last[-18:-12], run.frames) for run in runs]
    assert ends == [("000293", "000294", 2), ("000575", "000576", 2), ("000000", "000001", 2), ("000018", "000019", 2)]


@pytest.mark.parametrize(("key_every", "read"), [(1, 4), (2, 12), (None, 8)])
def test_only_frames_that_are_labelled_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key_every: int | None, read: int
) -> None:
    """With a key frame every K, K sequences of 1 to K frames end at each of the four annotated frames."""
    source = CityScapes(build(tmp_path), "val")
    opened: list[str] = []
    decode = image_files.decode_frame

    def watched(path: Path, data: bytes, size: tuple[int, int]) -> Any:
        opened.append(path.stem)
        return decode(path, data, size)

    monkeypatch.setattr(image_files, "decode_frame", watched)
    labelled = [raw.names[0] for sequence in sequences_of(source).to_score(key_every) for _, raw in sequence]
    assert opened == labelled
    assert len(labelled) == read
    whole = source[1]
    part = source.part(1, (1,))
    assert part.names == whole.names[1:]
    assert (part.masks[0] == whole.masks[1]).all()
