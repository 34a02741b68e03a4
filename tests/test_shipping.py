"""Tests that wheel, sdist, unit and image work without the repository."""

from __future__ import annotations

import os
import re
import site
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

from tests.servers.ports import free_port

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "deploy"


def build(kind: str, source: Path, target: Path) -> Path:
    """With the build backend itself: nothing is fetched."""
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(target)], cwd=source, check=True,
                   capture_output=True)
    return next(target.glob("*.whl" if kind == "wheel" else "*.tar.gz"))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the unpacked sdist, as an installer without our repository does."""
    folder = tmp_path_factory.mktemp("dist")
    with tarfile.open(build("sdist", ROOT, folder)) as archive:
        archive.extractall(folder, filter="data")
    return build("wheel", next(folder.glob("crawl_to_inbox-*/")), folder / "again")


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The python of a fresh environment with the wheel in it; the dependencies are borrowed, the repository is not."""
    folder = tmp_path_factory.mktemp("fresh")
    venv.create(folder, with_pip=False, symlinks=True)
    packages = next(folder.glob("lib/python*/site-packages"))
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(packages)
    # A path in a .pth file is searched, but the .pth files in it (our own editable install) are not read.
    (packages / "borrowed.pth").write_text("\n".join(site.getsitepackages()), "utf-8")
    return folder / "bin" / "python"


def run(python: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run([python, *arguments], cwd=folder, env=variables, capture_output=True, text=True, timeout=120,
                          check=False)


def test_the_sdist_holds_all_that_the_wheel_needs(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as one, zipfile.ZipFile(build("wheel", ROOT, tmp_path)) as other:
        assert {name for name in one.namelist() if "__pycache__" not in name} == set(other.namelist())
        # Whatever a package reads beside its code is in it, too.
        data = {path.relative_to(ROOT).as_posix() for path in (ROOT / "pipeline").rglob("*")
                if path.is_file() and path.suffix not in {".pyc"}}
        assert data <= set(one.namelist())


def test_it_runs_from_an_empty_folder_without_the_repository(installed: Path, tmp_path: Path) -> None:
    where = run(installed, tmp_path, "-c", "import pipeline, importlib.metadata as m; print(pipeline.__file__); "
                "print(m.entry_points(group='console_scripts')['pipeline'].load().name)")
    assert str(installed.parent.parent) in where.stdout, where.stdout + where.stderr
    assert run(installed, tmp_path, "-m", "pipeline", "init", "--demo").returncode == 0
    heartbeat, demo = free_port(), free_port()
    settings = tmp_path / "settings.toml"
    text = settings.read_text("utf-8").replace("8000", str(heartbeat)).replace("8081", str(demo))
    settings.write_text(text.replace("max_pages = 200", "max_pages = 2\ndelay = \"0s\""), "utf-8")
    done = run(installed, tmp_path, "-m", "pipeline", "serve", "--once")
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "var" / "mail" / "new").iterdir())) == 1
    assert "€11.27" in (tmp_path / "var" / "messages" / "1-1.html").read_text("utf-8"), "a price as the site writes it"
    assert {path.name for path in tmp_path.iterdir()} == {"settings.toml", "spiders", "var"}


def unit(tmp_path: Path) -> Path:
    """Our unit, with a program that is there."""
    path = tmp_path / "pipeline.service"
    path.write_text((DEPLOY / "pipeline.service").read_text("utf-8").replace("/opt/pipeline/bin/pipeline", "/bin/true"), "utf-8")
    return path


@pytest.mark.needs("systemd-analyze")
def test_systemd_analyze_verifies_the_unit(tmp_path: Path) -> None:
    found = subprocess.run(["systemd-analyze", "verify", unit(tmp_path)], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout + found.stderr) == (0, "")


@pytest.mark.needs("systemd-analyze")
def test_the_unit_leaves_little_exposed(tmp_path: Path) -> None:
    found = subprocess.run(["systemd-analyze", "security", "--offline=true", "--threshold=15", "--no-pager", unit(tmp_path)],
                           capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout[-200:]


def test_the_unit_gives_a_stop_the_time_it_needs(tmp_path: Path) -> None:
    from pipeline.settings.models.root import PipelineTable
    text = (DEPLOY / "pipeline.service").read_text("utf-8")
    grace = PipelineTable().shutdown_grace
    assert int(re.findall(r"^TimeoutStopSec=(\d+)", text, re.MULTILINE)[0]) > 2 * grace + 10
    for name in ("compose.yaml", "compose.cluster.yaml"):
        assert int(re.findall(r"^ +stop_grace_period: (\d+)s", (DEPLOY / name).read_text("utf-8"), re.MULTILINE)[0]) > 2 * grace + 10


def test_the_image_copies_existing_files_and_installs_existing_extras() -> None:
    dockerfile = (DEPLOY / "Dockerfile").read_text("utf-8")
    let_in = set(re.findall(r"^!(.+)$", (DEPLOY / "Dockerfile.dockerignore").read_text("utf-8"), re.MULTILINE))
    copied = {name for line in re.findall(r"^COPY (?!--from)(.+)$", dockerfile, re.MULTILINE) for name in line.split()[:-1]}
    assert copied == let_in
    assert all((ROOT / name).exists() for name in copied)


def pins(lock: Path) -> dict[str, tuple[str, frozenset[str]]]:
    """By name: what is pinned, with its marker, and the hashes."""
    found = re.findall(r"^([A-Za-z0-9._-]+)==([^\n]*?) \\\n((?: +--hash=\S+(?: \\)?\n)+)", lock.read_text("utf-8") + "\n", re.MULTILINE)
    return {name: (pin, frozenset(re.findall(r"--hash=(\S+)", hashes))) for name, pin, hashes in found}


def test_the_image_installs_the_versions_that_are_tested_with_their_hashes() -> None:
    image, tested = pins(DEPLOY / "requirements.lock"), pins(ROOT / "requirements.lock")
    assert len(image) > 50
    assert {name for name in image if image[name][0].split()[0] != tested[name][0].split()[0]} == set()
    assert all(hashes == tested[name][1] for name, (_, hashes) in image.items())
    assert "--require-hashes" in (DEPLOY / "Dockerfile").read_text("utf-8")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = [each for name in ("charts", "cluster", "images", "postgres", "s3") for each in project["optional-dependencies"][name]]
    needed = {re.split(r"[\[<>=;~ ]", text)[0].lower() for text in (*project["dependencies"], *extras)}
    assert needed - {"backports.zstd"} <= {name.lower() for name in image}
