from tests.fixtures import Json, WriteRun
from vseg_nas.reporting.opened_runs import open_runs
from vseg_nas.reporting.sequence_tables import consistency_table, rolling_table
from vseg_nas.reporting.table_formats import Table
from vseg_nas.results.methods import Method, Setting, methods
from vseg_nas.results.scores import AnyConsistency, Consistency


def shown(table: Table) -> list[dict[str, str]]:
    """Each row by the titles of its columns."""
    titles = [column.title for column in table.columns]
    return [dict(zip(titles, ["-" if c is None else str(c) for c in row], strict=True)) for row in table.rows]


def only(data: Json, write_run: WriteRun) -> tuple[Setting, list[Method]]:
    ((setting, found),) = methods(open_runs([write_run("first", "evaluate.json", data)]).evaluations).items()
    return setting, found


def measured(correct: float, reference: float, flow: str | None = None) -> Json:
    return {"correct": correct, "reference": reference, "windows": 9, "flow": flow}


def test_rolling_by_hand(evaluation_data: Json, write_run: WriteRun) -> None:
    one, two = (row["rolling"] for row in evaluation_data["rows"][2:])
    for index, key in enumerate(("1", "2", "5", "never")):
        one[key]["miou"], two[key]["miou"] = 0.9 - 0.1 * index, 0.8 - 0.1 * index
    one["5"] |= {"average": 0.45, "minimum": 0.40}
    two["5"] |= {"average": 0.43, "minimum": 0.32}
    one["never"] |= {"average": 0.35, "minimum": 0.25}
    two["never"] |= {"average": 0.33, "minimum": 0.19}
    rows = shown(rolling_table(*only(evaluation_data, write_run)))
    assert rows[2] == {  # of two values the deviation is the difference by the root of 2
        "method": "best cell",
        "trainings": "2",
        "mIoU, K=1, %": "85.0 ± 7.1",
        "mIoU, K=2, %": "75.0 ± 7.1",
        "mIoU, K=5, %": "65.0 ± 7.1",
        "mIoU, one key frame, %": "55.0 ± 7.1",
        "average, K=5, %": "44.0 ± 1.4",
        "minimum, K=5, %": "36.0 ± 5.7",
        "average, one key frame, %": "34.0 ± 1.4",
        "minimum, one key frame, %": "22.0 ± 4.2",
    }
    assert rows[0]["trainings"] == "-"


def test_rolling_that_was_not_scored_is_missing(evaluation_data: Json, write_run: WriteRun) -> None:
    del evaluation_data["rows"][1]["rolling"]["2"]
    evaluation_data["rows"][1]["rolling"]["5"] |= {"average": None, "minimum": None}
    row = shown(rolling_table(*only(evaluation_data, write_run)))[1]
    assert (row["mIoU, K=2, %"], row["average, K=5, %"], row["minimum, K=5, %"]) == ("-", "-", "-")
    assert row["mIoU, K=5, %"] == "40.0"


def test_consistency_by_hand(evaluation_data: Json, write_run: WriteRun) -> None:
    one, two = evaluation_data["rows"][2:]
    flow = "DIS (OpenCV)"
    one["consistency"] = {"vc8": measured(0.8, 0.9), "vc16": measured(0.7, 0.75), "tc": measured(0.5, 0.4, flow)}
    two["consistency"] = {"vc8": measured(0.6, 0.7), "vc16": measured(0.7, 0.75), "tc": measured(0.6, 0.5, flow)}
    evaluation_data["consistency_key_every"] = 7
    table = consistency_table(*only(evaluation_data, write_run))
    assert shown(table)[2] == {
        "method": "best cell",
        "trainings": "2",
        "VC8 correct, %": "70.0 ± 14.1",
        "VC8 reference, %": "80.0 ± 14.1",
        "VC16 correct, %": "70.0 ± 0.0",
        "VC16 reference, %": "75.0 ± 0.0",
        "TC correct, %": "55.0 ± 7.1",
        "TC reference, %": "45.0 ± 7.1",
    }
    assert "Optical flow: DIS (OpenCV)." in table.notes
    assert "with a key frame every 7 frames" in table.notes[0]


def test_the_truth_is_a_row_of_its_own(evaluation_data: Json, write_run: WriteRun) -> None:
    setting, found = only(evaluation_data, write_run)
    truth: dict[str, AnyConsistency] = {
        "vc8": Consistency(correct=1.0, reference=1.0, windows=7, flow=None),
        "tc": Consistency(correct=0.862, reference=0.75, windows=9, flow="DIS (OpenCV)"),
    }
    table = consistency_table(setting, found, truth)
    assert len(table.bodies[0]) == len(found)
    assert shown(table)[-1] == {
        "method": "ground truth",
        "trainings": "-",
        "VC8 correct, %": "100.0",
        "VC8 reference, %": "100.0",
        "VC16 correct, %": "-",
        "VC16 reference, %": "-",
        "TC correct, %": "86.2",
        "TC reference, %": "75.0",
    }


def test_what_was_refused_is_named_once(evaluation_data: Json, write_run: WriteRun) -> None:
    table = consistency_table(*only(evaluation_data, write_run))
    assert [row["TC correct, %"] for row in shown(table)] == ["-", "-", "-"]
    assert [row["VC8 correct, %"] for row in shown(table)] == ["50.0", "40.0", "52.5 ± 2.1"]
    assert [note for note in table.notes if "not measured" in note] == ["TC is not measured: frames are 1 s apart."]
    assert not [note for note in table.notes if note.startswith("Optical flow")]
