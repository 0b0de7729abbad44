import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fixtures import Json
from vseg_nas.errors import DataError
from vseg_nas.results import result
from vseg_nas.results.evaluation_result import EvaluationResult
from vseg_nas.results.result import read_result
from vseg_nas.results.runtime import BenchmarkResult
from vseg_nas.results.scores import Consistency, DistanceScore, NotMeasured, Quartiles

Change = Callable[[Json], object]


def read_evaluation(path: Path) -> EvaluationResult:
    return read_result(path, EvaluationResult)


def read_benchmark(path: Path) -> BenchmarkResult:
    return read_result(path, BenchmarkResult)


def written(path: Path, data: Json) -> Path:
    path.write_text(json.dumps(data))
    return path


def one_line(path: Path, read: Callable[[Path], object]) -> str:
    with pytest.raises(DataError) as error:
        read(path)
    message = str(error.value)
    assert len(message.splitlines()) == 1
    assert message.startswith(f"{path}: ")
    assert len(message) < len(str(path)) + 250
    return message.removeprefix(f"{path}: ")


def test_an_evaluation_is_read_back(evaluation_data: Json, tmp_path: Path) -> None:
    results = read_evaluation(written(tmp_path / "evaluate.json", evaluation_data))
    assert (results.dataset, results.split, results.size) == ("camvid", "val", (360, 480))
    static, _, one, _ = results.rows
    assert (results.consistency_key_every, results.rolling_skip_reason) == (5, None)
    assert (static.cell, static.seed, static.recipe) == (None, None, None)
    assert one.cell is not None
    assert one.cell.genotype.expression() == evaluation_data["rows"][2]["expression"]
    assert one.cell.key == (one.cell.genotype.key, "previous", False)
    assert (one.recipe, one.checkpoint) == ("r1", "runs/train/one/video.safetensors")
    assert (one.seed, one.parameters, one.cell_parameters) == (1, 3_147_371, 300_000)
    assert one.pair.iou_per_class == (0.51, 0.255, None)
    assert one.rolling["5"].by_distance[2] == DistanceScore(distance=2, frames=4, miou=0.51 - 0.02)
    assert one.rolling["never"].minimum == pytest.approx(0.51 - 0.17)
    assert one.consistency == {
        "vc8": Consistency(correct=0.51, reference=0.51, windows=7, flow=None),
        "tc": NotMeasured(skip_reason="frames are 1 s apart"),
    }


def test_a_trained_network_without_a_cell_is_read_back(tuned_data: Json, tmp_path: Path) -> None:
    results = read_evaluation(written(tmp_path / "evaluate.json", tuned_data))
    tuned = results.rows[4]
    assert tuned.group == "static per frame, fine-tuned"
    assert (tuned.cell, tuned.seed, tuned.recipe, tuned.cell_parameters) == (None, 1, "r1", 0)


def test_a_benchmark_is_read_back(benchmark_data: Json, tmp_path: Path) -> None:
    results = read_benchmark(written(tmp_path / "benchmark.json", benchmark_data))
    arch2, cell = results.rows
    assert (arch2.dynamic_ms, arch2.average_ms, arch2.macs_dynamic) == (None, None, None)
    assert arch2.cell is None
    assert cell.cell is not None
    assert cell.cell.key == (cell.cell.genotype.key, "previous", False)
    assert cell.average("5") == Quartiles(median=42.4, low=41.4, high=44.4)
    assert (results.size, results.repeats, cell.peak_mib) == ((1024, 2048), 20, 700.5)


def test_frames_without_labels_have_no_score(evaluation_data: Json, tmp_path: Path) -> None:
    rolling = evaluation_data["rows"][0]["rolling"]["5"]
    rolling |= {"by_distance": [{"distance": 0, "frames": 0, "miou": None}], "average": None, "minimum": None}
    results = read_evaluation(written(tmp_path / "evaluate.json", evaluation_data))
    assert results.rows[0].rolling["5"].by_distance == (DistanceScore(distance=0, frames=0, miou=None),)


