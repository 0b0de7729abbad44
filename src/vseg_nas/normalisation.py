"""Normalisation of frames. Every network here takes RGB values in 0..1, minus a mean, divided by a standard deviation.

The statistics are ImageNet's, because the encoder starts from weights that were trained with them.
"""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
_LARGEST, _LEAST_STD = 10.0, 1e-3  # bounds for statistics from untrusted files


def check_normalisation(mean: tuple[float, ...], std: tuple[float, ...]) -> None:
    """Checks statistics from an untrusted file: with a tiny standard deviation, frames would become infinite.

    Args:
        mean: Mean of each RGB channel, in units of 0..1.
        std: Standard deviation of each RGB channel, in the same units.

    Raises:
        ValueError: They are not three floats each, or a value is out of range.
    """
    if not (len(mean) == len(std) == 3 and all(isinstance(value, float) for value in (*mean, *std))):
        raise ValueError("mean, std: expected three numbers each")
    if not all(-_LARGEST <= value <= _LARGEST for value in mean):
        raise ValueError(f"mean: found {list(mean)}, expected numbers of at most {_LARGEST:g}")
    if not all(_LEAST_STD <= value <= _LARGEST for value in std):
        raise ValueError(f"std: found {list(std)}, expected numbers in {_LEAST_STD:g}..{_LARGEST:g}")
