"""Checks a composed configuration against its schema and the disk."""

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from vseg_nas.data.settings import DatasetSettings, SyntheticSettings
from vseg_nas.errors import ConfigError, DataError
from vseg_nas.files import read_regular, sha256_of, write_text
from vseg_nas.schema import CommandConfig
from vseg_nas.settings import check_complete, validated

C = TypeVar("C", bound=CommandConfig)

_MOST_NOTE_BYTES = 1024
_BY_RESOLVER = "ConfigError raised while resolving interpolation: "  # what OmegaConf says before our reason

GENOTYPE_NOTE = "genotype.json"
"""File of a run directory: the cell that it trains."""
WEIGHTS_NOTE = "static.sha256"
"""File of a run directory: SHA-256 of the static network that its trials were measured with."""
DATA_NOTE = "data.sha256"
"""File of a run directory: SHA-256 of every frame and mask of its data."""
ENCODER_NOTE = "encoder.sha256"
"""File of the run directory of a pre-training: SHA-256 of the weights that the encoder begins with."""
CHECKPOINT_NOTE = "checkpoint.sha256"
"""File of the run directory of an evaluation: SHA-256 of each network that it scores."""
_MOST_DIGESTS_BYTES = 2**26


def check(config: DictConfig, schema: type[C]) -> C:
    """Returns the typed configuration.

    Raises:
        ConfigError: A key is unknown or missing, or a value has the wrong type or is out of range.
    """
    _check_references(config)
    if missing := sorted(map(str, OmegaConf.missing_keys(config))):
        raise ConfigError(f"{missing[0]}: not set, expected a value: {missing[0]}=...")
    typed = validated(schema, OmegaConf.to_container(config, resolve=True))
    check_complete(typed)
    return typed


def _check_references(config: DictConfig) -> None:
    """Follows every ``${key}``.

    Raises:
        ConfigError: One leads nowhere, or to itself.
    """
    try:
        OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException as error:
        key = str(error.full_key or "configuration")
        said = str(error).splitlines()[0]
        if said.startswith(_BY_RESOLVER):
            raise ConfigError(f"{error.full_key or ''}: {said.removeprefix(_BY_RESOLVER)[:300]}") from error
        found = str(OmegaConf.to_container(config, resolve=False) if error.full_key is None else _written(config, key))
        raise ConfigError(f"{key}: found {found[:80]}, expected a value: that reference leads nowhere") from error


def _written(config: DictConfig, key: str) -> object:
    """Returns the value of a key as it stands there, without following references."""
    node: object = OmegaConf.to_container(config, resolve=False)
    for name in key.split("."):
        node = node.get(name) if isinstance(node, dict) else None
    return node


_LAYOUT = {
    "camvid": "train/, trainannot/ and train.txt",
    "cityscapes": "leftImg8bit/, leftImg8bit_sequence/ and gtFine/",
}


def check_root(dataset: DatasetSettings) -> None:
    """Checks that the folder of a data set is there.

    Raises:
        DataError: It is not set or does not exist.
    """
    if isinstance(dataset, SyntheticSettings):
        return
    holds = _LAYOUT[dataset.name]
    if dataset.root is None:
        raise DataError(f"dataset.root: not set, expected the folder that holds {holds}")
    if not Path(dataset.root).is_dir():
        raise DataError(f"dataset.root: found no folder {dataset.root}, expected one that holds {holds}")


def keep_weights_digest(run_dir: Path, weights: Path) -> None:
    """Notes the SHA-256 of the static network in a run, or checks it against the note of an earlier start.

    Raises:
        DataError: trials of this run were measured with other weights, or they cannot be read.
    """
    if not weights.is_file():
        raise DataError(f"static.weights: found no {weights}, expected the static network that {run_dir} began with")
    try:
        digest = sha256_of(weights)
    except OSError as error:
        raise DataError(f"{weights}: not readable ({error.strerror})") from error
    note = run_dir / WEIGHTS_NOTE
    noted = _noted(note, _MOST_NOTE_BYTES)
    if noted is None:
        write_text(note, digest)
    elif noted != digest.encode():
        raise DataError(f"{weights}: changed since {run_dir} began; put the old file back or start a new run")


def _noted(path: Path, most: int) -> bytes | None:
    """Content of a note in a run directory; None where there is none yet."""
    try:
        return read_regular(path, most)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}), expected digests of what the run reads") from error


def keep_digests(path: Path, digests: Mapping[str, str], key: str) -> None:
    """Notes what a run reads, in the form of ``sha256sum``, or compares it with the note of an earlier start.

    So a run goes on with the same content wherever that lies now, and with no other.

    Args:
        path: of the note, in the run directory.
        digests: SHA-256 of everything, by name, in an order that matters.
        key: of the configuration, that names it.

    Raises:
        DataError: something is not what it was, with the names of what differs.
    """
    text = "".join(f"{digest}  {name}\n" for name, digest in digests.items())
    noted = _noted(path, _MOST_DIGESTS_BYTES)
    if noted is None:
        write_text(path, text)
        return
    stored = noted.decode(errors="replace")
    if stored != text:
        began = {name: digest for digest, _, name in (line.partition("  ") for line in stored.splitlines())}
        differing = [
            f"{name} {'changed' if name in digests and name in began else 'is missing' if name in began else 'is new'}"
            for name in sorted(began.keys() | digests.keys())
            if began.get(name) != digests.get(name)
        ] or ["their order"]
        more = f" and {len(differing) - 3} more" if len(differing) > 3 else ""
        raise DataError(
            f"{key}: not what {path.parent} began with: {', '.join(differing[:3])}{more}; "
            "give what it began with or start a new run"
        )
