"""SHA-256 of files and of content in memory, and the files in which digests are stored.

A run directory stores the digests of what its run reads, and a checkpoint has a checksum file beside it. Both have the
form of ``sha256sum``: a digest, two blanks and a name on each line.
"""

import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path

from vseg_nas.errors import DataError, first_line
from vseg_nas.runs.files import open_regular, read_note, read_regular, write_text

WEIGHTS_NOTE = "static.sha256"
"""File of a run directory: the digest of the static network that its trials were measured with."""
DATA_NOTE = "data.sha256"
"""File of a run directory: the digest of every frame and mask that the run reads."""
ENCODER_NOTE = "encoder.sha256"
"""File of the run directory of a pre-training: the digest of the weights that the encoder begins with."""
CHECKPOINT_NOTE = "checkpoint.sha256"
"""File of the run directory of an evaluation: the digest of each network that it scores."""

_DIGESTS = "digests of what the run reads"
_MOST_NOTE_BYTES = 1024
_MOST_DIGESTS_BYTES = 2**26
_MOST_CHECKSUM_BYTES = 2**16


def digest_of(*parts: str | bytes | memoryview) -> str:
    """Returns the SHA-256 of some parts, one after the other, in hexadecimal; text counts as UTF-8."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.encode() if isinstance(part, str) else part)
    return digest.hexdigest()


def sha256_of(path: Path) -> str:
    """Returns the SHA-256 of the content of a regular file, in hexadecimal.

    Raises:
        OSError: The file cannot be read, or it is not a regular file.
    """
    with os.fdopen(open_regular(path, os.O_RDONLY, follow=True), "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_lines(digests: Mapping[str, str]) -> str:
    """Returns digests by name in the form of ``sha256sum``."""
    return "".join(f"{digest}  {name}\n" for name, digest in digests.items())


def parse_digest_lines(text: str) -> dict[str, str]:
    """Returns the digests by name that `digest_lines` has written; odd lines give odd digests, which match nothing."""
    return {name: digest for digest, _, name in (line.partition("  ") for line in text.splitlines())}


def keep_weights_digest(run_dir: Path, weights: Path) -> None:
    """Stores the digest of the static network in a run, or compares it with the one that an earlier start stored.

    Raises:
        DataError: The trials of this run were measured with other weights, or the weights cannot be read.
    """
    if not weights.is_file():
        raise DataError(f"static.weights: found no {weights}, expected the static network that {run_dir} began with")
    try:
        digest = sha256_of(weights)
    except OSError as error:
        raise DataError(f"{weights}: not readable ({error.strerror})") from error
    path = run_dir / WEIGHTS_NOTE
    stored = read_note(path, _MOST_NOTE_BYTES, _DIGESTS)
    if stored is None:
        write_text(path, digest)
    elif stored != digest.encode():
        raise DataError(f"{weights}: changed since {run_dir} began; put the old file back or start a new run")


def kept_weights_digest(run_dir: Path) -> str | None:
    """Returns the digest of the static network that `keep_weights_digest` has stored in a run; None if there is none.

    Raises:
        DataError: The file cannot be read, or it holds no SHA-256.
    """
    path = run_dir / WEIGHTS_NOTE
    stored = read_note(path, _MOST_NOTE_BYTES, _DIGESTS)
    if stored is not None and not re.fullmatch(rb"[0-9a-f]{64}", stored):
        raise DataError(f"{path}: found {stored[:40]!r}, expected the SHA-256 of the static network")
    return None if stored is None else stored.decode()


def keep_digests(path: Path, digests: Mapping[str, str], key: str) -> None:
    """Stores the digests of what a run reads, or compares them with those that an earlier start stored.

    So a run resumes with the same content wherever that lies now, and with no other content.

    Args:
        path: The file of digests in the run directory.
        digests: The SHA-256 of everything that the run reads, by name, in an order that matters.
        key: The configuration key that says where it lies, for the error message.

    Raises:
        DataError: The content is not what the run began with; the message names what differs.
    """
    text = digest_lines(digests)
    stored = read_note(path, _MOST_DIGESTS_BYTES, _DIGESTS)
    if stored is None:
        write_text(path, text)
        return
    if stored.decode(errors="replace") != text:
        began = parse_digest_lines(stored.decode(errors="replace"))
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


def checksum_path(path: Path) -> Path:
    """Returns the path of the checksum file of a file: ``last.ckpt.sha256`` for ``last.ckpt``.

    Each line begins with a digest that the file may have.
    """
    return path.with_name(f"{path.name}.sha256")


def verify_checksum(path: Path) -> None:
    """Compares a file with the checksum file beside it, as Lightning checkpoints of `train` have one.

    Raises:
        DataError: There is no checksum file, or the file is damaged.
    """
    file = checksum_path(path)
    try:
        digest = sha256_of(path)
        content = read_regular(file, _MOST_CHECKSUM_BYTES, follow=True).decode("ascii")
    except (OSError, ValueError) as error:
        raise DataError(f"{file}: cannot be read ({first_line(error)}), expected the SHA-256 of {path.name}") from error
    if digest not in [line.partition(" ")[0] for line in content.splitlines()]:
        raise DataError(f"{path}: damaged (its SHA-256 is not in {file.name})")
