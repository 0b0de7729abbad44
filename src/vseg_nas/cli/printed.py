"""Parts of commands that are printed to be typed next."""

import shlex
import shutil
import sys
from pathlib import Path

from vseg_nas.cli.values import shown
from vseg_nas.schema import NetworkConfig
from vseg_nas.settings import text_keys

_SHARED_KEYS = ("dataset", "experiment", "runs_dir", "static", "gpu", "phase.pretrain", "phase.train")


def python_command() -> str:
    """Returns how a shell starts this Python from the current folder: ``python`` if that is this one."""
    if shutil.which("python") == sys.executable:
        return "python"
    here = Path(sys.executable)
    return shlex.quote(str(here.relative_to(Path.cwd()) if here.is_relative_to(Path.cwd()) else here))


def shared_overrides() -> str:
    """Returns the part of this command line that every command on a data set takes, to print another command."""
    keys = tuple(f"{key}{sign}" for key in _SHARED_KEYS for sign in "=.")
    shared = [argument for argument in sys.argv[1:] if argument.startswith(keys)]
    one_device = ["gpu=one" if argument == "gpu=many" else argument for argument in shared]
    kept = (argument for argument in one_device if not argument.startswith("gpu.devices="))
    return shown(kept, text_keys(NetworkConfig))