BROKEN: list[tuple[Change, str]] = [
    (lambda d: d.pop("rows"), "rows: found no such key"),
    (lambda d: d.update(format="vseg_nas.evaluation/1"), "format: found 'vseg_nas.evaluation/1', expected 'vseg"),
    (lambda d: d.update(format=None), "format: found None"),
    (lambda d: d.update(size=[360]), "size: found [360], expected 2 whole numbers"),
    (lambda d: d.update(size=[360, 0]), "size: found [360, 0]"),
    (lambda d: d.update(classes=["sky", 3]), "classes[1]: found 3, expected a string"),
    (lambda d: d.update(rows={}), "rows: found {}, expected a list"),
    (lambda d: d.update(seconds=True), "seconds: found True, expected a number"),
    (lambda d: d.update(dataset="x" * 20_000), "dataset: found 'xxx"),
    (lambda d: d["rows"].append("x" * 5000), "rows[4]: found 'xxx"),
    (lambda d: d["rows"][1].update(seed=-1), "rows[1].seed: found -1, expected a whole number"),
    (lambda d: d["rows"][1].update(parameters=1.5), "rows[1].parameters: found 1.5"),
    (lambda d: d["rows"][1].update(parameters=10**30), "expected a whole number of at most 63 bits"),
    (lambda d: d["rows"][2]["pair"].update(miou=51.0), "rows[2].pair.miou: found 51.0, expected a fraction"),
    (lambda d: d["rows"][2]["pair"].update(miou=None), "rows[2].pair.miou: found None"),
    (lambda d: d["rows"][2]["pair"].update(iou_per_class=[0.5]), "rows[2].pair.iou_per_class: found 1 values"),
    (lambda d: d["rows"][2]["genotype"].update(layers=[]), "rows[2].genotype: layers: found 0"),
    (lambda d: d["rows"][2].update(expression="out = a"), "rows[2].expression: found another cell"),
    (lambda d: d["rows"][2].update(flow=None), "rows[2].flow: found None, expected true or false"),
    (lambda d: d["rows"][2].update(flow=1), "rows[2].flow: found 1, expected true or false"),
    (lambda d: d["rows"][2].update(past=None), "rows[2].past: found None, expected a string"),
    (lambda d: d["rows"][0].update(past="zero"), "rows[0].past: found a value, expected null"),
    (lambda d: d["rows"][0].update(flow=False), "rows[0].flow: found a value, expected null"),
    (lambda d: d["rows"][0].update(expression="out = a"), "rows[0].expression: found a text, expected none"),
    (lambda d: d["rows"][0].update(recipe=3), "rows[0].recipe: found 3, expected a string"),
    (lambda d: d["rows"][0].pop("recipe"), "rows[0].recipe: found no such key"),
    (lambda d: d.update(consistency_key_every=None), "consistency_key_every: found None, expected a whole number"),
    (lambda d: d.update(rolling_skip_reason=True), "rolling_skip_reason: found True, expected a string"),
    (lambda d: d["rows"][2]["rolling"].update(soon={}), "rows[2].rolling: found the key 'soon', expected a number"),
    (lambda d: d["rows"][2]["rolling"].update({"2": 3}), "rows[2].rolling.2: found 3, expected an object"),
    (lambda d: d["rows"][2]["rolling"]["5"].update(average="0.5"), "rows[2].rolling.5.average: found '0.5'"),
    (lambda d: d["rows"][2]["consistency"].update(vc8=3), "rows[2].consistency.vc8: found 3, expected an object"),
    (lambda d: d.update(code="import os"), "code: found an unknown key, expected none but those of this format"),
    (lambda d: d["rows"][0]["pair"].update(x=1), "rows[0].pair.x: found an unknown key"),
    (lambda d: d["rows"][0].update({"y" * 5000: 1}), "found an unknown key"),
    (lambda d: d["rows"][2].update(seed=2**63), "expected a whole number of at most 63 bits"),
    (lambda d: d["panels"].append({"file": 1}), "panels[0].file: found 1, expected a string"),
]


@pytest.mark.parametrize(("change", "expected"), BROKEN)
def test_a_broken_evaluation_is_refused_in_one_line(
    change: Change, expected: str, evaluation_data: Json, tmp_path: Path
) -> None:
    change(evaluation_data)
    assert expected in one_line(written(tmp_path / "evaluate.json", evaluation_data), read_evaluation)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda d: d.update(format="vseg_nas.evaluation/1"), "expected 'vseg_nas.benchmark/1'"),
        (lambda d: d["rows"][1].pop("flow"), "rows[1].flow: found no such key"),
        (lambda d: d["rows"][0].update(flow=True), "rows[0].flow: found a value, expected null"),
        (lambda d: d["rows"][1]["static_ms"].update(median=-1), "rows[1].static_ms.median: found -1"),
        (lambda d: d["rows"][1]["average_ms"].update({"5": 40}), "rows[1].average_ms.5: found 40, expected an object"),
        (lambda d: d["rows"][0].pop("static_ms"), "rows[0].static_ms: found no such key"),
    ],
)
def test_a_broken_benchmark_is_refused_in_one_line(
    change: Change, expected: str, benchmark_data: Json, tmp_path: Path
) -> None:
    change(benchmark_data)
    assert expected in one_line(written(tmp_path / "benchmark.json", benchmark_data), read_benchmark)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[1]",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"format": NaN}',
        b'{"format": "a", "format": "a"}',
        b'{"seconds": ' + b"9" * 5000 + b"}",
    ],
)
def test_what_is_no_result_file_is_refused_in_one_line(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "evaluate.json"
    path.write_bytes(content)
    assert "found" in one_line(path, read_evaluation)


def test_a_repeated_key_is_refused(evaluation_data: Json, tmp_path: Path) -> None:
    path = written(tmp_path / "evaluate.json", evaluation_data)
    path.write_text(path.read_text().replace('"seconds": 12.5', '"seconds": 1, "seconds": 12.5'))
    assert "an object repeats a key" in one_line(path, read_evaluation)


@pytest.mark.parametrize("infinite", ["1e999", "-1e999"])
def test_numbers_beyond_floats_are_refused(infinite: str, evaluation_data: Json, tmp_path: Path) -> None:
    path = tmp_path / "evaluate.json"
    path.write_text(json.dumps(evaluation_data).replace('"seconds": 12.5', f'"seconds": {infinite}'))
    assert f"found '{infinite}', expected a finite number" in one_line(path, read_evaluation)


def test_a_missing_file_and_a_huge_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, evaluation_data: Json) -> None:
    assert "not readable" in one_line(tmp_path / "evaluate.json", read_evaluation)
    path = written(tmp_path / "evaluate.json", evaluation_data)
    monkeypatch.setattr(result, "MAX_BYTES", path.stat().st_size)
    read_evaluation(path)
    monkeypatch.setattr(result, "MAX_BYTES", path.stat().st_size - 1)
    assert "expected at most that" in one_line(path, read_evaluation)
