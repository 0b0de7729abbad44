"""The search space: its vocabulary, cells as plain data, and the set of cells they form. Pure Python, no torch."""

from vseg_nas.space.genotype import Genotype, Layer, Width
from vseg_nas.space.search_space import SearchSpace

__all__ = ["Genotype", "Layer", "SearchSpace", "Width"]
