"""Hashes of all files of a data set, which later runs compare without reading the files; hashes known from before.

A flipped bit of a JPEG file decodes without complaint, so only a hash can tell.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from vseg_nas.errors import DataError
from vseg_nas.files import printable, read_regular, sha256_of, write_text
from vseg_nas.space import strict_json

FORMAT = "vseg_nas.manifest/1"
MAX_CHARACTERS = 2**28


class FileNote(NamedTuple):
    """What is known of a file: as long as size and modification time stay, its hash is taken as unchanged."""

    bytes: int
    mtime_ns: int
    sha256: str


class Manifest:
    """What `check` saw of a data set.

    Args:
        root: folder of the data set.
        notes: by path below it.
    """

    def __init__(self, root: Path, notes: Mapping[str, FileNote]) -> None:
        self.root = root.resolve()
        self.notes = dict(notes)

    @classmethod
    def of(cls, root: Path, digests: Mapping[Path, str]) -> "Manifest":
        """From the SHA-256 of every file."""
        found = {}
        for path, sha256 in digests.items():
            status = path.stat()
            found[_name(path, root)] = FileNote(status.st_size, status.st_mtime_ns, sha256)
        return cls(root, found)

    @classmethod
    def from_json(cls, text: str, path: Path) -> "Manifest":
        """Inverse of `to_json`; ``path`` is for complaints.

        Raises:
            DataError: it is damaged.
        """
        try:
            match strict_json.loads(text, MAX_CHARACTERS):
                case {"format": format, "root": str(root), "files": dict(files)} if format == FORMAT:
                    return cls(Path(root), {str(name): _note(value) for name, value in files.items()})
        except ValueError as error:
            raise DataError(f"{path}: damaged ({str(error)[:80]}); make it anew with `check`") from error
        raise DataError(f"{path}: found another schema, expected {FORMAT}; make it anew with `check`")

    def to_json(self) -> str:
        """For the file."""
        return json.dumps({"format": FORMAT, "root": printable(str(self.root)), "files": self.notes}, indent=0)

    def is_of(self, root: Path) -> bool:
        """Whether it tells of the files below a folder."""
        return printable(str(self.root)) == printable(str(root.resolve()))

    def verify(self, root: Path, files: Sequence[Path]) -> None:
        """Compares files below a root with what was seen; those with a new time are read again.

        Raises:
            DataError: a file is not what it was, or was not there.
        """
        for path in files:
            note = self.notes.get(_name(path, root))
            if note is None:
                raise DataError(f"{path}: found no note of it from `check`, expected one; run `check` again")
            status = path.stat()
            if (status.st_size, status.st_mtime_ns) != note[:2] and sha256_of(path) != note.sha256:
                raise DataError(f"{path}: changed since `check` read it; restore the file or run `check` again")


Track = Callable[[Sequence[Path]], Iterable[Path]]
"""Hands files on, and shows how far it is."""


class KnownDigests:
    """SHA-256 of files, which are read again only when their size or modification time has changed.

    Args:
        store: JSON file that keeps what is known between processes; None keeps it in this one. A damaged one is made
            anew.
    """

    def __init__(self, store: Path | None = None) -> None:
        self._store = store
        self._notes: dict[str, FileNote] | None = None

    def of(self, files: Sequence[Path], track: Track = iter) -> list[str]:
        """The digests of some files, in their order.

        Args:
            files: to look at.
            track: shows how far reading those is that are not known.

        Raises:
            DataError: a file cannot be read.
            RunError: what is known cannot be kept.
        """
        if self._notes is None:
            self._notes = self._load()
        folders = {folder: folder.resolve() for folder in {path.parent for path in files}}
        places = [folders[path.parent] / path.name for path in files]
        names = [printable(str(place)) for place in places]
        notes = {name: _unread(place) for name, place in zip(names, places, strict=True)}
        unknown = {}
        for name, place in zip(names, places, strict=True):
            known = self._notes.get(name)
            if known is not None and known[:2] == notes[name][:2]:
                notes[name] = known
            else:
                unknown[place] = name
        for place in track(list(unknown)):
            notes[unknown[place]] = _read(place)
        if self._store is not None and unknown:
            write_text(self._store, json.dumps(self._notes | notes, indent=0))
        self._notes |= notes
        return [notes[name].sha256 for name in names]

    def _load(self) -> dict[str, FileNote]:
        if self._store is None:
            return {}
        try:
            content = strict_json.loads(read_regular(self._store, MAX_CHARACTERS).decode(), MAX_CHARACTERS)
            return {str(name): _note(value) for name, value in content.items()} if isinstance(content, dict) else {}
        except (OSError, ValueError):
            return {}


def _unread(path: Path) -> FileNote:
    """What the folder says of a file; no hash yet."""
    try:
        status = path.stat()
    except OSError as error:
        raise _unreadable(path, error) from error
    return FileNote(status.st_size, status.st_mtime_ns, "")


def _read(path: Path) -> FileNote:
    note = _unread(path)
    try:
        return note._replace(sha256=sha256_of(path))
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> DataError:
    return DataError(f"{path}: found no readable file ({error.strerror}), expected one of the data")


def _name(path: Path, root: Path) -> str:
    """Of a file in a manifest."""
    return printable(path.relative_to(root).as_posix())


def _note(value: object) -> FileNote:
    match value:
        case [int(size), int(mtime_ns), str(sha256)]:
            return FileNote(size, mtime_ns, sha256)
    raise ValueError("found a file without size, time and hash")
