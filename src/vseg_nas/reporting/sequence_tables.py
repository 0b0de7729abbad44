"""Tables that the paper does not have: scores of full sequences, far from a key frame, and temporal consistency."""

from collections.abc import Mapping, Sequence

from vseg_nas.reporting.score_tables import common_notes, trainings
from vseg_nas.reporting.table_formats import Cell, Column, Row, Table
from vseg_nas.results.evaluation_result import KEY_EVERY, SHOWN_KEY, EvaluationRow, rolling_key
from vseg_nas.results.methods import Method, Setting
from vseg_nas.results.numbers import percent_of_known
from vseg_nas.results.scores import AnyConsistency, Consistency, NotMeasured, RollingScores

OVERALL = tuple(map(rolling_key, KEY_EVERY))
BY_DISTANCE = (SHOWN_KEY, rolling_key(None))
TRUTH = "ground truth"
TRUTH_NOTE = (
    "ground truth: of the labels of the data set themselves, void left out. Steadier labels than these follow the "
    "flow, not the scene."
)
METRICS = {"vc8": "VC8", "vc16": "VC16", "tc": "TC"}
ROLLING_NOTES = (
    "Every sequence is labelled in order, with a key frame every K frames, or with one key frame at its start.",
    "mIoU: of one confusion matrix over all frames, key frames included. Average and minimum: of the mIoUs at each "
    "distance from the key frame; distances over 8 are put together (9 to 16, 17 to 32, ...).",
    "With K=1 all frames are key frames: of a cell, those are labelled by the static network that was trained with "
    "it. The static network per frame has nothing but key frames whatever K, and is scored on the same frames; so are "
    "averages of its logits, which run over the whole of each sequence.",
)
CONSISTENCY_NOTES = (
    "VC8, VC16: of the pixels whose true class stays the same over 8 or 16 frames, the share that is predicted as this "
    "class in all of them, as a mean over windows.",
    "TC: mIoU of the labels with those of the frame before, moved along optical flow.",
    "correct: as defined here. reference: as the scripts published with VSPW compute it, quirks included; the flow of "
    "its TC is RAFT there.",
)


def rolling_table(setting: Setting, found: Sequence[Method]) -> Table:
    """Returns scores of all frames for each number of frames between key frames, and their average and minimum."""
    columns = [Column("method", left=True), Column("trainings")]
    columns += [Column(f"mIoU, {_every(key)}, %") for key in OVERALL]
    columns += [Column(f"{name}, {_every(key)}, %") for key in BY_DISTANCE for name in ("average", "minimum")]
    notes = (*ROLLING_NOTES, *common_notes(found))
    return Table(f"Rolling over full sequences of {setting}", tuple(columns), (tuple(map(_rolling_row, found)),), notes)


def _every(key: str) -> str:
    return "one key frame" if key == rolling_key(None) else f"K={key}"


def _rolling_row(method: Method) -> Row:
    overall = [percent_of_known(rolled.miou for rolled in _rolled(method, key)) for key in OVERALL]
    by_distance: list[Cell] = []
    for key in BY_DISTANCE:
        by_distance.append(percent_of_known(rolled.average for rolled in _rolled(method, key)))
        by_distance.append(percent_of_known(rolled.minimum for rolled in _rolled(method, key)))
    return (method.label, trainings(method), *overall, *by_distance)


def _rolled(method: Method, key: str) -> list[RollingScores]:
    return [row.rolling[key] for row in method.rows if key in row.rolling]


def consistency_table(
    setting: Setting, found: Sequence[Method], truth: Mapping[str, AnyConsistency] | None = None
) -> Table:
    """Returns the table of VC8, VC16 and TC in both forms.

    Args:
        setting: The setting that all methods were measured in.
        found: The methods.
        truth: The temporal consistency of the ground truth itself; None if it was not measured.
    """
    columns = [Column("method", left=True), Column("trainings")]
    columns += [Column(f"{name} {form}, %") for name in METRICS.values() for form in ("correct", "reference")]
    rows = [row for method in found for row in method.rows]
    key_frames = (
        f"Of the labels of full sequences with a key frame every {setting.consistency_key_every} frames; for the "
        "static network per frame and averages of its logits, every frame is one."
    )
    notes = (key_frames, *CONSISTENCY_NOTES, *_flows(rows), *common_notes(found), *_skip_reasons(rows))
    ours = tuple((m.label, trainings(m), *_consistency([row.consistency for row in m.rows])) for m in found)
    bodies: tuple[tuple[Row, ...], ...] = (ours,)
    if truth:
        bodies, notes = (ours, ((TRUTH, None, *_consistency([truth])),)), (TRUTH_NOTE, *notes)
    return Table(f"Temporal consistency on {setting}", tuple(columns), bodies, notes)


def _consistency(measured: Sequence[Mapping[str, AnyConsistency]]) -> Row:
    cells: list[Cell] = []
    for key in METRICS:
        values = [value for one in measured if isinstance(value := one.get(key), Consistency)]
        cells.append(percent_of_known(value.correct for value in values))
        cells.append(percent_of_known(value.reference for value in values))
    return tuple(cells)


def _flows(rows: Sequence[EvaluationRow]) -> list[str]:
    values = [value for row in rows for value in row.consistency.values() if isinstance(value, Consistency)]
    flows = dict.fromkeys(value.flow for value in values if value.flow)
    return [f"Optical flow: {', '.join(flows)}."] if flows else []


def _skip_reasons(rows: Sequence[EvaluationRow]) -> list[str]:
    found = [(name, row.consistency.get(key)) for key, name in METRICS.items() for row in rows]
    skipped = (f"{name} is not measured: {why.skip_reason}." for name, why in found if isinstance(why, NotMeasured))
    return list(dict.fromkeys(skipped))
