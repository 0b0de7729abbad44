"""SHA-256 of files and of content in memory, and the files in which digests are stored.

A run directory stores the digests of what its run reads. ``data.sha256``, ``encoder.sha256``, ``checkpoint.sha256``
and ``record.sha256`` have the form of ``sha256sum``: a digest, two blanks and a name on each line. ``static.sha256``
holds one digest, and the checksum file beside a checkpoint holds the digests that it may have, one a line.
"""

import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path

from vseg_nas.errors import DataError, first_line
from vseg_nas.runs.files import open_regular, read_if_there, read_regular, write_text

STATIC_DIGEST_FILE = "static.sha256"
"""File of a run directory: the digest of the static network that its trials were measured with."""
DATA_DIGESTS_FILE = "data.sha256"
"""File of a run directory: the digest of every frame and mask that the run reads."""
ENCODER_DIGEST_FILE = "encoder.sha256"
"""File of the run directory of a pre-training: the digest of the weights that the encoder begins with."""
CHECKPOINT_DIGESTS_FILE = "checkpoint.sha256"
"""File of the run directory of an evaluation: the digest of each network that it scores."""

_DIGESTS = "digests of what the run reads"
_SHA256 = re.compile("[0-9a-f]{64}")
_MOST_FEW_BYTES = 2**16  # a file of one digest or of a few
_MOST_LISTED_BYTES = 2**26  # a digest for every frame and mask of a data set


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


def store_or_compare_weights_digest(run_dir: Path, weights: Path) -> None:
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
    path = run_dir / STATIC_DIGEST_FILE
    stored = read_if_there(path, _MOST_FEW_BYTES, _DIGESTS)
    if stored is None:
        write_text(path, digest)
    elif stored != digest.encode():
        raise DataError(f"{weights}: changed since {run_dir} began; put the old file back or start a new run")


def stored_weights_digest(run_dir: Path) -> str | None:
    """Returns what `store_or_compare_weights_digest` has stored in a run; None if there is nothing.

    Raises:
        DataError: The file cannot be read, or it holds no SHA-256.
    """
    path = run_dir / STATIC_DIGEST_FILE
    stored = read_if_there(path, _MOST_FEW_BYTES, _DIGESTS)
    if stored is None:
        return None
    digest = stored.decode(errors="replace")
    if not _SHA256.fullmatch(digest):
        raise DataError(f"{path}: found {stored[:40]!r}, expected the SHA-256 of the static network")
    return digest


def store_or_compare_digests(path: Path, digests: Mapping[str, str], key: str) -> None:
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
    stored = read_if_there(path, _MOST_LISTED_BYTES, _DIGESTS)
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
    """Returns the path of the checksum file of a file: ``last.ckpt.sha256`` for ``last.ckpt``."""
    return path.with_name(f"{path.name}.sha256")


def checksums_of(path: Path, follow: bool = False) -> list[str]:
    """Returns the digests that a file may have: what each line of the checksum file beside it begins with.

    Args:
        path: The file.
        follow: Whether the checksum file may be a link, as in `open_regular`.

    Raises:
        OSError: There is no checksum file, or it cannot be read.
        UnicodeDecodeError: It holds no text.
        ValueError: It holds something else than digests, or none.
    """
    content = read_regular(checksum_path(path), _MOST_FEW_BYTES, follow).decode("ascii")
    digests = [line.partition(" ")[0] for line in content.splitlines()]
    if not digests or not all(map(_SHA256.fullmatch, digests)):
        raise ValueError("damaged, expected SHA-256 digests")
    return digests


def verify_checksum(path: Path) -> None:
    """Compares a file with the checksum file beside it, as Lightning checkpoints of `train` have one.

    Raises:
        DataError: There is no checksum file, or the file is damaged.
    """
    file = checksum_path(path)
    try:
        digest, digests = sha256_of(path), checksums_of(path, follow=True)
    except (OSError, ValueError) as error:
        raise DataError(f"{file}: cannot be read ({first_line(error)}), expected the SHA-256 of {path.name}") from error
    if digest not in digests:
        raise DataError(f"{path}: damaged (its SHA-256 is not in {file.name})")
