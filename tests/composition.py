"""Hydra reads the files of conf/ and composes them thousands of times in a session of tests; here each result is kept.

What is kept is kept as a pickle, so each command still gets a configuration of its own.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from typing import Any

from hydra._internal import defaults_list
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository, IConfigRepository
from hydra.core.default_element import ResultDefault
from hydra.core.utils import JobRuntime
from hydra.types import RunMode


def keep_in_memory(patch: Callable[[object, str, object], None]) -> None:
    """Replaces four functions of Hydra by ones that compute the same and remember it; errors are not remembered.

    Args:
        patch: Sets an attribute of an object, such as `pytest.MonkeyPatch.setattr`.
    """
    kept: dict[tuple[object, ...], bytes] = {}
    load, merge = ConfigRepository.load_config, ConfigLoaderImpl._compose_config_from_defaults_list
    choose, compose_all = defaults_list._create_defaults_list, ConfigLoaderImpl._load_configuration_impl

    def load_config(self: ConfigRepository, config_path: str) -> Any:
        key = ("file", config_path, *_sources(self))
        if key not in kept:
            kept[key] = pickle.dumps(load(self, config_path))
        return pickle.loads(kept[key])

    def compose(self: ConfigLoaderImpl, defaults: list[ResultDefault], repo: Any) -> Any:
        key = ("merged", repr(defaults), *_sources(repo))
        if key not in kept:
            kept[key] = pickle.dumps(merge(self, defaults, repo))
        return pickle.loads(kept[key])

    def create_defaults_list(
        repo: IConfigRepository, config_name: str | None, overrides: Any, prepend_hydra: bool, skip_missing: bool
    ) -> Any:
        """It changes `overrides` too, of which it does not read those of single keys."""
        state = {name: value for name, value in vars(overrides).items() if name != "config_overrides"}
        key = ("defaults", pickle.dumps(state), config_name, prepend_hydra, skip_missing, *_sources(repo))
        if key not in kept:
            found = choose(repo, config_name, overrides, prepend_hydra, skip_missing)
            kept[key] = pickle.dumps((found, {name: getattr(overrides, name) for name in state}))
        found, state = pickle.loads(kept[key])
        vars(overrides).update(state)
        return found

    def load_configuration(self: ConfigLoaderImpl, config_name: str | None, overrides: list[str], **how: Any) -> Any:
        """A command composes the same three times; what one run accepts is the same for any other way of running."""
        key = ("whole", config_name, *overrides, *_sources(self.repository))
        if key not in kept:
            config = compose_all(self, config_name, overrides, **how)
            if how["run_mode"] is not RunMode.RUN:
                return config
            kept[key] = pickle.dumps(config)
        config = pickle.loads(kept[key])
        config.hydra.runtime.cwd = os.getcwd()
        config.hydra.job.name = JobRuntime().get("name")
        return config

    patch(ConfigRepository, "load_config", load_config)
    patch(ConfigLoaderImpl, "_compose_config_from_defaults_list", compose)
    patch(defaults_list, "_create_defaults_list", create_defaults_list)
    patch(ConfigLoaderImpl, "_load_configuration_impl", load_configuration)


def _sources(repo: Any) -> tuple[str, ...]:
    return tuple(source.path for source in repo.get_sources())
