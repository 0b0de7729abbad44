"""Statistics of ImageNet's RGB values in 0..1: every network here takes frames with these taken out."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
_LARGEST, _LEAST_STD = 10.0, 1e-3


def check_normalisation(mean: tuple[float, ...], std: tuple[float, ...]) -> None:
    """Refuses statistics that frames cannot have, and that would make infinity of them.

    Raises:
        ValueError: they are not three floats each, of which those of ``std`` are well above 0.
    """
    if not (len(mean) == len(std) == 3 and all(isinstance(value, float) for value in (*mean, *std))):
        raise ValueError("mean, std: expected three numbers each")
    if not all(-_LARGEST <= value <= _LARGEST for value in mean):
        raise ValueError(f"mean: found {list(mean)}, expected numbers of at most {_LARGEST:g}")
    if not all(_LEAST_STD <= value <= _LARGEST for value in std):
        raise ValueError(f"std: found {list(std)}, expected numbers in {_LEAST_STD:g}..{_LARGEST:g}")
