"""Clips of video with masks: data sets, transforms and splits.

The names are those of `vseg_nas.data.public`, which is imported when the first of them is asked for: it loads torch,
and commands import `vseg_nas.data.settings` before they want that. `ClipDataModule` has to be imported from
`vseg_nas.data.datamodule`, because Lightning is slow to import and nothing else here needs it.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vseg_nas.data.public import *  # noqa: F403
else:

    def __getattr__(name: str) -> object:
        if not name.startswith("__"):  # what Python and debuggers look for in any module
            names = import_module(f"{__name__}.public")
            if name in names.__all__:
                return getattr(names, name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
