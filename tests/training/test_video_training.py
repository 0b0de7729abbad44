"""Both stages of a final training: what trains and what stays, the loss, and that a resumed fit is the same fit."""

import errno
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.builders import equal, make_shallow, static_training, video_spec, video_training
from tests.fixtures import Figure
from vseg_nas.data import ClipBatch, SyntheticStreet, resized, training
from vseg_nas.data.datamodule import ClipDataModule
from vseg_nas.errors import ConfigError, RunError
from vseg_nas.metrics import SegmentationScores
from vseg_nas.models.cell import DynamicCell
from vseg_nas.models.layers import enlarge
from vseg_nas.models.propagation import CellPropagation, EachFrame
from vseg_nas.models.segmenter_file import load_segmenter
from vseg_nas.models.static import StaticSegmenter
from vseg_nas.models.video_segmenter import VideoSegmenter
from vseg_nas.space.hand_written import HAND_WRITTEN
from vseg_nas.training.cell_module import CellModule
from vseg_nas.training.fitting import EpochReport, quiet_trainer
from vseg_nas.training.optimizers import JointOptimizer
from vseg_nas.training.settings import CellTraining, Schedule
from vseg_nas.training.static_module import StaticModule
from vseg_nas.training.video_module import VideoModule
from vseg_nas.training.video_training import restore_trained_cell, train_cell_alone, train_end_to_end

pytestmark = pytest.mark.usefixtures("shallow_networks")
SIZE = (32, 48)
OPTIONS: dict[str, Any] = {"accelerator": "cpu", "devices": 1}


def source(clips: int = 5) -> SyntheticStreet:
    return SyntheticStreet(clips, 3, SIZE)


def segmenter(seed: int = 0) -> VideoSegmenter:
    torch.manual_seed(seed)
    static = StaticSegmenter(source().classes, auxiliary=False)
    cell = CellPropagation(DynamicCell(HAND_WRITTEN["local_filters"]), nn.Conv2d(64, len(static.classes), 3, padding=1))
    return VideoSegmenter(static, cell)


def video_module(**changes: Any) -> VideoModule:
    return VideoModule(segmenter(), video_training(**changes), "{}")


def data(workers: int = 0) -> ClipDataModule:
    return ClipDataModule(source(), source(2), training(SIZE), resized(), batch_size=2, seed=7, num_workers=workers)


def batch() -> ClipBatch:
    clips = [resized()(source()[index]) for index in range(2)]
    return ClipBatch(torch.stack([c.frames for c in clips]), torch.stack([c.masks for c in clips]), [])


def cross_entropy(pred: Tensor, masks: Tensor) -> Tensor:
    logits = enlarge(pred, 8, SIZE).permute(0, 2, 3, 1).flatten(0, 2)
    labelled = masks.flatten() != 255
    logits, truth = logits[labelled], masks.flatten()[labelled]
    return -logits.log_softmax(1)[torch.arange(len(truth)), truth].mean()


def test_loss_is_the_sum_over_later_frames_and_the_static_networks_own() -> None:
    module, clips = video_module(static_weight=0.5).eval(), batch()
    with torch.no_grad():
        states = module.segmenter(clips.frames)
        parts = [cross_entropy(state.pred, clips.masks[:, t]) for t, state in enumerate(states)]
        module.log = lambda *args, **kwargs: None  # type: ignore[method-assign]
        loss = module.training_step(clips, 0)
        torch.testing.assert_close(loss, 0.5 * parts[0] + parts[1] + parts[2])
        unlabelled = clips._replace(masks=clips.masks.clone())
        unlabelled.masks[:, 0] = 255
        last = cross_entropy(module.segmenter.key(clips.frames[:, 2]).pred, clips.masks[:, 2])
        torch.testing.assert_close(module.training_step(unlabelled, 0), 0.5 * last + parts[1] + parts[2])


def test_everything_trains_except_statistics_of_the_static_network(tmp_path: Path) -> None:
    module = video_module()
    before = {name: value.clone() for name, value in module.segmenter.state_dict().items()}
    train_end_to_end(module, data(), tmp_path / "last.ckpt", lambda *_: None, **OPTIONS)
    after = module.segmenter.state_dict()
    changed = {name for name, value in before.items() if not torch.equal(value, after[name])}
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    assert not {name for name in changed if name.startswith("static.") and name.endswith(statistics)}
    assert not {name for name in changed if name.startswith("static.decoder.adapters.0.")}  # nothing reads them
    assert {name for name in before if name.startswith("propagation.") and name.endswith(statistics)} <= changed
    for part in ("static.encoder.stages.0.", "static.encoder.stages.3.", "static.decoder.blocks.", "propagation.cell."):
        convolutions = {name for name, value in before.items() if name.startswith(part) and value.ndim == 4}
        assert convolutions & changed, part


