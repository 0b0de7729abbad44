"""Pre-training: schedule, losses, and that an interruption leaves no trace in the weights."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from pytorch_lightning.callbacks import Callback
from torch import Tensor

from tests.builders import equal, make_shallow, static_training
from vseg_nas.data import ClipBatch, SyntheticStreet, resized, training
from vseg_nas.data.datamodule import ClipDataModule
from vseg_nas.errors import ConfigError, NonFiniteError
from vseg_nas.metrics import SegmentationScores
from vseg_nas.models.mobilenet_v2 import EncoderOutput
from vseg_nas.models.static import StaticOutput, StaticSegmenter
from vseg_nas.training.fitting import fit, quiet_trainer
from vseg_nas.training.losses import segmentation_loss, shrink_masks
from vseg_nas.training.pretraining import pretrain
from vseg_nas.training.schedules import poly
from vseg_nas.training.static_module import StaticModule, static_loss

RECIPE = static_training()
SIZE = (64, 64)


def network() -> StaticSegmenter:
    torch.manual_seed(0)
    return StaticSegmenter(SyntheticStreet(1).classes)


def street(workers: int = 0) -> ClipDataModule:
    """Two batches an epoch; one frame to validate on."""
    train, val = (SyntheticStreet(clips, 1, SIZE, split=split) for clips, split in ((4, "train"), (1, "val")))  # type: ignore[arg-type]
    return ClipDataModule(
        train, val, training((32, 64), (0.5, 2.0), jitter=0.3), resized(), batch_size=2, num_workers=workers
    )


def test_poly_schedule() -> None:
    factor = poly(200, 0.9)
    expected = [1, 0.9**0.9, 0.5**0.9, 0.005**0.9, 0, 0]
    assert [factor(step) for step in (0, 20, 100, 199, 200, 201)] == pytest.approx(expected)


class Rates(Callback):
    """Writes down the learning rates that every step is taken with."""

    def __init__(self) -> None:
        self.seen: list[tuple[float, float]] = []

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        encoder, decoder = trainer.optimizers[0].param_groups
        self.seen.append((encoder["lr"], decoder["lr"]))


def test_two_learning_rates_fall_to_zero(tmp_path: Path) -> None:
    rates, module = Rates(), StaticModule(network(), RECIPE)
    trainer = quiet_trainer(tmp_path, 2, [rates], enable_checkpointing=False, accelerator="cpu", limit_val_batches=0)
    fit(trainer, module, datamodule=street())
    factors = [1, 0.75**0.9, 0.5**0.9, 0.25**0.9]
    assert rates.seen == [pytest.approx((0.02 * factor, 0.05 * factor)) for factor in factors]
    encoder, decoder = trainer.optimizers[0].param_groups
    sizes = [sum(p.numel() for p in group["params"]) for group in (encoder, decoder)]
    assert sizes[0] == 1_812_800
    assert sum(sizes) == sum(p.numel() for p in module.network.parameters())


def cross_entropy(logits: Tensor, masks: NDArray[np.int64]) -> float:
    x = logits.double().numpy()
    log_p = x - np.log(np.exp(x).sum(1, keepdims=True))
    rows, *place = np.nonzero(masks != 255)
    return float(-log_p[rows, masks[masks != 255], *place].mean())


def test_auxiliary_heads_weigh_three_tenths() -> None:
    generator = torch.Generator().manual_seed(0)
    masks = torch.randint(3, (2, 40, 40), generator=generator)
    masks[:, :5] = 255
    pred, *auxiliary = (torch.randn(2, 3, side, side, generator=generator) for side in (40, 5, 5, 3))
    taps = EncoderOutput(*(torch.empty(0),) * 4)
    found = static_loss(StaticOutput(taps, torch.empty(0), pred, auxiliary), masks, 0.3)
    expected = cross_entropy(pred, masks.numpy())
    for logits, centres in zip(auxiliary, ([4, 12, 20, 28, 36], [4, 12, 20, 28, 36], [8, 24, 39]), strict=True):
        expected += 0.3 * cross_entropy(logits, masks.numpy()[:, centres][:, :, centres])
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_loss_resizes_logits() -> None:
    """A plane of constant logits stays one at any size."""
    masks = torch.tensor([[[0, 1, 2, 255] * 3] * 6])
    logits = torch.tensor([1.0, 2.0, 4.0])[None, :, None, None].expand(1, 3, 1, 2)
    expected = np.log(np.exp([1, 2, 4]).sum()) - 7 / 3
    assert segmentation_loss(logits, masks).item() == pytest.approx(expected)


def test_labels_shrink_by_centres() -> None:
    masks = torch.arange(64).view(1, 8, 8)
    assert shrink_masks(masks, 4).tolist() == [[[18, 22], [50, 54]]]
    masks = torch.tensor([[[255, 7, 255], [1, 255, 2], [3, 4, 5]]])
    assert torch.equal(shrink_masks(masks, 1), masks)
    assert shrink_masks(masks, 2).tolist() == [[[255, 2], [4, 5]]]  # rows and columns 1 and, beyond the end, 2


def run(weights: Path, workers: int = 0, decay: float | None = None, stop_in: int | None = None) -> SegmentationScores:
    """Pre-trains for two epochs; interrupted at the end of epoch ``stop_in``, before it is on disk."""

    def report(epoch: int, epochs: int, metrics: dict[str, float]) -> None:
        assert epochs == 2
        assert {"train/loss", "val/miou", "val/score"} <= metrics.keys()
        if epoch == stop_in:
            raise KeyboardInterrupt

    return pretrain(
        network(), street(workers), static_training(epochs=2, average_decay=decay), weights, report, accelerator="cpu"
    )


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[float | None, tuple[Path, SegmentationScores]]:
    """Weights and scores, without and with averaging."""
    paths = {decay: tmp_path_factory.mktemp("whole") / "static.safetensors" for decay in (None, 0.5)}
    with pytest.MonkeyPatch.context() as patch:
        make_shallow(patch.setattr)
        return {decay: (path, run(path, decay=decay)) for decay, path in paths.items()}


def weights_of(path: Path) -> dict[str, Tensor]:
    return StaticSegmenter.load(path).state_dict()


def states_of(path: Path) -> Any:
    """Everything the checkpoint beside the weights holds."""
    return torch.load(path.with_name("last.ckpt"), weights_only=True)


@pytest.mark.usefixtures("shallow_networks")
def test_interrupted_and_continued_is_uninterrupted(tmp_path: Path, uninterrupted: Any) -> None:
    """With an average and with loader processes, which have state of their own to lose."""
    whole, scores = uninterrupted[0.5]
    parts = tmp_path / "static.safetensors"
    with pytest.raises(KeyboardInterrupt):
        run(parts, workers=2, decay=0.5, stop_in=2)
    assert not parts.exists()
    assert states_of(parts)["epoch"] == 0
    assert run(parts, workers=2, decay=0.5) == scores
    assert equal(weights_of(parts), weights_of(whole))
    assert equal(states_of(parts)["current_model_state"], states_of(whole)["current_model_state"])


@pytest.mark.usefixtures("shallow_networks")
def test_killed_after_the_last_epoch(tmp_path: Path, uninterrupted: Any) -> None:
    whole, scores = uninterrupted[0.5]
    for name in ("last.ckpt", "last.ckpt.sha256"):
        shutil.copy(whole.with_name(name), tmp_path)
    weights = tmp_path / "static.safetensors"
    assert run(weights, decay=0.5) == scores
    assert equal(weights_of(weights), weights_of(whole))


@pytest.mark.usefixtures("shallow_networks")
def test_an_average_of_weights_is_what_is_written(uninterrupted: Any) -> None:
    last, average = (weights_of(path) for path, _ in uninterrupted.values())
    name = "decoder.classifier.weight"
    assert not torch.equal(last[name], average[name])
    checkpoint = states_of(uninterrupted[0.5][0])
    assert torch.equal(checkpoint["current_model_state"][f"network.{name}"], last[name])
    assert torch.equal(checkpoint["state_dict"][f"network.{name}"], average[name])


@pytest.mark.usefixtures("shallow_networks")
def test_divergence_stops_the_training(tmp_path: Path) -> None:
    module = StaticModule(network(), RECIPE).train()
    frames, masks = torch.full((1, 1, 3, 64, 64), torch.nan), torch.zeros(1, 1, 64, 64, dtype=torch.int64)
    with pytest.raises(NonFiniteError, match="loss nan in epoch 1, batch 5"):
        module.training_step(ClipBatch(frames, masks, [("a",)]), 4)
    weights = tmp_path / "static.safetensors"
    hot = static_training(encoder_lr=1e36, decoder_lr=1e36)
    with pytest.raises(ConfigError, match=r"phase\.pretrain: loss .* in epoch 1, batch 2"):
        pretrain(network(), street(), hot, weights, lambda *_: None, accelerator="cpu")
    assert list(tmp_path.iterdir()) == []
    few = ClipDataModule(SyntheticStreet(2, 1, SIZE), SyntheticStreet(1, 1, SIZE), resized(), resized(), batch_size=2)
    with pytest.raises(ConfigError, match=r"phase\.pretrain: NaN or infinite .*, expected finite; lower encoder_lr"):
        pretrain(network(), few, hot, weights, lambda *_: None, accelerator="cpu")
    assert not weights.exists()
