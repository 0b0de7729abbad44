"""The arrows between packages, read from the source text: imports inside functions and for typing count too."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src"
RANKS = {
    **dict.fromkeys(("pretrain", "search", "train", "evaluate", "benchmark", "report", "compare", "check"), 9),
    **dict.fromkeys(("predict", "export", "api"), 9),
    **dict.fromkeys(("config", "command_line", "sweep", "run_directory", "checking", "assembly"), 9),
    "reporting": 8,
    "schema": 7,
    "tracking": 6,
    **dict.fromkeys(("figures", "console"), 5),
    **dict.fromkeys(("nas", "video"), 4),
    **dict.fromkeys(("training", "evaluation", "graphs"), 3),
    **dict.fromkeys(("models", "data", "metrics", "run_record"), 2),
    **dict.fromkeys(("results", "settings"), 1),
    **dict.fromkeys(("space", "flow"), 0),
}
FREE = {
    *("clock", "errors", "exits", "files", "labels", "machine", "normalisation", "pictures", "processes", "shipped"),
    *("signals", "streams", "validation"),
}
VERBS = {name for name, rank in RANKS.items() if rank == 9}


def imports(path: Path) -> Iterator[str]:
    """Dotted names of everything a file imports; `from a import b` counts as a.b."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")


IMPORTS = {name_of(path): sorted(set(imports(path))) for path in sorted(SOURCE.rglob("*.py"))}


def package(module: str) -> str:
    """`nas` for vseg_nas.nas.loop, the empty string for vseg_nas itself."""
    return [*module.split("."), ""][1]


def allowed(importer: str, imported: str) -> bool:
    if imported in FREE or importer == imported:
        return True
    if importer in FREE:
        return False
    same_layer_of_verbs = RANKS[importer] == RANKS[imported] == 9
    return same_layer_of_verbs or RANKS[importer] > RANKS[imported]


def test_every_module_has_a_place() -> None:
    assert len(IMPORTS) > 50
    assert {package(module) for module in IMPORTS} == {"", *FREE, *RANKS}


@pytest.mark.parametrize("module", IMPORTS)
def test_imports_follow_the_arrows(module: str) -> None:
    own = [name for name in IMPORTS[module] if name.split(".")[0] == "vseg_nas"]
    assert [name for name in own if not allowed(package(module), package(name))] == []


@pytest.mark.parametrize(
    ("library", "importers"),
    [
        ("wandb", {"tracking"}),
        ("hydra", VERBS),
        ("omegaconf", VERBS),
        ("yaml", VERBS | {"run_record"}),
        ("jinja2", {"reporting"}),
        ("matplotlib", {"figures", "reporting"}),
    ],
)
def test_libraries_stay_where_they_belong(library: str, importers: set[str]) -> None:
    found = {module for module, names in IMPORTS.items() if library in {name.split(".")[0] for name in names}}
    assert found
    assert {package(module) for module in found} <= importers


def test_pydantic_describes_settings_and_results_alone() -> None:
    for module, names in IMPORTS.items():
        if any(name.split(".")[0] in ("pydantic", "pydantic_core") for name in names):
            owner = package(module) in ("results", "settings", "validation", "schema")
            assert owner or module.endswith(".settings"), module


def test_what_measures_draws_and_reports_nothing() -> None:
    """Commands hand over what was measured; `assembly` opens runs on W&B and shows progress, and no more than that."""
    for module, names in IMPORTS.items():
        if package(module) in {"assembly", "evaluation", "training", "nas", "metrics"}:
            assert not {package(name) for name in names} & {"reporting", "figures"}, module


def test_the_search_space_is_pure_python() -> None:
    for module, names in IMPORTS.items():
        if package(module) == "space":
            assert {name.split(".")[0] for name in names} <= {*sys.stdlib_module_names, "vseg_nas"}, module


def reachable(module: str) -> set[str]:
    """All modules of the project that an import of `module` may load, packages' own files included."""
    found: set[str] = set()
    waiting = [module]
    while waiting:
        parts = waiting.pop().split(".")
        for name in (".".join(parts[:length]) for length in range(1, len(parts) + 1)):
            if name in IMPORTS and name not in found:
                found.add(name)
                waiting += IMPORTS[name]
    return found


@pytest.mark.parametrize("module", ["base", "lstm", "policy", "policy_gradient", "ppo", "reinforce", "random"])
def test_the_controller_knows_no_network(module: str) -> None:
    found = reachable(f"vseg_nas.nas.strategies.{module}")
    assert f"vseg_nas.nas.strategies.{module}" in found
    assert {package(name) for name in found} <= {"", "nas", "space", "settings", *FREE}


def test_commands_start_without_torch() -> None:
    verbs = ["pretrain", "search", "train", "evaluate", "benchmark", "report", "compare", "check", "predict", "export"]
    code = f"import sys, {', '.join(f'vseg_nas.{verb}' for verb in verbs)}; print(sorted(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(ast.literal_eval(run.stdout))
    assert "vseg_nas.search" in loaded
    assert not loaded & {"torch", "torchvision", "pytorch_lightning", "albumentations", "wandb", "matplotlib"}