def test_without_a_cell_the_decoder_trains_as_one(tmp_path: Path) -> None:
    static = segmenter().static
    module = VideoModule(VideoSegmenter(static, EachFrame(), key_every=1), video_training(), "{}")
    before = {name: value.clone() for name, value in static.state_dict().items()}
    train_end_to_end(module, data(), tmp_path / "last.ckpt", lambda *_: None, **OPTIONS)
    changed = {name for name, value in static.state_dict().items() if not torch.equal(value, before[name])}
    unread = "decoder.adapters.0."
    assert {n for n in before if n.startswith("decoder.") and not n.startswith(unread)} <= changed  # statistics, too
    assert any(name.startswith("encoder.") for name in changed)
    assert not {n for n in changed if n.startswith("encoder.") and n.endswith(("running_mean", "running_var"))}
    optimizers = torch.load(tmp_path / "last.ckpt", weights_only=True)["optimizer_states"][0]["optimizers"]
    adam, sgd = (optimizer["param_groups"][0] for optimizer in optimizers)
    assert (adam["initial_lr"], sgd["initial_lr"]) == (4e-3, 5e-4)
    sizes = len(list(static.decoder.parameters())), len(list(static.encoder.parameters()))
    assert (len(adam["params"]), len(sgd["params"])) == sizes


def fit_video(folder: Path, epochs: int, report: EpochReport = lambda *_: None, workers: int = 0) -> dict[str, Tensor]:
    """Weights after so many epochs of a fit that goes on from what the folder holds."""
    module = video_module(power=0.0, epochs=epochs, val_every=5)
    train_end_to_end(module, data(workers), folder / "last.ckpt", report, **OPTIONS)
    return module.segmenter.state_dict()


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    """Weights after four epochs in one go."""
    with pytest.MonkeyPatch.context() as patch:
        make_shallow(patch.setattr)
        return fit_video(tmp_path_factory.mktemp("whole"), 4)


@pytest.mark.parametrize(("stop_after", "workers"), [(1, 0), (2, 0), (3, 0), (1, 2), (2, 2), (3, 2)])
def test_a_resumed_end_to_end_fit_is_the_uninterrupted_one(
    tmp_path: Path, stop_after: int, workers: int, uninterrupted: dict[str, Tensor], figure: Figure
) -> None:
    fit_video(tmp_path, stop_after, workers=workers)
    assert equal(fit_video(tmp_path, 4, workers=workers), uninterrupted)
    figure("G4", f"cut after epoch {stop_after} of 4 with {workers} workers: the weights of the fit that was not")
    initial = segmenter().state_dict()["propagation.classifier.weight"]
    assert not torch.equal(uninterrupted["propagation.classifier.weight"], initial)


def test_a_fit_whose_newest_checkpoint_is_damaged_is_the_uninterrupted_one(
    tmp_path: Path, uninterrupted: dict[str, Tensor], capsys: pytest.CaptureFixture[str]
) -> None:
    fit_video(tmp_path, 3)
    newest = tmp_path / "last.ckpt"
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content)
    epochs: list[int] = []
    assert equal(fit_video(tmp_path, 4, lambda epoch, *_: epochs.append(epoch)), uninterrupted)
    assert epochs == [3, 4]  # what the damaged one held is trained again
    assert capsys.readouterr().err.startswith(f"warning: {newest}: damaged")


def test_a_full_disk_stops_a_fit_in_one_line_and_it_goes_on(
    tmp_path: Path, uninterrupted: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, content: bytes) -> int:
        path.write_text("a part")
        raise OSError(errno.ENOSPC, "No space left on device")

    message = rf"^{tmp_path}/last.ckpt: cannot be written \(No space left on device\)$"
    with monkeypatch.context() as patch:

        def fill(epoch: int, *_: object) -> None:
            if epoch == 3:
                patch.setattr(Path, "write_bytes", full)

        with pytest.raises(RunError, match=message):
            fit_video(tmp_path, 4, fill)
    epochs: list[int] = []
    assert equal(fit_video(tmp_path, 4, lambda epoch, *_: epochs.append(epoch)), uninterrupted)
    assert epochs == [3, 4]


def course(folder: Path, **options: Any) -> tuple[list[float], SegmentationScores, VideoModule]:
    """Losses of epochs, the scores after them, and the module."""
    losses: list[float] = []
    module = video_module(epochs=3, val_every=3)

    def report(_: int, __: int, metrics: dict[str, float]) -> None:
        losses.append(metrics["train/loss"])

    scores = train_end_to_end(module, data(), folder / "last.ckpt", report, **options)
    return losses, scores, module


