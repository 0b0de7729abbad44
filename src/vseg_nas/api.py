"""The framework from Python: label video with a trained network, search cells for data of your own. See docs/api.md."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from reprlib import repr as brief
from typing import Any

from vseg_nas.assembly.data_sources import check_batches
from vseg_nas.assembly.meta_features import MetaClips, cached_meta_features
from vseg_nas.assembly.search_plan import SearchPlan
from vseg_nas.data import Clip, ClipSource, ClipTransform, MetaSplit, meta_split, resized
from vseg_nas.data.inspection import require_labels
from vseg_nas.errors import ConfigError, DataError, RunError
from vseg_nas.models.segmenter_file import load_for_inference
from vseg_nas.models.static import StaticSegmenter
from vseg_nas.nas.executors.settings import SerialSettings
from vseg_nas.nas.history import scored
from vseg_nas.nas.pruners import build_pruner
from vseg_nas.nas.settings import Budget, GeometricMeanSettings, PrunerSettings
from vseg_nas.nas.store import STORE, TrialStore
from vseg_nas.nas.strategies.base import build_strategy
from vseg_nas.nas.strategies.settings import StrategySettings
from vseg_nas.nas.trial import Trial
from vseg_nas.runs.folder import check_folder
from vseg_nas.runs.lock import RunLock
from vseg_nas.runs.record import CONFIG, SETTINGS, recorded_settings, write_settings
from vseg_nas.settings import Positive, Seed, Text, checked, options, validated
from vseg_nas.space import SearchSpace
from vseg_nas.space.vocabulary import PAPER, VOCABULARIES
from vseg_nas.training.device import Device, require_cuda
from vseg_nas.training.features import weights_digest
from vseg_nas.training.settings import CellTraining
from vseg_nas.video.torch_predictor import TorchPredictor

__all__ = ["CellTraining", "ClipSource", "TorchPredictor", "Trial", "load_predictor", "load_static", "search"]

_DEFAULT_TRAINING = CellTraining()
_DIGESTS = {"clips": "the clips differ", "static": "the static network differs"}
"""Settings that are digests of something, and what to say if they differ."""


def load_predictor(
    checkpoint: str | Path | None = None,
    key_every: int | None = None,
    device: str = "cpu",
    size: tuple[int, int] | None = None,
) -> TorchPredictor:
    """Loads a trained video network: ``load_predictor().step(frame)`` predicts the next frame of a video.

    Args:
        checkpoint: A file that `train` wrote; None means the bundled checkpoint.
        key_every: The number of frames from one key frame to the next; None makes a key frame of the first one after
            ``reset()`` only.
        device: The device to compute on, ``cpu`` or ``cuda``.
        size: Height and width to which frames are resized; None means the size that the network was trained for, or
            that of the source if there was none.

    Raises:
        ConfigError: The device does not exist, or the path is not one.
        DataError: The checkpoint cannot be used.
        ValueError: ``key_every`` is not an integer above 0, or ``size`` is not a height and width.
    """
    if key_every is not None and not (_is_whole(key_every) and key_every > 0):
        raise ValueError(f"key_every: found {brief(key_every)}, expected a whole number, 1 or more")
    if size is not None:
        if not isinstance(size, Sequence) or len(size) != 2 or not all(_is_whole(side) and side > 0 for side in size):
            raise ValueError(f"size: found {brief(size)}, expected height and width in pixels")
        size = (size[0], size[1])
    where = _device(device)
    segmenter, spec = load_for_inference(None if checkpoint is None else str(_path("checkpoint", checkpoint)))
    segmenter.key_every = key_every
    return TorchPredictor(segmenter, spec, where.tensors, size or spec.size)


def load_static(weights: str | Path) -> StaticSegmenter:
    """Reads the static network that `pretrain` wrote.

    Raises:
        ConfigError: The path cannot be that of a file.
        DataError: The file cannot be used.
    """
    return StaticSegmenter.load(_path("weights", weights))


def search(
    clips: ClipSource,
    static: StaticSegmenter,
    run_dir: str | Path,
    trials: int = 48,
    *,
    transform: ClipTransform | None = None,
    training: CellTraining = _DEFAULT_TRAINING,
    layers: int = 5,
    width: int | str = 64,
    vocabulary: str = "paper",
    strategy: str = "ppo",
    pruner: str = "halfway",
    val_fraction: float = 0.1,
    seed: int = 0,
    device: str = "cpu",
) -> list[Trial]:
    """Searches cells; called again with the same folder, it resumes the search.

    A folder belongs to one search: everything but ``trials`` and ``device`` has to be what it was.

    Args:
        clips: The clips to train and score on, any object with the attributes and methods of `ClipSource`.
        static: The network that labels key frames; its classes are those of the clips.
        run_dir: The folder of the trial store and the cached features; it is made if it is not there.
        trials: The number of cells to evaluate.
        transform: The augmentation of the training clips, such as ``vseg_nas.data.training((192, 256))``; None leaves
            frames as they are.
        training: The settings of the training of each cell.
        layers: The number of layers of a cell.
        width: The number of channels of a cell, or ``native``.
        vocabulary: The inputs, operations and aggregations of a cell: ``paper``, or ``streaming`` for cheap cells at
            video rate.
        strategy: The strategy that proposes cells: ``ppo``, ``reinforce`` or ``random``.
        pruner: The pruner: ``halfway``, ``median`` or ``none``.
        val_fraction: The share of the clips that cells are scored on.
        seed: The seed of everything.
        device: The device to compute on, ``cpu`` or ``cuda``.

    Returns:
        The trials that have a score, best first.

    Raises:
        ConfigError: An option is out of range, the classes differ, or the folder holds a search with other settings.
        DataError: The clips cannot be used.
        RunError: The folder cannot be used, or no cell has a score.
    """
    # Arguments are checked before anything is computed or written, in the words of the command line.
    trials, seed = checked(Positive, trials, "trials"), checked(Seed, seed, "seed")
    checked(float, val_fraction, "val_fraction")
    if not isinstance(training, CellTraining):
        raise ConfigError(f"training: found {brief(training)}, expected a CellTraining")
    training = validated(type(training), training, "training", null="None")
    where = _device(device)
    if clips.classes != static.classes:
        found, expected = len(clips.classes), len(static.classes)
        raise ConfigError(f"clips: found {found} classes, expected the {expected} of the static network, in its order")
    run_dir = _path("run_dir", run_dir)
    chosen_strategy = _chosen(StrategySettings, strategy, "strategy")
    chosen_pruner = _chosen(PrunerSettings, pruner, "pruner")
    if vocabulary not in VOCABULARIES:
        raise ConfigError(f"vocabulary: found {brief(vocabulary)}, expected one of {', '.join(VOCABULARIES)}")
    try:
        space = SearchSpace(layers, width, VOCABULARIES[vocabulary])  # type: ignore[arg-type]  # checked there
    except ValueError as error:
        raise ConfigError(str(error)) from error
    plan = SearchPlan(
        build_strategy(chosen_strategy, space, seed),
        build_pruner(chosen_pruner, seed),
        training,
        where,
        SerialSettings(),
        GeometricMeanSettings(),
        seed=seed,
        budget=Budget(trials),
    )
    # Candidates train on cached features, which are right only as long as the static network stays what it is.
    static.freeze()
    split = meta_split(clips, val_fraction, "random", seed)
    train = MetaClips(clips, split.train, transform or resized())
    val = MetaClips(clips, split.val, resized())
    _check_clips(clips, split, train.transform, training)
    # Everything that the score of a cell depends on, so that no folder mixes scores of different meaning.
    settings = {
        "static": weights_digest(static),
        "clips": clips.fingerprint(),
        "transform": train.transform.fingerprint(),
        **{f"training.{name}": value for name, value in training.model_dump().items()},
        "layers": layers,
        "width": width,
        **({} if vocabulary == PAPER.name else {"vocabulary": vocabulary}),
        "strategy": strategy,
        "pruner": pruner,
        "val_fraction": val_fraction,
        "seed": seed,
    }
    # The lock lies in the folder. So a foreign folder is refused before anything is made in it, and once more under the
    # lock, since another process may have begun a search there in between.
    try:
        _check_settings(run_dir, settings)
        run_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{run_dir}: cannot be made ({error.strerror}), expected a folder to write to") from error
    check_folder(run_dir, to_write=True)
    with RunLock(run_dir):
        _check_settings(run_dir, settings)
        features = cached_meta_features(run_dir / "cache", static, train, val, where, _silent)
        write_settings(run_dir, settings)  # after the features: until then the folder belongs to no search
        with TrialStore(run_dir / STORE) as store:
            ended = plan.loop(features, store, run_dir).run()
    best_first = sorted(scored(ended), key=lambda cell: cell.evaluation.score, reverse=True)
    if not best_first:
        raise RunError(f"{run_dir}: found no cell with a score among {len(ended)}; the last: {ended[-1].reason}")
    return [cell.trial for cell in best_first]


def _path(argument: str, given: str | Path) -> Path:
    return Path(checked(Text, str(given), argument))


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _chosen(settings: Any, name: object, argument: str) -> Any:
    """Returns the settings, with their defaults, of the option that is called so."""
    by_name = options(settings)
    if not isinstance(name, str) or name not in by_name:
        raise ConfigError(f"{argument}: found {brief(name)}, expected one of {', '.join(by_name)}")
    return by_name[name]()


def _device(device: str) -> Device:
    if device not in ("cpu", "cuda"):
        raise ConfigError(f"device: found {brief(device)}, expected cpu or cuda")
    if device == "cuda":
        require_cuda("device", "cpu")
    return Device("cuda" if device == "cuda" else "cpu")


def _check_clips(clips: ClipSource, split: MetaSplit, transform: ClipTransform, training: CellTraining) -> None:
    """Checks, where that costs little, what would fail in every cell."""
    if clips.length < 2:
        raise DataError(f"clips: found {clips.length} frame a clip, expected 2 or more")
    require_labels(clips, "meta-train", split.train, key="clips")
    require_labels(clips, "meta-val", split.val, key="clips")
    height, width = transform(clips[split.train[0]]).frames.shape[-2:]
    check_batches(len(split.train), training.batch_size, (height, width), "training", drop_last=False)


def _check_settings(run_dir: Path, settings: Mapping[str, object]) -> None:
    """Refuses a folder whose trials meant something else."""
    if (run_dir / CONFIG).exists():
        raise RunError(f"{run_dir}: holds the run of a command, expected a folder of its own")
    if not (run_dir / SETTINGS).exists():
        if (run_dir / STORE).exists():
            raise RunError(f"{run_dir}: holds trials without {SETTINGS}, so nobody knows what they mean")
        return
    # Folders of searches of the paper's cells do not name their vocabulary.
    settings, stored = ({"vocabulary": PAPER.name} | dict(given) for given in (settings, recorded_settings(run_dir)))
    differing = [key for key in {**settings, **stored} if stored.get(key) != settings.get(key)]
    if differing:
        changes = "; ".join(_change(key, stored.get(key), settings.get(key)) for key in differing[:3])
        more = f" and {len(differing) - 3} more" if len(differing) > 3 else ""
        raise ConfigError(f"{run_dir}: holds a search with other settings: {changes}{more}; choose another folder")


def _change(key: str, was: object, now: object) -> str:
    """Returns both values from shortly before the first difference on: some are long, and digests say nothing."""
    if key in _DIGESTS:
        return _DIGESTS[key]
    texts = str(was), str(now)
    equal = next((i for i, (a, b) in enumerate(zip(*texts, strict=False)) if a != b), min(map(len, texts)))
    start = max(0, equal - 12)
    old, new = (f"{'...' if start else ''}{text[start : start + 40]}" for text in texts)
    return f"{key} was {old}, is {new}"


def _silent(clips: Iterable[Clip], total: int) -> Iterable[Clip]:
    return clips
