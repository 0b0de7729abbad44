"""The layers of the source and the map of its folders, read from the text: imports inside functions count too."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src"
COMMANDS = ("pretrain", "search", "train", "evaluate", "benchmark", "report", "compare", "check", "predict", "export")
LAYERS: tuple[tuple[str, ...], ...] = (
    ("clock", "errors", "labels", "normalisation", "validators"),
    ("flow", "machine", "pictures", "space"),
    ("settings",),
    ("runs",),
    ("results",),
    ("data", "metrics", "models"),
    ("evaluation", "graphs", "training"),
    ("nas", "video"),
    ("console", "figures"),
    ("tracking",),
    ("schema",),
    ("cli", "reporting"),
    ("assembly",),
    (*COMMANDS, "api"),
)
"""Modules and packages, lowest first. Each imports from lower layers alone, so nothing imports a command."""
RANKS = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}


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


def test_every_module_has_a_layer() -> None:
    assert len(IMPORTS) > 50
    assert {package(module) for module in IMPORTS} == {"", *RANKS}
    assert len(RANKS) == sum(map(len, LAYERS))


@pytest.mark.parametrize("module", IMPORTS)
def test_imports_point_to_lower_layers(module: str) -> None:
    here = package(module)
    found = {package(name) for name in IMPORTS[module] if name.split(".")[0] == "vseg_nas"}
    higher = sorted(there for there in found - {here} if here == "" or RANKS[there] >= RANKS[here])
    assert higher == []


@pytest.mark.parametrize(
    ("library", "importers"),
    [
        ("wandb", {"tracking"}),
        ("hydra", {"cli"}),
        ("omegaconf", {"cli", "runs"}),
        ("yaml", {"cli", "runs"}),
        ("jinja2", {"reporting"}),
        ("matplotlib", {"figures", "reporting"}),
        ("hashlib", {"runs"}),
    ],
)
def test_libraries_stay_where_they_belong(library: str, importers: set[str]) -> None:
    found = {module for module, names in IMPORTS.items() if library in {name.split(".")[0] for name in names}}
    assert {package(module) for module in found} == importers


def test_pydantic_describes_settings_and_results_alone() -> None:
    for module, names in IMPORTS.items():
        if any(name.split(".")[0] in ("pydantic", "pydantic_core") for name in names):
            owner = package(module) in ("results", "settings", "validators", "schema")
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


def test_the_readmes_map_of_folders_is_the_folders() -> None:
    """Each line begins with the modules and packages that it is about; they stand in the order of the layers."""
    text = (ROOT / "README.md").read_text()
    tree = text.split("## The code")[1].split("```")[1].split("src/vseg_nas/")[1].partition("\n")[2].split("tests/")[0]
    mapped: list[str] = []
    folder = ""
    for line in tree.splitlines():
        indent = len(line) - len(line.lstrip())
        names = re.findall(r"[\w/]+(?:\.py|/)(?=\s)", re.split(r"\s{2,}", f"{line.strip()} ")[0] + " ")
        assert names, line
        if indent == 2:
            folder = names[-1]
        mapped += [name if indent == 2 else folder + name for name in names]
    ranks = [RANKS[name.removesuffix(".py").rstrip("/")] for name in mapped if name.count("/") < 2]
    assert ranks == sorted(ranks, reverse=True)
    package = SOURCE / "vseg_nas"
    found = {path.name for path in package.glob("*.py")} - {"__init__.py"}
    found |= {f"{path.parent.relative_to(package)}/" for path in package.rglob("*/__init__.py")}
    assert sorted(mapped) == sorted(found)


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
    assert {package(name) for name in found} <= {"", "nas", "space", "errors", "runs", "settings", "validators"}


def test_commands_start_without_torch() -> None:
    modules = ", ".join(f"vseg_nas.{command}" for command in COMMANDS)
    code = f"import sys, {modules}; print(sorted(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(ast.literal_eval(run.stdout))
    assert "vseg_nas.search" in loaded
    assert not loaded & {"torch", "torchvision", "pytorch_lightning", "albumentations", "wandb", "matplotlib"}


API = """
import os, sys
import vseg_nas.api
from omegaconf import OmegaConf
os.environ["CITY"] = "Tübingen"
assert OmegaConf.create({"city": "${oc.env:CITY}"}).city == "Tübingen"
assert not OmegaConf.has_resolver("vseg.either")
print(sorted({name for name in sys.modules if name.startswith(("hydra", "vseg_nas.cli", "vseg_nas.console"))}))
"""


def test_the_api_changes_nothing_in_the_process_of_its_user() -> None:
    """A program with a Hydra of its own imports it, too: references to the environment mean there what they meant."""
    run = subprocess.run([sys.executable, "-c", API], capture_output=True, text=True, check=False)
    assert (run.stdout, run.stderr) == ("[]\n", "")
