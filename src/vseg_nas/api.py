"""The framework from Python: label video with a trained network, search cells for data of your own. See docs/api.md."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path

import torch

from vseg_nas.assembly.inference import load_for_inference
from vseg_nas.data import Clip, ClipSource, ClipTransform, meta_split, resized
from vseg_nas.errors import ConfigError, RunError
from vseg_nas.files import check_folder
from vseg_nas.models.static import StaticSegmenter
from vseg_nas.nas.candidate import CandidateEvaluator
from vseg_nas.nas.executor import SerialExecutor
from vseg_nas.nas.lock import RunLock
from vseg_nas.nas.loop import Budget, SearchLoop
from vseg_nas.nas.stopping import build_stopping
from vseg_nas.nas.store import STORE, TrialStore
from vseg_nas.nas.strategy import build_strategy
from vseg_nas.nas.trial import Trial
from vseg_nas.run_record import CONFIG, SETTINGS, recorded_settings, write_settings
from vseg_nas.space import SearchSpace
from vseg_nas.training.cell_module import CellTraining
from vseg_nas.training.features import cached_features, weights_digest
from vseg_nas.video.torch_labeller import TorchLabeller, one_thread_after_fork

__all__ = ["CellTraining", "ClipSource", "TorchLabeller", "Trial", "load_segmenter", "load_static", "search"]

_DEFAULT_TRAINING = CellTraining()


def load_segmenter(
    checkpoint: str | Path | None = None,
    key_every: int | None = None,
    device: str = "cpu",
    size: tuple[int, int] | None = None,
) -> TorchLabeller:
    """A trained video network: ``load_segmenter().step(frame)`` labels the next frame of a video.

    Args:
        checkpoint: a file that `train` wrote; None: the network that comes along.
        key_every: frames from one key frame to the next; None: the first after ``reset()`` alone.
        device: ``cpu`` or ``cuda``.
        size: height and width of the network's frames; None: those it was trained for, else those of the source.

    Raises:
        ConfigError: there is no such device, or the path is empty.
        DataError: the checkpoint cannot be used.
        ValueError: ``key_every`` is below 1, or ``size`` is none.
    """
    if key_every is not None and key_every < 1:
        raise ValueError(f"key_every: found {key_every}, expected at least 1")
    if size is not None and (len(size) != 2 or not all(isinstance(side, int) and side > 0 for side in size)):
        raise ValueError(f"size: found {size}, expected height and width in pixels")
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError("device: found no CUDA device, expected one; use cpu")
    one_thread_after_fork()
    segmenter, spec = load_for_inference(None if checkpoint is None else str(_path("checkpoint", checkpoint)))
    segmenter.key_every = key_every
    return TorchLabeller(segmenter, spec, torch.device(device), size or spec.size)


def load_static(weights: str | Path) -> StaticSegmenter:
    """The static network that `pretrain` wrote.

    Raises:
        ConfigError: the path is empty.
        DataError: the file cannot be used.
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
    strategy: str = "ppo",
    stopping: str = "halfway",
    val_fraction: float = 0.1,
    seed: int = 0,
    device: str = "cpu",
) -> list[Trial]:
    """Searches cells; called again with the same folder, goes on.

    A folder belongs to one search: everything but ``trials`` and ``device`` has to be what it was.

    Args:
        clips: to train and score on: any object with the attributes and methods of `ClipSource`.
        static: labels key frames; its classes are those of the clips.
        run_dir: holds the trial store and the cached features; made if it is not there.
        trials: cells to evaluate.
        transform: of the training clips, such as ``vseg_nas.data.training((192, 256))``; None: frames as they are.
        training: how long and how each cell trains.
        layers: of a cell.
        width: channels of a cell, or ``native``.
        strategy: ``ppo``, ``reinforce`` or ``random``.
        stopping: ``halfway``, ``median`` or ``none``.
        val_fraction: share of the clips that cells are scored on.
        seed: of everything.
        device: ``cpu`` or ``cuda``.

    Returns:
        The trials that have a score, best first.

    Raises:
        ConfigError: an option is out of range, the classes differ, or the folder holds a search with other settings.
        DataError: the clips cannot be used.
        RunError: the folder cannot be used, or every cell fails.
    """
    if clips.classes != static.classes:
        found, expected = len(clips.classes), len(static.classes)
        raise ConfigError(f"clips: found {found} classes, expected the {expected} of the static network, in its order")
    run_dir = _path("run_dir", run_dir)
    rule = build_stopping(stopping, seed)
    chooser = build_strategy(strategy, SearchSpace(layers, width), seed)  # type: ignore[arg-type]  # checked there
    static.freeze()
    split = meta_split(clips, val_fraction, "random", seed)
    parts = ((split.train, transform or resized(), True), (split.val, resized(), False))
    settings = {
        "static": weights_digest(static),
        "clips": clips.fingerprint(),
        "transform": parts[0][1].fingerprint(),
        **{f"training.{name}": value for name, value in asdict(training).items()},
        "layers": layers,
        "width": width,
        "strategy": strategy,
        "stopping": stopping,
        "val_fraction": val_fraction,
        "seed": seed,
    }
    _check_settings(run_dir, settings)
    run_dir.mkdir(parents=True, exist_ok=True)
    check_folder(run_dir, to_write=True)
    with RunLock(run_dir):
        _check_settings(run_dir, settings)
        train, val = (
            cached_features(
                run_dir / "cache",
                static,
                clips,
                indices,
                how,
                "fp32",
                torch.device(device),
                _silent,
                for_training=for_training,
            )
            for indices, how, for_training in parts
        )
        accelerator = torch.device(device).type
        evaluator = CandidateEvaluator(
            train, val, static.decoder.classifier, training, rule, run_dir, accelerator=accelerator, devices=1
        )
        write_settings(run_dir, settings)
        with TrialStore(run_dir / STORE) as store:
            ended = SearchLoop(chooser, SerialExecutor(evaluator), rule, store, seed=seed, budget=Budget(trials)).run()
    scored = [trial for trial in ended if trial.evaluation is not None]
    return sorted(scored, key=lambda trial: trial.evaluation.score if trial.evaluation else 0.0, reverse=True)


