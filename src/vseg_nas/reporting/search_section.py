"""Sections of a report on searches: Figures 3, 4 and 7, best cells, score against size."""

from collections.abc import Collection, Mapping, Sequence

from vseg_nas.figures.cell_drawing import draw_genotype
from vseg_nas.figures.pareto import draw_search_trade_off
from vseg_nas.figures.search_curves import draw_reward_bands, draw_reward_curve, draw_token_shares
from vseg_nas.nas.history import Outcome, Scored, best_cells, ended, outcome, outcome_counts, scored
from vseg_nas.nas.trial import Trial
from vseg_nas.nas.trial_rows import REPORTED_CELLS, write_trials_csv
from vseg_nas.reporting.opened_runs import SearchRun
from vseg_nas.reporting.page import Block, Picture, Section
from vseg_nas.reporting.report_folder import ReportFolder
from vseg_nas.reporting.search_files import ranking_table
from vseg_nas.reporting.search_tables import group_searches, search_table


def reward_section(searches: Sequence[SearchRun], folder: ReportFolder) -> list[Section]:
    """Returns the section with the table of groups of searches and Figure 3; none before a candidate has ended."""
    begun = [run for run in searches if ended(run.trials)]
    if not begun:
        return []
    groups = [(group, [begun[i].trials for i in group.members]) for group in group_searches([r.config for r in begun])]
    table = folder.table("searches", search_table(groups), [run.command for run in begun])
    curves = {group.name: [trials for trials in searches if scored(trials)] for group, searches in groups}
    known = {name: searches for name, searches in curves.items() if searches}
    figure = [_rewards(known, [run.command for run in begun], folder)] if known else []
    return [Section("Searches", (table, *figure))]


def _rewards(groups: Mapping[str, Sequence[Sequence[Trial]]], commands: Sequence[str], folder: ReportFolder) -> Picture:
    caption = (
        "Running mean of the score (geometric mean of mIoU, frequency-weighted IoU and mean accuracy) on meta-val, "
        "by candidate. Searches that differ in their seed only are one line, the mean over the seeds; its band "
        "reaches from the least to the greatest seed, and it ends where the shortest of them ends. Failed "
        "candidates have no score. Scores on different data sets are not comparable."
    )
    files = folder.figure("figure-3-rewards", draw_reward_bands(groups))
    return Picture("Figure 3: rewards", caption, files, tuple(commands))


def search_section(run: SearchRun, folder: ReportFolder, evaluated: Collection[str]) -> list[Section]:
    """Returns the section of one search; none before its first candidate has ended.

    Args:
        run: The search.
        folder: Takes the files of the section.
        evaluated: The canonical keys of cells that an evaluation of this report has scored.
    """
    if not ended(run.trials):
        return []
    blocks: list[Block] = [_reward_curve(run, folder), _shares(run, folder)]
    if any(outcome(cell.trial) == Outcome.COMPLETE for cell in scored(run.trials)):
        blocks.append(_trade_off(run, folder, evaluated))
    for best in best_cells(run.trials, 1):
        title = f"Best {REPORTED_CELLS} different cells of {run.name}"
        table = ranking_table(run.trials, REPORTED_CELLS, title)
        blocks += [folder.table(f"{run.name} best cells", table, [run.command]), _drawing(run, best, folder)]
    folder.save(f"{run.name} trials", lambda stem: [write_trials_csv(run.trials, stem.with_name(f"{stem.name}.csv"))])
    return [Section(f"Search {run.name}", tuple(blocks))]


def _reward_curve(run: SearchRun, folder: ReportFolder) -> Picture:
    counts = ", ".join(f"{count} {kind}" for kind, count in outcome_counts(run.trials).items() if count)
    caption = (
        "Each candidate's score on meta-val, the running mean and the best so far; "
        f"{len(ended(run.trials))} candidates ended: {counts}. "
        "Candidates stopped early show their score half-way; failed ones have none."
    )
    files = folder.figure(f"{run.name} rewards", draw_reward_curve(run.trials))
    return Picture(f"Rewards of {run.name}", caption, files, (run.command,))


def _shares(run: SearchRun, folder: ReportFolder) -> Picture:
    caption = (
        "Shares of operations, aggregations and inputs among the tokens of the last candidates. Dotted: what "
        "cells drawn uniformly would show."
    )
    files = folder.figure(f"{run.name} shares", draw_token_shares(run.trials))
    return Picture(f"Figure 4: what {run.name} sampled", caption, files, (run.command,))


def _trade_off(run: SearchRun, folder: ReportFolder, evaluated: Collection[str]) -> Picture:
    caption = (
        "Score on meta-val after the short training of the search, against the size of the cell. Joined: complete "
        "candidates that no other complete one beats in both. Ringed, if any: cells evaluated in this report."
    )
    files = folder.figure(f"{run.name} pareto", draw_search_trade_off(run.trials, evaluated))
    return Picture(f"Score against size in {run.name}", caption, files, (run.command,))


def _drawing(run: SearchRun, best: Scored, folder: ReportFolder) -> Picture:
    scores, genotype = best.evaluation, best.trial.genotype
    title = f"trial {best.trial.id}: score {scores.score:.4f}, mIoU {scores.miou:.4f}"
    files = folder.figure(f"{run.name} best cell", draw_genotype(genotype, title))
    return Picture(f"Figure 7: best cell of {run.name}", f"{genotype.expression()}.", files, (run.command,))
