"""What `check` reads of a data set, and how later runs use the manifest that it leaves."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vseg_nas.data import camvid, cityscapes
from vseg_nas.data.camvid import camvid_layout
from vseg_nas.data.cityscapes import cityscapes_layout
from vseg_nas.data.image_files import FileClips, Layout
from vseg_nas.data.inspection import FileReport, sequence_reports
from vseg_nas.data.manifest import MAX_CHARACTERS, Manifest
from vseg_nas.data.settings import CamVidSettings, CityScapesSettings, DatasetSettings
from vseg_nas.errors import DataError
from vseg_nas.labels import IGNORE
from vseg_nas.results.data_check import FrameSequence, SplitCheck
from vseg_nas.runs.files import read_regular


@dataclass
class SplitReport:
    """The problems, digests and labels that were found in a split.

    Attributes:
        layout: The layout of the split.
        problems: One line for each file that cannot be used.
        digests: The SHA-256 of each file that can be used.
        pixels: (256,) The number of pixels of each class id over all masks; 255 means ignored.
    """

    layout: Layout
    problems: list[str] = field(default_factory=list)
    digests: dict[Path, str] = field(default_factory=dict)
    pixels: NDArray[np.int64] = field(default_factory=lambda: np.zeros(256, np.int64))

    def add(self, files: Iterable[FileReport]) -> None:
        """Adds the reports of files."""
        for file in files:
            if file.problem is not None:
                self.problems.append(file.problem)
                continue
            self.digests[file.path] = file.sha256
            if file.pixels is not None:
                self.pixels += file.pixels

    @property
    def sequences(self) -> list[FrameSequence]:
        """The sequences of successive frames."""
        return sequence_reports(self.layout)

    @property
    def shares(self) -> dict[str, float]:
        """The share of each class among labelled pixels, and of ``ignored`` among all pixels; empty without masks."""
        labelled, ignored = self.pixels[:IGNORE].sum(), self.pixels[IGNORE]
        if not labelled:
            return {}
        shares = {name: float(self.pixels[i] / labelled) for i, name in enumerate(self.layout.classes)}
        return shares | {"ignored": float(ignored / (labelled + ignored))}

    @property
    def result(self) -> SplitCheck:
        """The report as it stands in the file that `check` leaves."""
        return SplitCheck(
            frames=len(self.layout.frames),
            masks=len(self.layout.masks),
            seconds_between_frames=self.layout.frame_seconds,
            shares=self.shares,
            sequences=tuple(self.sequences),
            problems=tuple(self.problems),
        )


def layouts(dataset: DatasetSettings) -> dict[str, Layout]:
    """Returns the layouts of the splits: single frames of CamVid, annotated frames of CityScapes with earlier ones.

    CamVid may do without a test split, which only `evaluate` asks for.

    Raises:
        DataError: The data set has no files, or a list or folder is missing.
    """
    match dataset:
        case CamVidSettings():
            root = Path(str(dataset.root))
            there = [split for split in camvid.SPLITS if split != "test" or (root / "test.txt").is_file()]
            return {split: camvid_layout(root, split, 1, 1) for split in there}
        case CityScapesSettings():
            root = Path(str(dataset.root))
            return {split: cityscapes_layout(root, split, dataset.length) for split in cityscapes.SPLITS}
    raise DataError(f"dataset: found {dataset.name}, which has no files, expected camvid or cityscapes")


def manifest_path(runs_dir: Path, dataset: str) -> Path:
    """Returns the file in which `check` leaves the manifest of a data set."""
    return runs_dir / "check" / dataset / "manifest.json"


def verify_files(runs_dir: Path, dataset: str, root: Path, source: FileClips) -> None:
    """Compares the files of a source with the manifest of their folder, if `check` has left one.

    Raises:
        DataError: The manifest is damaged, or a file is not what it was.
    """
    path = manifest_path(runs_dir, dataset)
    try:
        text = read_regular(path, MAX_CHARACTERS, follow=True).decode()
    except FileNotFoundError:
        return
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error}); make it again with `check`") from error
    manifest = Manifest.from_json(text, path)
    if manifest.is_of(root):
        manifest.verify(root, source.files)
