"""Reading of the static network that other commands, and searches from Python, build on."""

from pathlib import Path

from vseg_nas.errors import DataError
from vseg_nas.models.static import StaticSegmenter


def load_static_for(weights: Path, classes: tuple[str, ...], dataset: str) -> StaticSegmenter:
    """Reads the static network of a data set.

    Args:
        weights: The file that `pretrain` wrote.
        classes: The classes of the data set.
        dataset: The name of the data set.

    Raises:
        DataError: The weights cannot be used, or belong to other classes.
    """
    network = StaticSegmenter.load(weights)
    if network.classes != classes:
        raise DataError(
            f"{weights}: trained for {len(network.classes)} classes ({network.classes[0]}, ...), "
            f"expected the {len(classes)} of {dataset}"
        )
    return network
