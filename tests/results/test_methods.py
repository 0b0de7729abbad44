import json
from pathlib import Path

import pytest

from tests.fixtures import Json, WriteRun
from vseg_nas.reporting.opened_runs import open_runs
from vseg_nas.results.methods import Method, Setting, methods
from vseg_nas.space import Genotype, Layer

MIRRORED = Genotype((Layer(2, 1, 5, 0, 1), Layer(5, 1, 2, 2, 5)))
"""The cell of `evaluation_data` with the sides of its first layer exchanged, which are concatenated."""


def copied(data: Json) -> Json:
    return json.loads(json.dumps(data))  # type: ignore[no-any-return]


def found_in(*folders: Path) -> dict[Setting, list[Method]]:
    return methods(open_runs(folders).evaluations)


def labels(*folders: Path) -> list[tuple[str, int | None]]:
    ((_, found),) = found_in(*folders).items()
    return [(method.label, method.trainings) for method in found]


def test_an_evaluation_named_twice_or_repeated_counts_once(evaluation_data: Json, write_run: WriteRun) -> None:
    first = write_run("first", "evaluate.json", evaluation_data)
    again = write_run("again", "evaluate.json", evaluation_data)
    ((_, found),) = found_in(first, first, again).items()
    assert [(method.label, method.trainings) for method in found] == [
        ("static per frame", None),
        ("previous labels copied", None),
        ("best cell", 2),
    ]


def test_seeds_of_two_evaluations_are_one_method(evaluation_data: Json, write_run: WriteRun) -> None:
    other = copied(evaluation_data)
    other["rows"][3] |= {"seed": 3, "checkpoint": "runs/train/three"}
    ((_, found),) = found_in(
        write_run("first", "evaluate.json", evaluation_data), write_run("second", "evaluate.json", other)
    ).items()
    assert [row.seed for row in found[-1].rows] == [1, 2, 3]


def test_two_static_networks_are_two_methods(evaluation_data: Json, write_run: WriteRun) -> None:
    other = copied(evaluation_data)
    other["rows"][0]["pair"]["miou"] = 0.6
    ((_, found),) = found_in(
        write_run("first", "evaluate.json", evaluation_data), write_run("second", "evaluate.json", other)
    ).items()
    assert [m.label for m in found if m.is_static] == ["static per frame (first)", "static per frame (second)"]


def test_the_name_and_the_spelling_of_a_cell_do_not_matter(evaluation_data: Json, write_run: WriteRun) -> None:
    cell = {"genotype": MIRRORED.to_dict(), "expression": MIRRORED.expression()}
    assert cell["expression"] != evaluation_data["rows"][2]["expression"]
    evaluation_data["rows"][3] |= cell | {"group": "first:1"}
    assert labels(write_run("first", "evaluate.json", evaluation_data))[2:] == [("best cell", 2)]


OTHER = Genotype((Layer(0, 1, 0, 5, 1),))


@pytest.mark.parametrize(
    "change",
    [
        {"recipe": "r2"},
        {"past": "zero"},
        {"flow": True},
        {"genotype": OTHER.to_dict(), "expression": OTHER.expression()},
    ],
)
def test_what_was_trained_otherwise_is_another_method(change: Json, evaluation_data: Json, write_run: WriteRun) -> None:
    evaluation_data["rows"][3] |= change
    found = labels(write_run("first", "evaluate.json", evaluation_data))
    assert found[2:] == [("best cell (first, one)", 1), ("best cell (first, two)", 1)]


def test_another_recipe_in_another_evaluation_bears_its_name(evaluation_data: Json, write_run: WriteRun) -> None:
    other = copied(evaluation_data)
    for row in other["rows"][2:]:
        row["recipe"] = "r2"
    runs = [write_run(name, "evaluate.json", data) for name, data in (("long", evaluation_data), ("short", other))]
    assert labels(*runs)[2:] == [("best cell (long)", 2), ("best cell (short)", 2)]


def test_two_trainings_of_one_seed_count_both(evaluation_data: Json, write_run: WriteRun) -> None:
    evaluation_data["rows"][3]["seed"] = 1
    assert labels(write_run("first", "evaluate.json", evaluation_data))[2:] == [("best cell", 2)]


def test_the_fine_tuned_static_network_is_a_method_of_its_own(tuned_data: Json, write_run: WriteRun) -> None:
    ((_, found),) = found_in(write_run("first", "evaluate.json", tuned_data)).items()
    assert [(method.label, method.trainings, method.is_static, method.is_tuned_static) for method in found] == [
        ("static per frame", None, True, False),
        ("previous labels copied", None, False, False),
        ("best cell", 2, False, False),
        ("static per frame, fine-tuned", 2, False, True),
        ("previous labels copied, fine-tuned", 2, False, False),
    ]


def test_jobs_of_a_sweep_are_not_named_by_their_number(evaluation_data: Json, write_run: WriteRun) -> None:
    evaluation_data["rows"][2]["checkpoint"] = "runs/train/sweep/0/video.safetensors"
    evaluation_data["rows"][3] |= {"checkpoint": "runs/train/sweep/1/video.safetensors", "recipe": "r2"}
    found = labels(write_run("first", "evaluate.json", evaluation_data))
    assert [label for label, _ in found[2:]] == ["best cell (first, sweep/0)", "best cell (first, sweep/1)"]


def test_consistency_of_other_key_frames_is_another_setting(evaluation_data: Json, write_run: WriteRun) -> None:
    first = write_run("first", "evaluate.json", evaluation_data)
    second = write_run("second", "evaluate.json", evaluation_data | {"consistency_key_every": 2})
    assert [setting.consistency_key_every for setting in found_in(first, second)] == [5, 2]