@pytest.mark.parametrize(
    "options",
    [
        {"accelerator": "cpu", "precision": "bf16-mixed"},
        *(
            pytest.param({"accelerator": "cuda", "precision": precision}, marks=pytest.mark.gpu)
            for precision in ("32-true", "bf16-mixed")
        ),
    ],
    ids=lambda options: " ".join(options.values()),
)
def test_other_devices_and_precisions_train_alike(tmp_path: Path, options: dict[str, str]) -> None:
    """The losses are those of float32 on the CPU, and so are the scores of what was trained; weights stay float32."""
    expected, _, _ = course(tmp_path / "plain", **OPTIONS)
    losses, scores, module = course(tmp_path / "other", devices=1, **options)
    assert len(losses) == 3
    assert losses == pytest.approx(expected, rel=0.03)
    assert losses[-1] < 0.8 * losses[0]
    quiet_trainer(tmp_path, 1, [], enable_checkpointing=False, **OPTIONS).validate(module, data(), verbose=False)
    assert module.scores is not None
    assert (scores.miou, scores.fwiou, scores.macc) == pytest.approx(
        (module.scores.miou, module.scores.fwiou, module.scores.macc), abs=0.02
    )
    assert {value.dtype for value in module.state_dict().values()} == {torch.float32, torch.int64}
    assert all(value.isfinite().all() for value in module.state_dict().values())


def test_a_resumed_cell_stage_is_the_uninterrupted_one(tmp_path: Path, make_features: Any) -> None:
    features = make_features(clips=5, size=SIZE)

    def run(folder: Path, *stages: int) -> dict[str, Tensor]:
        folder.mkdir()
        for epochs in stages:
            torch.manual_seed(1)
            cell = DynamicCell(HAND_WRITTEN["local_filters"])
            module = CellModule(cell, nn.Conv2d(64, 4, 3, padding=1), CellTraining(epochs=epochs, batch_size=2))
            train_cell_alone(module, features, 9, folder / "cell.ckpt", lambda *_: None, **OPTIONS)
        return cell.state_dict()

    whole, resumed = run(tmp_path / "whole", 4), run(tmp_path / "resumed", 2, 4)
    assert equal(whole, resumed)

    module = CellModule(
        DynamicCell(HAND_WRITTEN["local_filters"]), nn.Conv2d(64, 4, 3, padding=1), CellTraining(epochs=5, batch_size=2)
    )
    assert not restore_trained_cell(module, tmp_path / "none" / "cell.ckpt")
    assert not restore_trained_cell(module, tmp_path / "whole" / "cell.ckpt")  # of 4 epochs, 5 are wanted
    module.options = CellTraining(epochs=4, batch_size=2)
    assert restore_trained_cell(module, tmp_path / "whole" / "cell.ckpt")
    assert equal(module.cell.state_dict(), whole)


@pytest.mark.parametrize(("schedule", "power"), [("constant", 0), ("poly", 0.9)])
def test_the_cell_stage_ends_at_the_rate_of_its_schedule(
    tmp_path: Path, make_features: Any, schedule: Schedule, power: float
) -> None:
    cell = DynamicCell(HAND_WRITTEN["local_filters"])
    module = CellModule(cell, nn.Conv2d(64, 4, 3, padding=1), CellTraining(epochs=3, batch_size=2, schedule=schedule))
    rates = list[float]()
    features = make_features(clips=5, size=SIZE)
    report: EpochReport = lambda *_: rates.append(module.trainer.optimizers[0].param_groups[0]["lr"])  # noqa: E731
    train_cell_alone(module, features, 9, tmp_path / "cell.ckpt", report, **OPTIONS)
    assert rates == pytest.approx([8e-3 * (1 - done / 9) ** power for done in (3, 6, 9)])  # after epochs of 3 steps


def test_a_checkpoint_of_the_fit_loads_as_a_network(tmp_path: Path) -> None:
    clips = source()
    spec = video_spec(classes=clips.classes)
    module = VideoModule(segmenter(), video_training(), json.dumps(spec.to_dict()))
    train_end_to_end(module, data(), tmp_path / "last.ckpt", lambda *_: None, **OPTIONS)
    loaded, found = load_segmenter(tmp_path / "last.ckpt")
    assert found == spec
    state = module.segmenter.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in loaded.state_dict().items())


