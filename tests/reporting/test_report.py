import io
import os
import re
import shutil
import subprocess
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from tests.builders import seal
from tests.fixtures import Json, MakeTrials, WriteRun, WriteSearch
from vseg_nas.console import progress
from vseg_nas.errors import DataError, RunError, UserError
from vseg_nas.reporting.build_report import build_report
from vseg_nas.reporting.opened_runs import open_runs
from vseg_nas.reporting.page import Picture, Section, TableBlock, page_html, slug
from vseg_nas.reporting.report_folder import ReportFolder
from vseg_nas.reporting.table_formats import Code, Column, Table
from vseg_nas.results.names import short_names, training_names
from vseg_nas.results.numbers import Number

HOSTILE = "<script>alert('&\"')</script>"
VOID_TAGS = {"meta", "img", "br", "hr", "input", "link"}


class Reader(HTMLParser):
    """Checks that tags are closed in order, and collects what a page refers to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: Counter[str] = Counter()
        self.ids: list[str] = []
        self.references: list[str] = []
        self.handlers: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        if tag not in VOID_TAGS:
            self.open.append(tag)
        for key, value in attrs:
            self.ids += [value or ""] if key == "id" else []
            self.references += [value or ""] if key in ("src", "href", "data", "action", "srcset") else []
            self.references += re.findall(r"url\((.*?)\)", value or "")
            self.handlers += [key] if key.startswith("on") else []

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        raise AssertionError(f"<{tag}/> is not closed in HTML")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@pytest.fixture
def report(
    make_trials: MakeTrials,
    evaluation_data: Json,
    benchmark_data: Json,
    write_search: WriteSearch,
    write_run: WriteRun,
    tmp_path: Path,
) -> list[Path]:
    """A report over two searches, an evaluation with a panel, a measurement, with names that look like markup."""
    name = HOSTILE.replace("/", "")
    evaluation_data["rows"][2]["group"] = evaluation_data["rows"][3]["group"] = HOSTILE
    evaluation_data |= {"machine": HOSTILE, "command": HOSTILE, "classes": [HOSTILE, "road", "sign_symbol"]}
    evaluation_data["panels"] = [{"file": "panels/one.png", "title": HOSTILE, "row": HOSTILE}]
    benchmark_data |= {"device": HOSTILE, "date": HOSTILE}
    evaluated = write_run(f"evaluate-{name}", "evaluate.json", evaluation_data)
    (evaluated / "panels").mkdir()
    Image.new("RGB", (40, 30), "red").save(evaluated / "panels" / "one.png")
    runs = [
        write_search(f"search-{name}", make_trials(20)),
        write_search("other", make_trials(14), "random", seed=1),
        evaluated,
        write_run("cpu", "benchmark.json", benchmark_data),
    ]
    return build_report(runs, tmp_path / "report")


def test_a_report_is_whole_self_contained_and_escaped(report: list[Path]) -> None:
    page, *files = report
    assert page.name == "report.html"
    assert all(path.is_file() and path.parent == page.parent for path in files)
    assert sorted(path.name for path in page.parent.iterdir()) == sorted(path.name for path in report)
    assert Counter(path.suffix for path in files) == {".md": 10, ".tex": 10, ".csv": 12, ".png": 13, ".svg": 12}

    text = page.read_text(encoding="utf-8")
    reader = Reader(text)
    assert reader.tags["script"] == reader.tags["link"] == reader.tags["iframe"] == 0
    assert reader.handlers == []
    assert "<script" not in text
    assert HOSTILE in "".join(reader.words)
    assert len(reader.ids) == len(set(reader.ids))
    anchors = [reference.removeprefix("#") for reference in reader.references if reference.startswith("#")]
    assert set(anchors) <= set(reader.ids)
    assert len(anchors) > 30
    others = [reference for reference in reader.references if not reference.startswith("#")]
    kinds = Counter(other.partition(",")[0] for other in others)
    assert kinds == {"data:image/svg+xml;base64": 12, "data:image/png;base64": 1}  # the panel
    assert not re.search(r"https?:|//www|@import|@font-face", text)
    assert reader.tags["svg"] == 0
    assert reader.tags["img"] == 13
    assert reader.tags["h1"] == 1
    assert reader.tags["figure"] == reader.tags["figcaption"] == 13
    assert '<td class="number">52.5<span class="spread"> ± 2.1</span></td>' in text
    assert '<td class="number">50.0<span class="room" aria-hidden="true"> ± 2.1</span></td>' in text
    captions = re.findall(r"<figcaption>.*?</figcaption>", text)
    assert all("<pre><code>" in caption for caption in captions)
    assert any("python -m vseg_nas.search seed=1" in caption for caption in captions)


@pytest.fixture
def browser() -> str:
    names = ("chromium", "chromium-browser", "google-chrome")
    for path in filter(None, map(shutil.which, names)):
        return path
    pytest.skip(f"no browser found, tried {', '.join(names)}")


def test_a_browser_shows_the_page_without_a_complaint(browser: str, report: list[Path], tmp_path: Path) -> None:
    picture = tmp_path / "page.png"
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--window-size=1200,2000"]
    command = [browser, *options, f"--user-data-dir={tmp_path / 'profile'}", f"--screenshot={picture}"]
    run = subprocess.run([*command, report[0].as_uri()], capture_output=True, text=True, check=True, timeout=240)
    assert "CONSOLE" not in run.stderr
    pixels = np.asarray(Image.open(picture).convert("RGB")).reshape(-1, 3)
    assert len(np.unique(pixels, axis=0)) > 100


def test_a_search_alone_and_one_that_has_just_begun(
    make_trials: MakeTrials, write_search: WriteSearch, tmp_path: Path
) -> None:
    page, *files = build_report([write_search("new", [])], tmp_path / "empty")
    assert [path.name for path in files] == ["runs.md", "runs.tex", "runs.csv"]
    Reader(page.read_text())
    failures = [trial for trial in make_trials(16) if trial.evaluation is None]
    page, *files = build_report([write_search("failed", failures)], tmp_path / "failed")
    assert "2 failed" in page.read_text()
    assert "searches.csv" in [path.name for path in files]
    assert not [path for path in files if path.name.startswith("figure-3")]


def test_a_data_set_without_labelled_sequences(evaluation_data: Json, write_run: WriteRun, tmp_path: Path) -> None:
    for row in evaluation_data["rows"]:
        row |= {"rolling": {}, "consistency": {}}
    evaluation_data |= {"dataset": "cityscapes", "rolling_skip_reason": "no two frames follow each other"}
    page, *files = build_report([write_run("first", "evaluate.json", evaluation_data)], tmp_path / "report")
    assert "Table 4. Segmentation scores on CityScapes" in page.read_text()
    assert "Full sequences are not scored: no two frames follow each other." in page.read_text()
    assert not [path for path in files if path.name.startswith(("rolling", "consistency"))]


def test_the_same_runs_make_the_same_report(
    evaluation_data: Json, benchmark_data: Json, write_run: WriteRun, tmp_path: Path
) -> None:
    runs = [write_run("a", "evaluate.json", evaluation_data), write_run("b", "benchmark.json", benchmark_data)]
    first = [path.read_bytes() for path in build_report(runs, tmp_path / "report")]
    assert [path.read_bytes() for path in build_report(runs, tmp_path / "report")] == first


@pytest.mark.parametrize(
    ("name", "expected"),
    [("../outside.png", "lies outside"), ("/etc/hostname", "lies outside"), ("missing.png", "not readable as PNG")],
)
def test_panels_are_pictures_of_the_run(
    name: str, expected: str, evaluation_data: Json, write_run: WriteRun, tmp_path: Path
) -> None:
    evaluation_data["panels"] = [{"file": name, "title": "a", "row": "b"}]
    run_dir = write_run("first", "evaluate.json", evaluation_data)
    Image.new("RGB", (4, 4)).save(run_dir.parent / "outside.png")
    with pytest.raises(DataError, match=expected):
        build_report([run_dir], tmp_path / "report")


def test_a_panel_that_is_no_picture_or_a_link_out_is_refused(
    evaluation_data: Json, write_run: WriteRun, tmp_path: Path
) -> None:
    evaluation_data["panels"] = [{"file": "a.png", "title": "a", "row": "b"}]
    run_dir = write_run("first", "evaluate.json", evaluation_data)
    (run_dir / "a.png").write_text("<svg onload='alert(1)'>")
    with pytest.raises(DataError, match="not readable as PNG"):
        build_report([run_dir], tmp_path / "report")
    (run_dir / "a.png").unlink()
    (run_dir / "a.png").symlink_to("/etc/hostname")
    with pytest.raises(RunError, match=r"a\.png: found a symbolic link"):
        build_report([run_dir], tmp_path / "report")


def test_what_holds_no_run_is_refused_in_one_line(
    make_trials: MakeTrials, write_search: WriteSearch, write_run: WriteRun, tmp_path: Path
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    mute = write_search("mute", make_trials(2))
    (mute / "overrides.json").unlink()
    nameless = write_search("nameless", make_trials(2))
    (nameless / "config.yaml").write_text("a: b\n")
    seal(nameless)
    garbled = write_search("garbled", make_trials(2))
    (garbled / "config.yaml").write_text("a: [\n")
    seal(garbled)
    torn = write_search("torn", make_trials(2))
    (torn / "search.sqlite").write_bytes(b"SQLite format 3\0" + b"x" * 100)
    broken = write_run("broken", "benchmark.json", {})
    cases: list[tuple[list[Path], type[UserError], str]] = [
        ([], RunError, "found none"),
        ([empty], RunError, "found no run, expected one of search.sqlite, evaluate.json, benchmark.json"),
        ([tmp_path / "missing"], RunError, "found no such directory"),
        ([mute], RunError, r"overrides.json: not readable \(No such file"),
        ([nameless], RunError, "dataset.name: found 'None', expected a name"),
        ([garbled], RunError, "config.yaml: not readable as YAML"),
        ([torn], RunError, "search.sqlite"),
        ([broken], DataError, "format: found None"),
    ]
    for runs, error, message in cases:
        with pytest.raises(error, match=message) as raised:
            build_report(runs, tmp_path / "report")
        assert len(str(raised.value).splitlines()) == 1
    assert not (tmp_path / "report").exists()


def test_a_run_named_twice_counts_once(benchmark_data: Json, write_run: WriteRun) -> None:
    run_dir = write_run("cpu", "benchmark.json", benchmark_data)
    assert len(open_runs([run_dir, run_dir / ".." / "cpu"]).benchmarks) == 1


def test_short_names_tell_runs_apart_and_are_no_numbers() -> None:
    assert short_names([Path("/a/x/one"), Path("/a/y/two")]) == ["one", "two"]
    assert short_names([Path("/a/x/one"), Path("/a/y/one")]) == ["x/one", "y/one"]
    assert short_names([Path("/a/sweep/0"), Path("/a/sweep/1")]) == ["sweep/0", "sweep/1"]
    assert short_names([Path("/0")]) == ["/0"]


def test_trainings_are_named_by_their_folder_or_file() -> None:
    def names(*files: str) -> list[str]:
        return list(training_names([Path(file) for file in files]).values())

    assert names() == []
    assert names("/t/one/video.safetensors", "/t/one/video.safetensors") == ["one"]
    assert names("/t/sweep/0/video.safetensors") == ["sweep/0"]
    assert names("/t/sweep/0/a.ckpt", "/t/sweep/1/a.ckpt") == ["sweep/0", "sweep/1"]
    assert names("/t/one/a.ckpt", "/t/one/b.ckpt") == ["a.ckpt", "b.ckpt"]


def test_no_file_of_a_report_takes_the_place_of_another(tmp_path: Path) -> None:
    folder = ReportFolder(tmp_path)
    for content in (b"one", b"two", b"three"):
        folder.copy("A b", ".png", content)
    folder.copy("a-b-2", ".png", b"four")
    assert [path.name for path in folder.written] == ["a-b.png", "a-b-2.png", "a-b-3.png", "a-b-2-2.png"]
    assert [path.read_bytes() for path in folder.written] == [b"one", b"two", b"three", b"four"]


def test_slugs_are_safe_file_names() -> None:
    assert slug("CamVid val, 480x360") == "camvid-val-480x360"
    assert slug("../../etc/passwd") == "etc-passwd"
    assert slug("\N{SNOWMAN}") == "run"
    assert len(slug("x" * 500)) == 60


def test_a_page_by_hand(tmp_path: Path) -> None:
    image = tmp_path / "a.png"
    Image.new("RGB", (2, 2)).save(image)
    columns = (Column("a", left=True), Column("b"))
    rows = (((Code("x<y"), None), ("t" * 25, Number(1, 0, quartiles=(0, 2)))),)
    sections = [
        Section("First & last", (TableBlock(Table("Table", columns, rows, ("n < 1",)), (), ("c1",)),)),
        Section("Second", (Picture("Title", "Caption", (image,), ("c1", "c1", "c2", "c3")),)),
    ]
    text = page_html("a < b", "intro", "made > by", sections)
    reader = Reader(text)
    assert "<title>a &lt; b</title>" in text
    assert '<td class="short"><code>x&lt;y</code></td><td class="number">-</td>' in text
    assert (
        f'<td class="long">{"t" * 25}</td><td class="number">1<span class="quartiles"> (0\N{EN DASH}2)</span>' in text
    )
    assert text.count("<pre><code>c1</code></pre>") == 2
    assert text.count("<details>") == 1  # three commands are folded away
    assert {"part-1", "part-1-1", "part-2", "part-2-1", "top"} == set(reader.ids)


def test_run_directories_whose_names_are_not_utf_8_are_escaped(
    make_trials: MakeTrials, write_search: WriteSearch, write_run: WriteRun, evaluation_data: Json, tmp_path: Path
) -> None:
    odd = os.fsdecode(b"caf\xe9")
    runs = [write_search(odd, make_trials(6)), write_run(f"{odd} 2", "evaluate.json", evaluation_data)]
    page, *files = build_report(runs, tmp_path / odd / "report")
    assert "caf\\udce9" in page.read_text(encoding="utf-8")
    assert any("caf\\udce9" in f.read_text(encoding="utf-8") for f in files if f.suffix == ".csv")


def test_reading_and_drawing_show_how_far_they_are(
    make_trials: MakeTrials, write_search: WriteSearch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Off a terminal, where nothing can be drawn over, in lines."""
    monkeypatch.setattr(progress, "_LINE_S", 0.0)
    for slow in ("reward_section", "search_section"):
        monkeypatch.setattr(f"vseg_nas.reporting.build_report.{slow}", lambda *_: [])
    written = io.StringIO()
    runs = [write_search(name, make_trials(3)) for name in ("a", "b", "c")]
    build_report(runs, tmp_path / "report", progress.tracked(Console(file=written)))
    lines = written.getvalue().splitlines()
    for verb in ("reading", "drawing"):
        shown = [line for line in lines if line.startswith(f"{verb} searches: ")]
        assert shown[:3] == [f"{verb} searches: {done}" for done in ("3 items", "1 of 3", "2 of 3")]
        assert shown[3].startswith(f"{verb} searches: done in")
