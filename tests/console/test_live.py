import io

import pytest
from rich.console import Console

from tests.fixtures import MakeTrials
from vseg_nas.console.live import LiveView
from vseg_nas.console.progress import FitView, track
from vseg_nas.console.search_progress import NEWEST, SearchProgress, TrialCounter
from vseg_nas.nas.history import best_cells, outcome_counts, scored
from vseg_nas.nas.listener import SearchListener
from vseg_nas.nas.settings import Budget
from vseg_nas.nas.trial import Trial


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def plain() -> tuple[Console, io.StringIO]:
    out = io.StringIO()
    return Console(file=out, width=40), out  # narrow: lines must not wrap all the same


def terminal() -> tuple[Console, io.StringIO]:
    out = io.StringIO()
    return Console(file=out, width=120, height=40, force_terminal=True, force_interactive=True), out


def drive(view: SearchListener, trials: list[Trial], known: int = 0) -> None:
    view.on_start(trials[:known], Budget(len(trials)))
    for i, trial in enumerate(trials[known:], known):
        view.on_trial_start(trial)
        view.on_epoch(trial, 1, 2, 0.25)
        view.on_epoch(trial, 2, 2, None)
        view.on_trial_end(trial, trials[: i + 1], {})
    view.on_end(trials)


def test_off_terminal_one_plain_line_a_trial(make_trials: MakeTrials) -> None:
    console, out = plain()
    trials = make_trials(10)
    drive(LiveView(console), trials)
    lines = out.getvalue().splitlines()
    assert len(lines) == 10
    for i, (line, trial) in enumerate(zip(lines, trials, strict=True)):
        assert line.startswith(f"[{i + 1}/10] trial {i} ")
        if trial.evaluation is not None:
            assert f"score {trial.evaluation.score:.4f}" in line
    assert lines[6].startswith("[7/10] trial 6 reused: ")
    assert lines[6].count("as trial 0") == 1
    assert lines[7].startswith("[8/10] trial 7 failed: NonFiniteError: the loss is nan in epoch 3")
    assert out.getvalue().replace("\n", "").isprintable()


@pytest.mark.parametrize("order", [list(range(60)), [*range(30), 45, *range(30, 45), *range(46, 60)]])
def test_counting_one_by_one_is_counting_all(make_trials: MakeTrials, order: list[int]) -> None:
    """Also where a trial ends after younger ones."""
    trials = [make_trials(60)[i] for i in order]
    counter = TrialCounter(trials[:7], 60)
    for count in range(8, 61):
        counter.add(trials[count - 1], trials[:count])
        so_far = sorted(trials[:count], key=lambda trial: trial.id)
        (best,) = best_cells(so_far, 1)
        recent = [cell.evaluation.score for cell in scored(so_far)][-10:]
        marks = (
            f"best {best.evaluation.score:.4f} (trial {best.trial.id})",
            f"mean of last {len(recent)}: {sum(recent) / len(recent):.4f}",
        )
        expected = SearchProgress(60, count, outcome_counts(so_far), tuple(so_far[-NEWEST:]), marks)
        assert counter.progress() == expected


def test_a_continued_search_says_so_and_counts_on(make_trials: MakeTrials) -> None:
    console, out = plain()
    drive(LiveView(console), make_trials(5), known=3)
    lines = out.getvalue().splitlines()
    assert lines[0] == "search: 3 of 5 trials had ended before"
    assert [line.split()[0] for line in lines[1:]] == ["[4/5]", "[5/5]"]


def test_time_left_from_the_pace_of_this_process(make_trials: MakeTrials) -> None:
    clock = Clock()
    view = LiveView(plain()[0], clock)
    trials = make_trials(6)
    view.on_start(trials[:2], Budget(10))  # 8 to go, the first 2 took no time of this process
    assert view.seconds_left() is None
    view.on_trial_start(trials[2])
    view.on_epoch(trials[2], 5, 10, None)
    clock.now += 30  # half a trial in 30 s: 60 s a trial, 7.5 trials to go
    assert view.seconds_left() == pytest.approx(450)
    view.on_trial_end(trials[2], trials[:3], {})
    clock.now += 30  # a trial in 60 s, 7 to go
    assert view.seconds_left() == pytest.approx(420)


def test_time_left_ends_with_the_hours_of_the_budget(make_trials: MakeTrials) -> None:
    clock = Clock()
    view = LiveView(plain()[0], clock)
    trials = make_trials(1)
    view.on_start([], Budget(1000, hours=1))
    clock.now += 600
    view.on_trial_end(trials[0], trials, {})
    assert view.seconds_left() == pytest.approx(3000)


def test_terminal_view_shows_the_search_and_gives_the_terminal_back(make_trials: MakeTrials) -> None:
    console, out = terminal()
    trials = make_trials(12)

    def interrupted_search() -> None:
        with LiveView(console) as view:
            view.on_start(trials[:8], Budget(12))
            view.on_trial_start(trials[8])
            view.on_epoch(trials[8], 3, 10, 0.1234)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted_search()
    text = out.getvalue()
    for part in ("8/12 trials", "trial 8", "epoch 3/10", "score 0.1234", "1 failed", "best 0."):
        assert part in text
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")  # the cursor is shown again


def test_track_off_terminal_prints_first_and_last_line() -> None:
    console, out = plain()
    assert list(track(iter("abc"), "caching features of the clips", 3, console)) == ["a", "b", "c"]
    first, last = out.getvalue().splitlines()
    assert first == "caching features of the clips: 3 items"
    assert last.startswith("caching features of the clips: done in ")


def test_track_on_a_terminal() -> None:
    console, out = terminal()
    assert list(track(range(4), "caching", 4, console)) == [0, 1, 2, 3]
    assert "4/4" in out.getvalue()


def test_fit_view() -> None:
    console, out = plain()
    with FitView("pre-training", console) as view:
        view.on_epoch(1, 20, {"loss": 1.23456, "mIoU": 0.5})
    assert out.getvalue() == "pre-training: epoch 1/20  loss 1.235  mIoU 0.5\n"
    console, out = terminal()
    with FitView("pre-training", console) as view:
        view.on_epoch(20, 20, {"mIoU": 0.5})
    assert "20/20" in out.getvalue()
    assert "mIoU 0.5" in out.getvalue()
