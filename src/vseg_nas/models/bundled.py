"""The bundled checkpoint: a trained network that is part of this package. This module loads no torch."""

from pathlib import Path

_NAME = "camvid_cpu_best_cell.safetensors"


def bundled_checkpoint() -> Path:
    """Returns the path of the bundled checkpoint, whose cell was found and trained on CamVid.

    It lies in ``weights`` beside ``src`` in a checkout, and inside the package in a wheel.
    """
    inside = Path(__file__).parents[1] / "weights" / _NAME
    return inside if inside.is_file() else Path(__file__).parents[3] / "weights" / _NAME
