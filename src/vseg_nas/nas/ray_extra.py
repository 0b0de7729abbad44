"""Whether Ray is installed; stdlib only, so that a command can ask before it pays for any import."""

from importlib.util import find_spec

from vseg_nas.errors import ConfigError


def require_ray() -> None:
    """Looks for the optional dependency.

    Raises:
        ConfigError: it is not there.
    """
    if find_spec("ray") is None:
        raise ConfigError("executor: found ray, which is not installed, expected it: pip install 'vseg-nas[ray]'")
