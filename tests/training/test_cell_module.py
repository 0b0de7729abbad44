"""The loss, the frames a cell sees, and the scores, on cells simple enough to follow by hand."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vseg_nas.data.feature_cache import StaticFeatures
from vseg_nas.errors import NonFiniteError
from vseg_nas.models.cell import DynamicCell
from vseg_nas.models.settings import Past
from vseg_nas.nas.strategies.random import RandomSearch
from vseg_nas.space import SearchSpace
from vseg_nas.training.cell_module import CellModule
from vseg_nas.training.features import FeatureBatches
from vseg_nas.training.fitting import fit, quiet_trainer
from vseg_nas.training.settings import CellTraining

GENOTYPE = SearchSpace(2, 8).genotype([0, 1, 0, 5, 0, 2, 5, 3, 0, 4])  # reads both inputs of the previous frame


class StubCell(nn.Module):
    """dec = w * (previous dec + mean of the channels of layer 2 + sum of the previous layer 4 / 32)."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(0.5))

    reads = frozenset({"prev_layer4", "prev_dec", "layer2"})

    def forward(self, prev_layer4: Tensor, prev_dec: Tensor, layer2: Tensor, *others: Tensor) -> Tensor:
        return self.weight * (prev_dec + layer2.mean(1, True) + prev_layer4.sum((1, 2, 3), True) / 32)


def stub(classes: int) -> CellModule:
    torch.manual_seed(0)
    return CellModule(StubCell(), nn.Conv2d(64, classes, 1), CellTraining())  # type: ignore[arg-type]


def logits_of(module: CellModule, features: StaticFeatures) -> list[NDArray[np.float64]]:
    """What a module with a stub must give for frames 1, 2, ..., in NumPy."""
    arrays = {name: value.double().numpy() for name, value in features.arrays().items()}
    weight = module.classifier.weight.detach().double().numpy()[:, :, 0, 0]
    assert module.classifier.bias is not None
    bias = module.classifier.bias.detach().double().numpy()
    dec, layer4 = arrays["key_dec"], arrays["key_layer4"]
    found = []
    for t in range(arrays["layer2"].shape[1]):
        context = layer4.sum((1, 2, 3))[:, None, None, None]
        dec = 0.5 * (dec + arrays["layer2"][:, t].mean(1)[:, None] + context / 32)
        layer4 = arrays["layer4"][:, t]
        found.append(np.einsum("kc,bchw->bkhw", weight, dec) + bias[:, None, None])
    return found


def batch_of(make_features: Any, **options: Any) -> StaticFeatures:
    features: StaticFeatures = make_features(**options)
    return features.take(torch.arange(features.clips))


def test_loss_is_the_sum_over_later_frames(make_features: Any) -> None:
    batch, module = batch_of(make_features, clips=2), stub(4)
    expected = 0.0
    for t, logits in enumerate(logits_of(module, batch)):
        target = batch.masks[:, t, 4::8, 4::8].numpy()
        log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
        picked = np.take_along_axis(log_p, np.minimum(target, 3)[:, None].astype(np.int64), 1)[:, 0]
        expected -= picked[target != 255].mean()
    assert module.training_step(batch, 0).item() == pytest.approx(expected, rel=1e-4)
    small = batch._replace(masks=batch.masks[:, :, 4::8, 4::8])  # as in a cache for training
    assert torch.equal(module.training_step(small, 0), module.training_step(batch, 0))


def test_channels_last_is_the_plain_form_but_for_rounding(make_features: Any) -> None:
    features = make_features(clips=3)
    taken = features.take(torch.arange(3))
    batch = taken.map(Tensor.double)._replace(masks=taken.masks)
    assert batch.key_dec.is_contiguous(memory_format=torch.channels_last)
    for genotype in RandomSearch(SearchSpace(5, 16), seed=2).ask(6):
        torch.manual_seed(0)
        module = CellModule(DynamicCell(genotype), nn.Conv2d(64, 4, 3, padding=1), CellTraining()).double()
        assert any(
            weight.dim() == 4 and not weight.is_contiguous() for weight in module.cell.parameters()
        )  # or there is nothing to compare
        losses, gradients = [], []
        for form, inputs in ((torch.channels_last, batch), (torch.contiguous_format, batch.map(Tensor.contiguous))):
            module.cell.to(memory_format=form)
            module.zero_grad()
            loss = module.training_step(inputs, 0)
            loss.backward()  # type: ignore[no-untyped-call]
            losses.append(loss.detach())
            gradients.append([p.grad.clone() for p in module.cell.parameters() if p.grad is not None])
        torch.testing.assert_close(*losses)
        for fast, plain in zip(*gradients, strict=True):
            torch.testing.assert_close(fast, plain, rtol=1e-4, atol=1e-6)


