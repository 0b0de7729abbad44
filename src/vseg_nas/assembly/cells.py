"""The cells that a command line can name."""

import random
import re
from pathlib import Path
from reprlib import repr as brief

from vseg_nas.errors import ConfigError
from vseg_nas.models.settings import MAX_NAME
from vseg_nas.nas.history import best_cells
from vseg_nas.nas.store import STORE, TrialStore
from vseg_nas.runs.files import read_regular
from vseg_nas.runs.folder import check_folder
from vseg_nas.space import Genotype, SearchSpace
from vseg_nas.space.hand_written import HAND_WRITTEN
from vseg_nas.space.strict_json import MAX_CHARACTERS

STATIC_CELL = "static"
"""The value of ``cell=`` by which a training has no cell: the static network labels every frame."""


def trained_cell(text: str, past: str, flow: bool) -> Genotype | None:
    """Returns what `resolve_cell` does, but None for `STATIC_CELL`.

    Raises:
        ConfigError: There is no such cell, or a past is asked for and there is no cell to read it.
        RunError: The trial store of the run cannot be used.
    """
    if text != STATIC_CELL:
        return resolve_cell(text, flow)
    if past != "previous":
        raise ConfigError(f"past: found {past} with cell=static, expected previous: there is no cell to read another")
    if flow:
        raise ConfigError("flow: found true with cell=static, expected false: there is no cell to read what is warped")
    return None


def resolve_cell(text: str, flow: bool) -> Genotype:
    """Returns the genotype that ``cell=`` names.

    That is a hand-written one, ``RUN:RANK`` (1 is the best cell), ``random:LAYERS:SEED`` (uniform, of width 64), or a
    JSON file.

    Args:
        text: The value on the command line.
        flow: Whether the previous frame is warped along optical flow, which ``gated_warp`` needs.

    Raises:
        ConfigError: There is no such cell.
        RunError: The trial store of the run cannot be used.
    """
    if text == "gated_warp" and not flow:
        raise ConfigError("cell: found gated_warp with flow=false, expected flow=true: it is made for warped features")
    if text in HAND_WRITTEN:
        return HAND_WRITTEN[text]
    if drawn := re.fullmatch(r"random:([0-9]{1,3}):([0-9]{1,9})", text):
        return _drawn(int(drawn[1]), int(drawn[2]))
    run, _, rank = text.rpartition(":")
    if run and (Path(run) / STORE).is_file():
        return _ranked(Path(run), rank)
    path = Path(text)
    if not path.is_file():
        raise ConfigError(
            f"cell: found {text[:100]!r}, expected a JSON file, the directory of a search and a rank (DIR:1), "
            f"random:LAYERS:SEED, or one of: {', '.join(HAND_WRITTEN)}"
        )
    try:
        return Genotype.from_json(read_regular(path, MAX_CHARACTERS, follow=True).decode())
    except OSError as error:
        raise ConfigError(f"cell: {path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise ConfigError(f"cell: {path}: {error}") from error


def cell_name(text: str) -> str:
    """Returns the name of a cell in tables: ``RUN:RANK`` or the name of a file, without folders.

    Args:
        text: A value of ``cell=`` that `resolve_cell` takes.
    """
    run, _, rank = text.rpartition(":")
    is_ranked = bool(run) and (Path(run) / STORE).is_file()
    name = f"{Path(run).resolve().name}:{rank}" if is_ranked else Path(text).name.removesuffix(".json")
    return "".join(character if character.isprintable() else "?" for character in name)[-MAX_NAME:] or "cell"


def _drawn(layers: int, seed: int) -> Genotype:
    try:
        return SearchSpace(layers).sample(random.Random(seed))
    except ValueError as error:
        raise ConfigError(f"cell: {error}") from error


def _ranked(run: Path, rank: str) -> Genotype:
    check_folder(run)
    with TrialStore.read(run / STORE) as store:
        trials = store.trials()
    cells = best_cells(trials, len(trials))
    if not (re.fullmatch("[0-9]{1,9}", rank) and 1 <= int(rank) <= len(cells)):
        raise ConfigError(f"cell: found rank {brief(rank)}, expected 1 to {len(cells)}, as many as {run} has scored")
    return cells[int(rank) - 1].trial.genotype
