"""What may be found: the vocabulary, cells as data, and the space they form. Pure Python."""

from vseg_nas.space.genotype import Genotype, Layer, Width
from vseg_nas.space.search_space import SearchSpace

__all__ = ["Genotype", "Layer", "SearchSpace", "Width"]