@pytest.mark.parametrize(
    ("static_lr", "ruined", "message"),
    [
        (1e38, None, r"NaN or infinite logits in the validation"),  # by the only step, after a loss that was finite
        (
            5e-4,
            "static.decoder.adapters.0.1.weight",
            r"NaN or infinite values of segmenter\.static\.decoder\.adapters\.0",
        ),
        (5e-4, "propagation.cell.reduce.1.running_var", r"NaN or infinite logits in the validation"),
    ],
)
def test_weights_that_are_not_finite_are_no_result(
    tmp_path: Path, static_lr: float, ruined: str | None, message: str
) -> None:
    """Those of the last step, those that nothing reads, those that training does not read."""
    module = video_module(static_lr=static_lr)
    clips = ClipDataModule(source(2), source(1), resized(), resized(), batch_size=2)
    if ruined is not None:
        module.segmenter.state_dict()[ruined].fill_(torch.nan)
    with pytest.raises(ConfigError, match=rf"^phase\.train\.video: {message}.*, expected finite; lower cell_lr or"):
        train_end_to_end(module, clips, tmp_path / "last.ckpt", lambda *_: None, **OPTIONS)


def test_divergence_is_one_line(tmp_path: Path, make_features: Any) -> None:
    features = make_features(clips=2, size=SIZE)
    features.layer2[0, 0, 0, 0, 0] = float("nan")
    module = CellModule(
        DynamicCell(HAND_WRITTEN["local_filters"]), nn.Conv2d(64, 4, 3, padding=1), CellTraining(epochs=1, batch_size=2)
    )
    with pytest.raises(ConfigError, match=r"phase.train.cell: loss nan in epoch 1, batch 1, expected finite; lower lr"):
        train_cell_alone(module, features, 0, tmp_path / "cell.ckpt", lambda *_: None, **OPTIONS)


def test_joint_optimizer_steps_and_restores_both() -> None:
    def make() -> tuple[list[nn.Parameter], JointOptimizer]:
        weights = [nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))]
        return weights, JointOptimizer(torch.optim.Adam(weights[:1], 0.1), torch.optim.SGD(weights[1:], 0.1, 0.9))

    def steps(weights: list[nn.Parameter], optimizer: JointOptimizer, count: int) -> None:
        for _ in range(count):
            for weight in weights:
                weight.grad = weight.detach().clone()
            optimizer.step()

    weights, optimizer = make()
    steps(weights, optimizer, 4)
    alone = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    for weight, single in (
        (alone[0], torch.optim.Adam(alone[:1], 0.1)),
        (alone[1], torch.optim.SGD(alone[1:], 0.1, 0.9)),
    ):
        for _ in range(4):
            weight.grad = weight.detach().clone()
            single.step()
    assert all(torch.equal(a, b) for a, b in zip(weights, alone, strict=True))

    first, second = make(), make()
    steps(*first, 2)
    second[1].load_state_dict(first[1].state_dict())
    for a, b in zip(second[0], first[0], strict=True):
        a.data.copy_(b.data)
    steps(*second, 2)
    assert all(torch.equal(a, b) for a, b in zip(second[0], weights, strict=True))
    second[1].param_groups[1]["lr"] = 0.0  # as a schedule does it
    kept = second[0][1].clone()
    steps(*second, 1)
    assert torch.equal(kept, second[0][1])


def test_gradients_of_the_parts_are_clipped_apart() -> None:
    """As in the authors' code: a large gradient of one part does not shrink that of another."""
    video = video_module()
    static = StaticModule(segmenter().static, static_training())
    parts = {
        video: (video.segmenter.static.encoder, video.segmenter.static.decoder, video.segmenter.propagation),
        static: (static.network.encoder, static.network.decoder),
    }
    for module, expected in parts.items():
        assert sum(len(list(part.parameters())) for part in expected) == len(list(module.parameters()))
        lengths = (50.0, 0.5, 7.0)
        for part, length in zip(expected, lengths, strict=False):
            count = sum(parameter.numel() for parameter in part.parameters())
            for parameter in part.parameters():
                parameter.grad = torch.full_like(parameter, length / count**0.5)
        trainer = quiet_trainer(Path(), 1, [], gradient_clip_val=3.0, **OPTIONS)
        trainer.strategy.connect(module)
        module.trainer = trainer
        optimizer = torch.optim.SGD(module.parameters(), 1.0)
        trainer.precision_plugin._clip_gradients(  # as Lightning does before a step
            module, optimizer, trainer.gradient_clip_val, gradient_clip_algorithm=trainer.gradient_clip_algorithm
        )
        for part, length in zip(expected, lengths, strict=False):
            gradients = [p.grad.flatten() for p in part.parameters() if p.grad is not None]
            assert torch.cat(gradients).norm().item() == pytest.approx(min(length, 3.0), rel=1e-3)
        module.configure_gradient_clipping(optimizer, None)  # none is none
        assert torch.cat(gradients).norm().item() == pytest.approx(min(length, 3.0), rel=1e-3)