def _path(argument: str, given: str | Path) -> Path:
    if not str(given).strip():
        raise ConfigError(f"{argument}: found an empty path, expected one that is not")
    return Path(given)


def _check_settings(run_dir: Path, settings: Mapping[str, object]) -> None:
    """Refuses a folder whose trials meant something else."""
    if (run_dir / CONFIG).exists():
        raise RunError(f"{run_dir}: holds the run of a command, expected a folder of its own")
    if not (run_dir / SETTINGS).exists():
        if (run_dir / STORE).exists():
            raise RunError(f"{run_dir}: holds trials without {SETTINGS}, so nobody knows what they mean")
        return
    stored = recorded_settings(run_dir)
    differing = [key for key in {**settings, **stored} if stored.get(key) != settings.get(key)]
    if differing:
        changes = "; ".join(f"{key} {_change(stored.get(key), settings.get(key))}" for key in differing[:3])
        more = f" and {len(differing) - 3} more" if len(differing) > 3 else ""
        raise ConfigError(f"{run_dir}: holds a search with other settings: {changes}{more}; choose another folder")


def _change(was: object, now: object) -> str:
    """The values from shortly before the first difference on: some are long."""
    texts = str(was), str(now)
    equal = next((i for i, (a, b) in enumerate(zip(*texts, strict=False)) if a != b), min(map(len, texts)))
    start = max(0, equal - 12)
    old, new = (f"{'...' if start else ''}{text[start : start + 40]}" for text in texts)
    return f"was {old}, is {new}"


def _silent(clips: Iterable[Clip], total: int) -> Iterable[Clip]:
    return clips
