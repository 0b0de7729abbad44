"""SHA-256 digests of all files of a data set, by which later commands notice that a file has changed.

Only a digest can tell: a JPEG file with a flipped bit decodes without an error. A file whose size and modification time
are as before is not read again.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from vseg_nas.errors import DataError
from vseg_nas.runs.digests import sha256_of
from vseg_nas.runs.files import printable, read_regular, write_text
from vseg_nas.space import strict_json

FORMAT = "vseg_nas.manifest/1"
MAX_CHARACTERS = 2**28


class FileRecord(NamedTuple):
    """The digest of a file, and the size and modification time by which a change is noticed without reading it."""

    bytes: int
    mtime_ns: int
    sha256: str


class Manifest:
    """The digests of a data set as `check` has read it.

    Args:
        root: The folder of the data set.
        records: The records of the files, by their paths below the folder.
    """

    def __init__(self, root: Path, records: Mapping[str, FileRecord]) -> None:
        self.root = root.resolve()
        self.records = dict(records)

    @classmethod
    def of(cls, root: Path, digests: Mapping[Path, str]) -> "Manifest":
        """Makes a manifest from the SHA-256 of every file."""
        found = {}
        for path, sha256 in digests.items():
            status = path.stat()
            found[_name(path, root)] = FileRecord(status.st_size, status.st_mtime_ns, sha256)
        return cls(root, found)

    @classmethod
    def from_json(cls, text: str, path: Path) -> "Manifest":
        """Reads what `to_json` wrote.

        Args:
            text: The content of the file.
            path: The path of the file, for error messages.

        Raises:
            DataError: The file is damaged or has another schema.
        """
        try:
            match strict_json.loads(text, MAX_CHARACTERS):
                case {"format": format, "root": str(root), "files": dict(files)} if format == FORMAT:
                    return cls(Path(root), {str(name): _record(value) for name, value in files.items()})
        except ValueError as error:
            raise DataError(f"{path}: damaged ({str(error)[:80]}); make it again with `check`") from error
        raise DataError(f"{path}: found another schema, expected {FORMAT}; make it again with `check`")

    def to_json(self) -> str:
        """Returns the manifest as JSON."""
        return json.dumps({"format": FORMAT, "root": printable(str(self.root)), "files": self.records}, indent=0)

    def is_of(self, root: Path) -> bool:
        """Returns whether this is the manifest of the data set in a folder."""
        return printable(str(self.root)) == printable(str(root.resolve()))

    def verify(self, root: Path, files: Sequence[Path]) -> None:
        """Compares files with their records; those with another size or modification time are read again.

        Args:
            root: The folder of the data set.
            files: The paths of files in it.

        Raises:
            DataError: A file has changed, or has no record.
        """
        for path in files:
            record = self.records.get(_name(path, root))
            if record is None:
                raise DataError(f"{path}: found no record of it from `check`, expected one; run `check` again")
            status = path.stat()
            if (status.st_size, status.st_mtime_ns) != record[:2] and sha256_of(path) != record.sha256:
                raise DataError(f"{path}: changed since `check` read it; restore the file or run `check` again")


TrackFiles = Callable[[Sequence[Path]], Iterable[Path]]
"""Called with files; yields them and shows the progress."""


class KnownDigests:
    """SHA-256 digests of files, which are read again only if their size or modification time has changed.

    Args:
        store: The JSON file that keeps the records for later processes; None keeps them in memory only. A damaged file
            is replaced.
    """

    def __init__(self, store: Path | None = None) -> None:
        self._store = store
        self._records: dict[str, FileRecord] | None = None

    def of(self, files: Sequence[Path], track: TrackFiles = iter) -> list[str]:
        """Returns the digests of files, in their order.

        Args:
            files: The paths of the files.
            track: Wraps the files that have to be read, to show the progress.

        Raises:
            DataError: A file cannot be read.
            RunError: The store cannot be written.
        """
        if self._records is None:
            self._records = self._load()
        folders = {folder: folder.resolve() for folder in {path.parent for path in files}}
        resolved = [folders[path.parent] / path.name for path in files]
        names = [printable(str(path)) for path in resolved]
        records = {name: _without_digest(path) for name, path in zip(names, resolved, strict=True)}
        unknown = {}
        for name, path in zip(names, resolved, strict=True):
            known = self._records.get(name)
            if known is not None and known[:2] == records[name][:2]:
                records[name] = known
            else:
                unknown[path] = name
        for path in track(list(unknown)):
            records[unknown[path]] = _read(path)
        if self._store is not None and unknown:
            write_text(self._store, json.dumps(self._records | records, indent=0))
        self._records |= records
        return [records[name].sha256 for name in names]

    def _load(self) -> dict[str, FileRecord]:
        if self._store is None:
            return {}
        try:
            content = strict_json.loads(read_regular(self._store, MAX_CHARACTERS).decode(), MAX_CHARACTERS)
            return {str(name): _record(value) for name, value in content.items()} if isinstance(content, dict) else {}
        except (OSError, ValueError):
            return {}


def _without_digest(path: Path) -> FileRecord:
    """Returns the record of a file without reading it, so with an empty digest."""
    try:
        status = path.stat()
    except OSError as error:
        raise _unreadable(path, error) from error
    return FileRecord(status.st_size, status.st_mtime_ns, "")


def _read(path: Path) -> FileRecord:
    record = _without_digest(path)
    try:
        return record._replace(sha256=sha256_of(path))
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> DataError:
    return DataError(f"{path}: found no readable file ({error.strerror}), expected one of the data")


def _name(path: Path, root: Path) -> str:
    """Returns the name of a file in a manifest."""
    return printable(path.relative_to(root).as_posix())


def _record(value: object) -> FileRecord:
    match value:
        case [int(size), int(mtime_ns), str(sha256)]:
            return FileRecord(size, mtime_ns, sha256)
    raise ValueError("found a file without size, time and hash")
