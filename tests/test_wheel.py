"""The wheel carries the Hydra tree and works from any folder."""

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    (path,) = out.glob("*.whl")
    return path


@pytest.mark.long
def test_the_wheel_holds_the_whole_tree(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for file in (ROOT / "conf").rglob("*.yaml"):
        assert f"vseg_nas/conf/{file.relative_to(ROOT / 'conf')}" in names
    assert "vseg_nas/py.typed" in names
    for name in ("page.html.j2", "style.css"):
        assert f"vseg_nas/reporting/templates/{name}" in names
    assert "vseg_nas/weights/camvid_cpu_best_cell.safetensors" in names
    assert not [name for name in names if name.startswith("tests")]


@pytest.mark.long
def test_the_console_script_runs_from_another_folder(wheel: Path, tmp_path: Path) -> None:
    """In an environment of its own that borrows the dependencies of this one."""
    venv.create(tmp_path / "env", with_pip=False)
    python = tmp_path / "env/bin/python"
    site = next((tmp_path / "env/lib").glob("python*/site-packages"))
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", str(wheel)]
    subprocess.run(install, check=True, capture_output=True)
    (site / "borrowed.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    script = tmp_path / "env/bin/vseg-nas-search"
    done = subprocess.run([script, "--cfg", "job"], cwd=elsewhere, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "strategy:" in done.stdout
    mistake = subprocess.run([script, "phase.search.epochs=0"], cwd=elsewhere, env=environment, capture_output=True)
    assert mistake.returncode == 2
    assert mistake.stderr.startswith(b"error: phase.search.epochs: found 0")
    code = (
        "from vseg_nas.cli.composition import conf_dir; from vseg_nas.models.bundled import bundled_checkpoint as b; "
        "print(b().is_file(), b(), conf_dir(), sep=chr(10))"
    )
    found = subprocess.run([str(python), "-c", code], cwd=elsewhere, env=environment, capture_output=True, text=True)
    is_file, bundled, tree = found.stdout.splitlines()
    assert is_file == "True"
    assert bundled.startswith(str(site / "vseg_nas/weights"))
    assert tree == str(site / "vseg_nas/conf")
