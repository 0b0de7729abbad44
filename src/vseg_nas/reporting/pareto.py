"""Which candidates no other beats in both cost and score."""

from collections.abc import Sequence


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Indices of the points that no other dominates, by ascending cost.

    A point dominates another if it costs no more and scores no less, and is better in one of the two; of equal
    points none dominates the other.

    Args:
        points: (cost, score); less cost and more score are better.
    """
    front: list[int] = []
    for index in sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1])):
        cost, score = points[index]
        if not front or score > points[front[-1]][1] or (cost, score) == points[front[-1]]:
            front.append(index)
    return front
