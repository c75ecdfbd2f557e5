"""The project's files agree: dependencies and lock, make targets and hooks, configs and code."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from hydra.utils import get_object
from omegaconf import OmegaConf
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
CONFIGS = sorted((ROOT / "conf").rglob("*.yaml"))


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def lock_lines() -> list[str]:
    return [line for line in read("requirements.lock").splitlines() if line and not line.startswith("#")]


def pins() -> dict[str, str]:
    locked = (Requirement(line) for line in lock_lines())
    return {canonicalize_name(pin.name): str(pin.specifier).removeprefix("==") for pin in locked}


def declared() -> list[Requirement]:
    project = tomllib.loads(read("pyproject.toml"))["project"]
    extras = (name for names in project["optional-dependencies"].values() for name in names)
    return [Requirement(text) for text in (*project["dependencies"], *extras)]


def targets() -> dict[str, list[str]]:
    """Return every make target with its prerequisites."""
    found = re.findall(r"^([a-z-]+):(?!=)([^#\n]*)", read("Makefile"), re.MULTILINE)
    return {name: prerequisites.split() for name, prerequisites in found}


@pytest.mark.parametrize("requirement", declared(), ids=str)
def test_every_dependency_is_pinned_within_its_range(requirement: Requirement) -> None:
    assert requirement.url is None
    version = pins()[canonicalize_name(requirement.name)]
    assert requirement.specifier.contains(version), f"{requirement} is locked at {version}: run make lock"


def test_the_lock_has_one_exact_pin_per_line() -> None:
    for line in lock_lines():
        assert re.fullmatch(r'[\w.-]+==[\w.!+]+( ; platform_system == "Linux")?', line), line
    assert len(pins()) == len(lock_lines())


@pytest.mark.parametrize(
    "name", ["requirements.lock", "Makefile", "Dockerfile", ".ci/run", ".pre-commit-config.yaml", "pyproject.toml"]
)
def test_no_file_sets_a_package_index(name: str) -> None:
    assert not re.search(r"index-url|find-links|trusted-host", read(name))
    if name != "pyproject.toml":
        assert "://" not in read(name)


def test_documents_name_existing_make_targets() -> None:
    named = {
        name
        for document in ("README.md", "CONTRIBUTING.md", ".ci/run", ".pre-commit-config.yaml")
        for name in re.findall(r"(?:^|`|step |entry: )make (?:--\S+ )*([a-z-]+)", read(document), re.MULTILINE)
    }
    promised = {"quickstart", "test", "test-slow", "test-gpu", "lint", "format", "bench", "clean", "help"}
    assert named | promised <= targets().keys()


def test_versions_agree() -> None:
    version = re.search(r'^__version__ = "(.+)"', read("src/__init__.py"), re.MULTILINE)
    assert version
    assert yaml.safe_load(read("CITATION.cff"))["version"] == version[1]
    released = re.findall(r"^## \[(\d[^\]]*)\]", read("CHANGELOG.md"), re.MULTILINE)
    assert not released or released[0] == version[1]


def test_quickstart_runs_existing_scripts() -> None:
    recipe = re.search(r"^quickstart:.*\n((?:\t.*\n)+)", read("Makefile"), re.MULTILINE)
    assert recipe
    scripts = re.findall(r"[\w/]+\.py\b", recipe[1])
    assert scripts
    assert [name for name in scripts if not (ROOT / name).is_file()] == []


def test_hooks_equal_the_lint_targets() -> None:
    (repository,) = yaml.safe_load(read(".pre-commit-config.yaml"))["repos"]
    assert [hook["entry"].split()[-1] for hook in repository["hooks"]] == targets()["lint"]


def test_dockerfile_passes_hadolint() -> None:
    beside = Path(sys.executable).with_name("hadolint")
    hadolint = str(beside) if beside.exists() else shutil.which("hadolint")
    if hadolint is None:
        pytest.skip("hadolint is not installed: it comes with the dev extra")
    done = subprocess.run([hadolint, "Dockerfile"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_docker_image_caches_dependencies_and_drops_root() -> None:
    instructions = [line for line in read("Dockerfile").splitlines() if re.match(r"[A-Z]+ ", line)]
    install = next(i for i, line in enumerate(instructions) if line.startswith("RUN python"))
    assert [line for line in instructions[:install] if line.startswith("COPY")] == ["COPY pyproject.toml ./"]
    assert [line for line in instructions if line.startswith("USER")] == ["USER $UID:$GID"]
    assert read(".dockerignore").splitlines()[0] == "*"


def nested_targets(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(target := node.get("_target_"), str) and "${" not in target:
            yield target
        for child in node.values():
            yield from nested_targets(child)
    elif isinstance(node, list):
        for child in node:
            yield from nested_targets(child)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: str(path.relative_to(ROOT)))
def test_config_parses_and_names_existing_code(path: Path) -> None:
    for target in nested_targets(OmegaConf.to_container(OmegaConf.load(path))):
        assert callable(get_object(target)), target


FAKE_PYTHON = """#!/bin/sh
case "$*" in
    *version_info*) exit "$OLD" ;;
    "-m venv "*) mkdir -p "$3/bin"; touch "$3/pyvenv.cfg"; cp "$0" "$3/bin/python" ;;
    *"pip install"*) exit "$PIP" ;;
esac
"""


@pytest.fixture
def make_venv(tmp_path: Path):
    """Return a function that runs `make venv` with a fake Python; the caller chooses its age and pip's exit status."""
    python = tmp_path / "python"
    python.write_text(FAKE_PYTHON, encoding="utf-8")
    python.chmod(0o755)
    # Variables of an outer make would override those set here.
    outer = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}

    def run(pip: int = 0, old: int = 0, disk: int = 0) -> subprocess.CompletedProcess[str]:
        command = ["make", "venv", f"VENV={tmp_path / 'venv'}", f"PYTHON={python}", f"DISK_GB={disk}"]
        environment = outer | {"PIP": str(pip), "OLD": str(old)}
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)

    return run


def test_a_failed_installation_is_not_complete(make_venv, tmp_path: Path) -> None:
    stamp = tmp_path / "venv/requirements.lock"
    failed = make_venv(pip=1)
    assert failed.returncode != 0
    assert "the installation failed" in failed.stderr
    assert not stamp.exists()

    assert make_venv(pip=0).returncode == 0
    assert stamp.read_text(encoding="utf-8") == read("requirements.lock")
    assert make_venv(pip=1).returncode == 0, "a complete environment must not be installed again"

    stamp.write_text("torch==1.0\n", encoding="utf-8")
    assert make_venv(pip=1).returncode != 0, "an environment of another lock must be installed again"
    assert not stamp.exists()


@pytest.mark.parametrize(("trouble", "message"), [({"old": 1}, "older than 3.11"), ({"disk": 10**9}, "GB needed")])
def test_missing_requirements_give_one_line(make_venv, tmp_path: Path, trouble: dict, message: str) -> None:
    done = make_venv(**trouble)
    assert done.returncode != 0
    lines = [line for line in done.stderr.splitlines() if "***" not in line]
    assert len(lines) == 1
    assert message in lines[0]
    assert not (tmp_path / "venv").exists()


def test_a_folder_that_is_no_environment_is_kept(make_venv, tmp_path: Path) -> None:
    keep = tmp_path / "venv/thesis.tex"
    keep.parent.mkdir()
    keep.touch()
    done = make_venv()
    assert done.returncode != 0
    assert "is not a virtual environment" in done.stderr
    assert keep.exists()
