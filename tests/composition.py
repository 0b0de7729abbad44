"""Hydra reads the files of conf/ and merges them hundreds of times in a session of tests; here it does so once.

What was read and what was merged is kept as a pickle, so each command still gets a configuration of its own.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository
from hydra.core.default_element import ResultDefault


def keep_in_memory(patch: Callable[[object, str, object], None]) -> None:
    """Replaces two functions of Hydra by ones that compute the same and remember it.

    Args:
        patch: Sets an attribute of an object, such as `pytest.MonkeyPatch.setattr`.
    """
    read: dict[tuple[str, ...], bytes] = {}
    merged: dict[tuple[str, ...], bytes] = {}
    load, merge = ConfigRepository.load_config, ConfigLoaderImpl._compose_config_from_defaults_list

    def load_config(self: ConfigRepository, config_path: str) -> Any:
        key = (config_path, *(source.path for source in self.get_sources()))
        if key not in read:
            read[key] = pickle.dumps(load(self, config_path))
        return pickle.loads(read[key])

    def compose(self: ConfigLoaderImpl, defaults: list[ResultDefault], repo: Any) -> Any:
        key = (repr(defaults), *(source.path for source in repo.get_sources()))
        if key not in merged:
            merged[key] = pickle.dumps(merge(self, defaults, repo))
        return pickle.loads(merged[key])

    patch(ConfigRepository, "load_config", load_config)
    patch(ConfigLoaderImpl, "_compose_config_from_defaults_list", compose)
