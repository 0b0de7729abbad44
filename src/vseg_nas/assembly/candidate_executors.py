"""How candidates are evaluated: in this process, and in other processes that open the cached features themselves."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from vseg_nas.assembly.meta_features import MetaFeatures
from vseg_nas.data.feature_cache import as_features, stored_arrays
from vseg_nas.models.settings import Past
from vseg_nas.nas.candidate import CandidateEvaluator
from vseg_nas.nas.executors.ray import CandidateResources, RayExecutor
from vseg_nas.nas.executors.settings import RaySettings
from vseg_nas.nas.pruners import Pruner
from vseg_nas.nas.settings import RewardSettings
from vseg_nas.training.device import Device
from vseg_nas.training.features import to_device_if_room
from vseg_nas.training.settings import CellTraining


@dataclass(frozen=True, eq=False)
class CandidateFactory:
    """Builds the evaluator of cells in another process; see `EvaluatorFactory`.

    Attributes:
        device: The device to compute on, and its precision.
        caches: Folders with the features of meta-train and meta-val.
        classifier: Classifier of the static network, on the CPU.
        training: Settings of the training of each candidate.
        reward: Settings of score, cost and reward.
        share: Share of a CUDA device that is the process's.
    """

    device: Device
    caches: tuple[Path, Path]
    classifier: nn.Conv2d
    training: CellTraining
    reward: RewardSettings
    share: float = 1.0

    def __call__(
        self, pruner: Pruner, root_dir: Path, arrays: Sequence[dict[str, NDArray[Any]]] | None = None
    ) -> CandidateEvaluator:
        """Opens the features, where they do not come as arrays, and builds the evaluator."""
        self.device.start()
        opened = map(as_features, map(stored_arrays, self.caches) if arrays is None else arrays)
        train, val = to_device_if_room(list(opened), self.device.tensors, self.share)
        return CandidateEvaluator(
            train,
            val,
            self.classifier,
            self.training,
            pruner,
            root_dir,
            self.reward,
            **self.device.trainer_options(),
        )

    def arrays(self) -> list[dict[str, NDArray[Any]]]:
        """Returns the features in memory, for a machine that does not see the folders."""
        # plain arrays: a memory map would be pickled byte by byte, once for every worker
        return [{name: np.asarray(array) for name, array in stored_arrays(folder).items()} for folder in self.caches]


def build_evaluator(
    features: MetaFeatures,
    training: CellTraining,
    device: Device,
    pruner: Pruner,
    run_dir: Path,
    reward: RewardSettings,
    past: Past = "previous",
) -> CandidateEvaluator:
    """Returns the evaluator of cells that computes in this process."""
    train, val = to_device_if_room((features.train, features.val), device.tensors)
    return CandidateEvaluator(
        train,
        val,
        features.classifier,
        training,
        pruner,
        run_dir,
        reward,
        past,
        **device.trainer_options(),
    )


def build_ray_executor(executor: RaySettings, factory: CandidateFactory, pruner: Pruner, batch: int) -> RayExecutor:
    """Returns the executor that trains candidates in Ray's workers, each with its share of a device."""
    device, share = factory.device, executor.gpus_per_candidate
    threads = device.threads or max(1, int(executor.cpus_per_candidate))
    caches = (factory.caches[0].resolve(), factory.caches[1].resolve())
    return RayExecutor(
        replace(factory, device=replace(device, threads=threads), caches=caches, share=share),
        pruner,
        CandidateResources(share if device.is_cuda else 0.0, executor.cpus_per_candidate),
        workers=executor.workers,
        at_most=batch if executor.mode == "batch" else None,
        address=executor.address,
        limit_s=executor.limit_s,
    )
