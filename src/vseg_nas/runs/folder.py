"""What may lie in a run folder, which may be anybody's: regular files and folders, and links of W&B.

A run folder may be given away with symbolic links in it that lead to files of the reader, or with settings that send
the reader's key to another server. Such a folder is refused before anything in it is read or written.
"""

import os
from pathlib import Path

from vseg_nas.errors import RunError

_MOST_NESTED = 32  # folders inside each other; W&B needs four
_WANDB = "wandb"
_SERVICE_LOG = ("logs", "debug-core.log")  # in the folder of each W&B run: a link to a log in the user's cache
_WRITTEN_IN_PLACE = ("lock", "log", "search.sqlite", "search.sqlite-journal")  # all other files are replaced


def check_folder(folder: Path, to_write: bool = False) -> None:
    """Refuses a run folder that holds anything but regular files and folders; the folder itself may be a link.

    W&B links its newest run, and the log of its service, which lies in the user's cache. So links in the folder of W&B
    may stay that lead to somewhere in it, and so may that one link in the folder of a W&B run, to which nothing is
    written again. Settings of W&B may not: they could name another server, to which the user's key would be sent.

    Args:
        folder: The folder of a run. One that does not exist is accepted.
        to_write: Whether the run will write to the folder. Then no file that is written in place may be a hard link.

    Raises:
        RunError: The folder holds something else; the message names the first such thing.
    """
    wandb = folder / _WANDB
    waiting = [(folder, 0)]
    while waiting:
        current, depth = waiting.pop()
        if depth > _MOST_NESTED:
            raise RunError(f"{folder}: found folders inside folders, {depth} deep, expected at most {_MOST_NESTED}")
        try:
            with os.scandir(current) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise RunError(f"{current}: cannot be read ({error.strerror}), expected the folder of a run") from error
        for entry in found:
            path = current / entry.name
            if entry.is_dir(follow_symlinks=False):
                waiting.append((path, depth + 1))
            elif entry.is_symlink():
                stays = path != wandb and path.is_relative_to(wandb) and _real(path).is_relative_to(_real(wandb))
                is_service_log = path.parts[-2:] == _SERVICE_LOG and path.parents[2] == wandb
                if not stays and not is_service_log:
                    raise RunError(f"{path}: found a symbolic link, expected a file or folder of the run itself")
            elif not entry.is_file(follow_symlinks=False):
                raise RunError(f"{path}: found no regular file, expected files and folders alone")
            elif to_write and path.name in _WRITTEN_IN_PLACE and _link_count(path) > 1:
                raise RunError(f"{path}: found a hard link, expected a file of its own; copy the folder (cp -a)")
            elif path.name == "settings" and path.parent.name in (_WANDB, f".{_WANDB}"):
                raise RunError(f"{path}: found settings of W&B, expected none in a run folder")


def _link_count(path: Path) -> int:
    """Returns how many names a file has; 0 if it has disappeared, as a temporary file of another process does."""
    try:
        return os.lstat(path).st_nlink
    except FileNotFoundError:
        return 0


def _real(path: Path) -> Path:
    """Returns where a path leads; unlike `Path.resolve`, it raises nothing for links in a circle."""
    return Path(os.path.realpath(path))