def test_gradients_go_through_dec(make_features: Any) -> None:
    """The loss of frame 2 alone teaches frame 1: with one step, not w but w + w^2 stands before the inputs."""
    batch, module = batch_of(make_features, clips=2), stub(4)
    batch.masks[:, 0] = 255
    module.training_step(batch, 0).backward()  # type: ignore[no-untyped-call]
    (found,) = (parameter.grad for parameter in module.cell.parameters())
    step = 1e-2
    losses = []
    for value in (0.5 + step, 0.5 - step):
        module.cell.weight.data.fill_(value)  # type: ignore[operator]
        losses.append(module.training_step(batch, 0).item())
    assert found is not None
    assert found.item() == pytest.approx((losses[0] - losses[1]) / (2 * step), rel=1e-2)


def test_nothing_labelled_costs_nothing(make_features: Any) -> None:
    batch = batch_of(make_features, clips=2)
    batch.masks.fill_(255)
    module = CellModule(DynamicCell(GENOTYPE), nn.Conv2d(64, 4, 1), CellTraining())
    loss = module.training_step(batch, 0)
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == 0
    assert all(p.grad is not None and not p.grad.any() for p in module.cell.parameters())


@pytest.mark.parametrize("past", ["previous", "zero"])
def test_what_a_cell_sees(make_features: Any, past: Past) -> None:
    torch.manual_seed(0)
    module = CellModule(DynamicCell(GENOTYPE), nn.Conv2d(64, 4, 1), CellTraining(), past).eval()
    batch, other = batch_of(make_features), batch_of(make_features, seed=1)
    before = list(module(batch))
    for changed in (batch._replace(key_layer4=other.key_layer4), batch._replace(key_dec=other.key_dec)):
        for old, new in zip(before, module(changed), strict=True):
            assert torch.equal(old, new) is (past == "zero")
    swapped = batch._replace(**{name: getattr(batch, name).flip(1) for name in ("layer2", "layer3", "layer4")})
    same = [torch.allclose(old, new) for old, new in zip(before, reversed(list(module(swapped))), strict=True)]
    assert same == [past == "zero"] * 2


def test_a_fit_trains_the_cell_alone(make_features: Any, tmp_path: Path) -> None:
    static = nn.Conv2d(64, 4, 3, padding=1)
    module = CellModule(DynamicCell(GENOTYPE), static, CellTraining(epochs=1, batch_size=2))
    classifier = {name: value.clone() for name, value in static.state_dict().items()}
    cell = {name: value.clone() for name, value in module.cell.named_parameters()}
    trainer = quiet_trainer(tmp_path, 1, [], enable_checkpointing=False, accelerator="cpu")
    fit(trainer, module, train_dataloaders=FeatureBatches(make_features(), 2))
    assert trainer.global_step == 2
    for copy in (static, module.classifier):
        assert all(torch.equal(value, classifier[name]) for name, value in copy.state_dict().items())
    assert module.classifier.weight.grad is None
    assert static.weight.requires_grad  # the copy is frozen, not the network's own
    assert not any(torch.equal(value, cell[name]) for name, value in module.cell.named_parameters())
    assert list(tmp_path.iterdir()) == []


def test_nan_stops_at_once(make_features: Any) -> None:
    batch, module = batch_of(make_features), stub(4)
    batch.layer2[0, 1, 0, 0] = torch.nan
    with pytest.raises(NonFiniteError, match="loss nan in epoch 1, batch 3"):
        module.training_step(batch, 2)
    with pytest.raises(NonFiniteError, match="logits are not finite"):
        module.score([batch])


def test_scores_by_hand(make_features: Any) -> None:
    """Masks as large as the logits, so that nothing is resized; three batches, the last one smaller."""
    features, module = make_features(clips=5, classes=3), stub(3)
    features = features._replace(masks=features.masks[:, :, ::8, ::8])
    predicted = np.stack([logits.argmax(1) for logits in logits_of(module, features)], 1)
    truth = features.masks.numpy()
    counts = np.zeros((3, 3))
    for t, p in zip(truth[truth != 255], predicted[truth != 255], strict=True):
        counts[t, p] += 1
    hits = np.diag(counts)
    iou = hits / (counts.sum(0) + counts.sum(1) - hits)
    shares = counts.sum(1) / counts.sum()
    module.train()
    scores = module.score(FeatureBatches(features, 2)).whole
    assert module.training
    assert counts.sum() == (truth != 255).sum() < truth.size
    assert scores.iou_per_class == pytest.approx(iou)
    assert scores.miou == pytest.approx(iou.mean())
    assert scores.fwiou == pytest.approx((shares * iou).sum())
    assert scores.macc == pytest.approx((hits / counts.sum(1)).mean())
    assert scores.score == pytest.approx((scores.miou * scores.fwiou * scores.macc) ** (1 / 3))


def test_scores_at_the_size_of_the_masks(make_features: Any) -> None:
    """Logits that are constant over the plane win everywhere, whatever the size of the masks."""
    features, module = make_features(classes=3), stub(3)
    module.classifier.weight.zero_()
    assert module.classifier.bias is not None
    module.classifier.bias.copy_(torch.tensor([0.0, 1.0, -1.0]))
    truth = features.masks
    share = (truth == 1).sum() / (truth != 255).sum()
    scores = module.score(FeatureBatches(features, 2)).whole
    assert scores.iou_per_class == pytest.approx((0, share.item(), 0))
    assert scores.macc == pytest.approx(1 / 3)
