import json
import os
import pickle
from pathlib import Path
from urllib.error import URLError

import pytest
import pytorch_lightning as pl
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.models import MobileNet_V2_Weights, mobilenet_v2

from tests.builders import equal
from vseg_nas.errors import DataError
from vseg_nas.models.mobilenet_v2 import MobileNetV2Encoder, load_encoder
from vseg_nas.models.static import StaticSegmenter
from vseg_nas.models.weights import write_safetensors

CLASSES = ("road", "sky", "car")
FRAMES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


class Holder(pl.LightningModule):
    def __init__(self, network: StaticSegmenter) -> None:
        super().__init__()
        self.network = network
        self.norm = nn.BatchNorm2d(3)


def copied(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def randomised(network: nn.Module) -> None:
    """Running statistics away from their initial 0 and 1, so that losing them shows."""
    generator = torch.Generator().manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.uniform_(-0.2, 0.2, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)


def test_frozen_means_frozen() -> None:
    network = StaticSegmenter(CLASSES).freeze()
    before, expected = copied(network), network(FRAMES).pred
    holder = Holder(network)
    for wake in (network.train, holder.train, lambda: holder.train(True)):
        wake()
        output = network(FRAMES)
        assert torch.equal(output.pred, expected)
        assert not output.pred.requires_grad
        assert output.auxiliary == []
        assert not any(module.training for module in network.modules())
        assert equal(copied(network), before)
    assert holder.norm.training
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_not_frozen_means_not_frozen() -> None:
    network = StaticSegmenter(CLASSES)
    before = copied(network)
    assert network.train()(FRAMES).pred.requires_grad
    after = copied(network)
    name = "encoder.stages.0.0.1.running_mean"
    assert not torch.equal(after[name], before[name])


def test_round_trip(tmp_path: Path) -> None:
    network = StaticSegmenter(CLASSES)
    randomised(network)
    path = tmp_path / "static.safetensors"
    network.to(memory_format=torch.channels_last).save(path)
    loaded = StaticSegmenter.load(path)
    assert loaded.classes == CLASSES
    assert not loaded.training
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    kept = {name: value for name, value in network.state_dict().items() if not name.startswith("decoder.auxiliary.")}
    assert equal(copied(loaded), kept)
    assert len(kept) < len(network.state_dict())
    torch.testing.assert_close(loaded(FRAMES).pred, network.eval()(FRAMES).pred, rtol=1e-4, atol=1e-5)


def test_unusable_files_are_named(tmp_path: Path) -> None:
    good = tmp_path / "good.safetensors"
    StaticSegmenter(CLASSES, auxiliary=False).save(good)
    missing, garbage, cut, other, misfit = (tmp_path / f"{name}.safetensors" for name in "mgcox")
    garbage.write_bytes(b"not weights at all")
    cut.write_bytes(good.read_bytes()[:-100])
    save_file({"weight": torch.zeros(1)}, other)
    metadata = {"format": "vseg_nas.static/1", "classes": json.dumps(CLASSES)}
    write_safetensors({"weight": torch.zeros(1)}, metadata, misfit)
    for path in (missing, garbage, cut, other, misfit, tmp_path):
        with pytest.raises(DataError) as error:
            StaticSegmenter.load(path)
        assert str(path) in str(error.value)
        assert "\n" not in str(error.value)


@pytest.fixture(scope="module")
def reference() -> nn.Module:
    """torchvision's whole network, with weights of nobody."""
    torch.manual_seed(3)
    network: nn.Module = mobilenet_v2(weights=None)
    randomised(network)
    return network.eval()


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_encoder_takes_over_torchvision(reference: nn.Module, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pth":
        torch.save(reference.state_dict(), path)
    else:
        save_file(reference.state_dict(), path)
    encoder = MobileNetV2Encoder().eval()
    load_encoder(encoder, str(path))
    features = reference.features
    assert isinstance(features, nn.Sequential)
    with torch.no_grad():
        for tap, end in zip(encoder(FRAMES), (4, 7, 14, 18), strict=True):
            torch.testing.assert_close(tap, features[:end](FRAMES), rtol=1e-4, atol=1e-5)


def test_expansion_starts_as_the_identity_in_training_too(reference: nn.Module) -> None:
    generator = torch.Generator().manual_seed(2)
    state = reference.state_dict()
    state["features.0.1.weight"] = torch.rand(32, generator=generator) * 3
    state["features.0.1.bias"] = torch.rand(32, generator=generator) * 4 - 1
    encoder = MobileNetV2Encoder().train()
    encoder.load_torchvision(state, "reference")
    stem, expansion = list(encoder.stages[0].children())[:2]
    with torch.no_grad():
        x = stem(torch.randn(4, 3, 128, 128, generator=generator))  # what a convolution makes of noise is normal
        assert (expansion(x) - x).norm() < 0.02 * x.norm()
        assert (expansion.eval()(x) - x).norm() < 0.02 * x.norm()  # after one step of its running statistics


class Payload:
    """Makes a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.path),)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_nothing_in_a_file_is_executed(tmp_path: Path) -> None:
    made = tmp_path / "made"
    pickled = pickle.dumps({"features.0.0.weight": Payload(made)})
    pickle.loads(pickled)
    assert made.is_dir()  # the trap works
    made.rmdir()
    for name in ("zipped.pth", "plain.pth"):
        path = tmp_path / name
        if name == "zipped.pth":
            torch.save({"features.0.0.weight": Payload(made)}, path)
        else:
            path.write_bytes(pickled)
        with pytest.raises(DataError) as error:
            load_encoder(MobileNetV2Encoder(), str(path))
        assert str(path) in str(error.value)
        assert not made.exists()


def test_unusable_weights_are_named(reference: nn.Module, tmp_path: Path) -> None:
    state = reference.state_dict()
    name = "features.4.conv.0.0.weight"
    files = {
        "renamed.pth": {key.replace("features", "module.features"): value for key, value in state.items()},
        "lacking.pth": {key: value for key, value in state.items() if key != name},
        "shape.pth": state | {name: state[name][:-1]},
        "nested.pth": {"state_dict": state},
    }
    for file, content in files.items():
        torch.save(content, tmp_path / file)
    for file in ("garbage.pth", "garbage.safetensors"):
        (tmp_path / file).write_bytes(b"\x80\x02garbage")
    (tmp_path / "empty.pth").touch()
    encoder = MobileNetV2Encoder()
    before = copied(encoder)
    for file in (*files, "garbage.pth", "garbage.safetensors", "empty.pth", "missing.pth"):
        with pytest.raises(DataError) as error:
            load_encoder(encoder, str(tmp_path / file))
        assert str(tmp_path / file) in str(error.value)
        assert "\n" not in str(error.value)
        assert equal(copied(encoder), before)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_random_bytes_never_escape_as_another_error(tmp_path: Path) -> None:
    rng, path, encoder = torch.Generator().manual_seed(0), tmp_path / "random.pth", MobileNetV2Encoder()
    for _ in range(300):
        length = int(torch.randint(1, 40, (), generator=rng))
        path.write_bytes(b"\x80\x02" + bytes(torch.randint(256, (length,), generator=rng).tolist()))
        with pytest.raises(DataError):
            load_encoder(encoder, str(path))


def test_without_weights_nothing_changes() -> None:
    encoder = MobileNetV2Encoder()
    before = copied(encoder)
    load_encoder(encoder, None)
    assert equal(copied(encoder), before)


@pytest.mark.parametrize("failure", [URLError("no route"), RuntimeError("invalid hash value"), TimeoutError()])
def test_failed_download_says_what_to_do(monkeypatch: pytest.MonkeyPatch, failure: Exception) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise failure

    monkeypatch.setattr(MobileNet_V2_Weights, "get_state_dict", fail)
    with pytest.raises(DataError, match=r"encoder_weights.*give the path of a local"):
        load_encoder(MobileNetV2Encoder(), "imagenet")


REAL = os.environ.get("VSEG_NAS_ENCODER_WEIGHTS", "")


@pytest.mark.skipif(not REAL, reason="VSEG_NAS_ENCODER_WEIGHTS names no file of ImageNet weights")
def test_real_weights_load() -> None:
    encoder = MobileNetV2Encoder().eval()
    load_encoder(encoder, REAL)
    with torch.no_grad():
        taps = encoder(FRAMES)
    assert all(tap.isfinite().all() for tap in taps)
    norm = encoder.state_dict()["stages.0.0.1.running_var"]
    assert norm.std() > 0.1  # statistics of real images, not the initial ones
