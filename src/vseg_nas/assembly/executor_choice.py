"""The choice of the executor, which depends on the devices that this machine has."""

from vseg_nas.nas.executors.settings import ExecutorSettings, RaySettings, SerialSettings
from vseg_nas.schema import SearchConfig
from vseg_nas.training.device import Device, open_device


def executor_of(config: SearchConfig, device: Device | None = None) -> ExecutorSettings:
    """Returns the executor of the configuration; with ``gpu=many`` and several devices, Ray in place of `serial`.

    Args:
        config: The configuration of `search`.
        device: The device, if it is known already.
    """
    if not isinstance(config.executor, SerialSettings) or config.gpu.devices == 1:
        return config.executor
    if (device or open_device(config.gpu)).count() == 1:
        return config.executor
    return RaySettings(mode="async" if config.phase.search.batch == 1 else "batch", workers=config.gpu.devices)
