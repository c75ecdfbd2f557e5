"""Every command in the documents passes its checks before the work starts; Python snippets run."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from PIL import Image

from src.cli.arguments import checkpoint_arguments
from src.cli.command_line import prepare_arguments
from src.cli.run_dir import register_resolvers
from src.cli.setting_types import check_types
from src.interop.export import parse
from src.tasks.data_doctor import compose_datamodule
from src.tasks.evaluate.plan import check_evaluation, plan_evaluation
from src.tasks.sample.plan import check_sampling, plan_sampling
from src.tasks.train.checks import check_run
from src.tasks.train.choices import choose_settings
from tests.docs.pages import PAGES, ROOT, Block, blocks, lines, words
from tests.support.configs import CONF
from tests.support.inception import save_random_inception
from tests.tasks.example import write_checkpoint
from tests.test_project import targets

TIME = "2026-01-01_00-00-00"
# Runs that the documents sample from, oldest first.
RUNS = (
    "digits_edm",
    "digits_ect",
    "digits_meanflow",
    "digits_vp",
    "digits_conditional",
    "photos",
    "digits",
    "cifar10_ncsnpp_continuous",
)
SMALL = ("net.nf=8", "net.ch_mult=[1]", "net.attn_resolutions=[]", "net.init_scale=1")
SHELL = {"source", "pip", "docker", "srun", "setopt", "apt", "wandb", "tensorboard", "bash", "nohup"}
# Files of other programs are tested elsewhere.
STAND_INS = {
    "ckpt_path=edm.ckpt": "ckpt_path=logs/digits_edm",
    "groups=SWEEP": "groups=logs/digits",
    "images=logs/digits/TIME": f"images=logs/digits/{TIME.replace('01-01', '01-07')}",
    "guidance.path=logs/digits_edm/TIME/checkpoints/step00000400.ckpt": "guidance.path=logs/digits_edm",
    "ckpt_path=checkpoint_24.pth": "ckpt_path=logs/cifar10_ncsnpp_continuous",
    "experiment=configs/ve/cifar10_ncsnpp_continuous.py": "experiment=ve/cifar10_ncsnpp_continuous",
    "experiment=configs/ve/ffhq_ncsnpp_continuous.py": "experiment=ve/ffhq_ncsnpp_continuous",
}
INLINE = re.compile(r"`((?:python|score-sde|make) [^`]+)`")


def commands() -> dict[str, str]:
    """Return every command line of the documents, with the page where it occurs first."""
    found: dict[str, str] = {}
    # The commands of extending.md need its files: test_extending runs them.
    for page in (page for page in PAGES if page.name != "extending.md"):
        name = str(page.relative_to(ROOT))
        for block in blocks(page):
            if block.language == "bash":
                found |= {line: name for line in lines(block.text) if line not in found}
        text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        for line in INLINE.findall(text):
            if "..." not in line:
                found.setdefault(line.replace("\\|", "|"), name)
    return found


COMMANDS = commands()
# `make test` checks the commands of the README, `make test-slow` those of all pages (about a minute).
CHECKED = [
    pytest.param(line, id=f"{page}: {line}", marks=[] if page == "README.md" else [pytest.mark.slow])
    for line, page in COMMANDS.items()
]


def write_run(logs: Path, name: str, *overrides: str) -> Path:
    path = logs / name / TIME / "checkpoints" / "step=00000007.ckpt"
    return write_checkpoint(path, *overrides)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with the files that the documents name: runs, images, Inception weights."""
    made = tmp_path_factory.mktemp("work")
    for age, name in enumerate(RUNS):
        experiment = "ve/cifar10_ncsnpp_continuous" if name.startswith("cifar10") else name
        path = write_run(made / "logs", name, f"experiment={experiment}", *SMALL)
        content = torch.load(path, weights_only=True)
        # The objective, which training would store.
        content["config"]["objective"] = OmegaConf.to_container(OmegaConf.load(CONF / "objective/score_matching.yaml"))
        content["config"]["objective"]["null_label"] = None
        torch.save(content, path)
        path.parent.parent.rename(made / "logs" / name / TIME.replace("01-01", f"01-{age + 1:02}"))
    write_run(made / "logs", "digits_64", "experiment=digits", *SMALL)
    write_run(made / "logs", "digits_classifier", "experiment=digits_classifier", "model.net.nf=8")
    draw = np.random.default_rng(0)
    for name in ("pictures", "photos", "folder", "samples", "patches/flower", "patches/temple"):
        (made / name).mkdir(parents=True)
        for i in range(24):
            Image.fromarray(draw.integers(0, 256, (32, 32, 3), np.uint8)).save(made / name / f"{i:02}.png")
    for name in ("data", "made"):
        np.save(made / f"{name}.npy", draw.integers(0, 65536, (24, 32, 32), np.uint16))
    np.save(made / "x.npy", draw.normal(size=(40, 5)).astype(np.float32))
    save_random_inception(made / "inception.pth")
    return made


@pytest.fixture(autouse=True)
def work(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(folder))
    register_resolvers()


def composed(name: str, overrides: list[str]):
    known = [line.partition(":")[0] for line in (CONF / f"{name}.yaml").read_text().splitlines() if line[:1].isalpha()]
    overrides = prepare_arguments(overrides, known)
    # Check the first job of a sweep only.
    if "-m" in overrides:
        overrides = [re.sub(r"=([^\[,']+),.*", r"=\1", word) for word in overrides if word != "-m"]
    if name != "train":
        overrides = checkpoint_arguments(overrides, CONF)
    else:
        overrides.append("paths.run_dir=run")
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose(name, overrides)
    check_types(cfg, CONF / f"{name}.yaml")
    return cfg


def check_train(arguments: list[str]) -> None:
    extra = []
    if "--help" in arguments:
        return
    if any(word.startswith("trainer=") and word != "trainer=ddp_sim" for word in arguments):
        # Check these settings without a GPU.
        extra += ["trainer.accelerator=cpu", "trainer.devices=1"]
    cfg = composed("train", [*arguments, *extra])
    if "InceptionFeatures" in str(cfg.get("metric")):
        cfg.metric.extractor.weights_path = "inception.pth"
    choose_settings(cfg)
    # Large nets are built without weights.
    with torch.device("meta" if (cfg.get("net") or {}).get("nf", 0) >= 128 else "cpu"):
        check_run(cfg)


def with_weights(arguments: list[str]) -> list[str]:
    """Add a file of Inception weights to the arguments if CIFAR-10 scores are requested."""
    of_digits = any(word.startswith(("name=", "experiment=", "metric=")) or "logs/" in word for word in arguments)
    needed = "metric=fid_inception" in arguments or ("score=true" in arguments and not of_digits)
    return [*arguments, "metric.extractor.weights_path=inception.pth"] if needed else arguments


def check_sample(arguments: list[str]) -> None:
    plan_sampling(check_sampling(composed("sample", with_weights(arguments))))


def check_evaluate(arguments: list[str]) -> None:
    plan_evaluation(check_evaluation(composed("evaluate", with_weights(arguments))))


CHECKS = {"train": check_train, "sample": check_sample, "evaluate": check_evaluate}


def check_module(module: str, arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_spec(module) is not None, f"there is no module {module}"
    command, *settings = arguments if module == "src" else [module, *arguments]
    if command == "doctor":
        named = any(word.startswith("datamodule=") for word in settings)
        compose_datamodule([*([] if named else ["datamodule=image_folder"]), "datamodule.image_size=32", *settings])
    elif command == "export":
        parse(settings)
    elif module in ("bench", "bench.gpu_proof"):
        monkeypatch.setattr(sys, "argv", [module, *arguments])
        monkeypatch.setenv("OMP_NUM_THREADS", "1")
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        # The folders of the documents contain no CIFAR-10.
        monkeypatch.setattr("bench.gpu_proof.stages.data.check", lambda _: None)
        import_module(f"{module}.__main__")._arguments()
    elif module == "pytest":
        assert all((ROOT / word).exists() for word in arguments if "/" in word)


@pytest.mark.parametrize("line", CHECKED)
def test_command_passes_its_checks(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not unquoted(line), f"{unquoted(line)} needs quotes in zsh"
    found = [STAND_INS.get(word, os.path.expandvars(word)).replace("/TIME", "") for word in words(line)]
    if COMMANDS[line] == "docs/your-data.md":
        # Its newest run is one of images.
        found = [word.replace("=last", "=logs/photos") for word in found if not word.startswith("labels=")]
    if found[:1] == ["srun"]:
        found = [word for word in found[1:] if not word.startswith("${")]
    program, *rest = found
    if line.startswith("python - <<"):
        return
    if program == "python" and rest[0] == "-m":
        check_module(rest[1], rest[2:], monkeypatch)
    elif program == "python" and rest[0].endswith(".py"):
        CHECKS[rest[0].removesuffix(".py")](rest[1:])
    elif program == "score-sde":
        from src.__main__ import COMMANDS as known

        assert all(name in known for name in rest[0].split("|"))
    elif program == "make":
        assert rest[0] in targets()
    else:
        assert program in SHELL or program.startswith(".venv/") or line.startswith("#"), f"no check of {line}"


def unquoted(line: str) -> list[str]:
    """Return words with characters that zsh expands."""
    bare = re.sub(r"'[^']*'|\"[^\"]*\"|\$\{[^}]*\}|<<'?\w+'?|\s#.*", "", line)
    return [word for word in bare.split() if re.search(r"[\[\]<>~*?]", word)]


@pytest.mark.parametrize("text", ["python train.py ~callbacks.fid", "python a.py 'x' steps=[1]", "python a.py p=<x>"])
def test_unquoted_words_are_found(text: str) -> None:
    assert unquoted(text)


SNIPPETS = [block for page in PAGES for block in blocks(page) if block.language == "python" and not block.title]


@pytest.mark.parametrize("block", SNIPPETS, ids=lambda block: str(block.page.relative_to(ROOT)))
def test_python_snippet_runs(block: Block) -> None:
    with contextlib.redirect_stdout(None):
        exec(compile(block.text, str(block.page), "exec"), {})


def test_every_command_is_in_a_shell_block() -> None:
    command = r"^ *(?:python3? |score-sde (?:train|sample|evaluate|report|doctor|export) |make [a-z-]+$).*"
    for page in PAGES:
        text = re.sub(r"```bash.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        assert not re.findall(command, text, re.MULTILINE), page


SHORT = {
    "train.py": ("trainer.max_steps=2", "~callbacks.fid", "~callbacks.sample_images", "++trainer.limit_val_batches=1"),
    "sample.py": ("num_samples=4", "sampler.grid.steps=2"),
    "evaluate.py": ("num_samples=16", "limit=2"),
}


def main_commands() -> Iterator[list[str]]:
    """Yield the commands of "Train, sample, evaluate" in the order of the page."""
    page = (ROOT / "docs/index.md").read_text(encoding="utf-8")
    section = re.search(r"^## Train, sample, evaluate\n(.*?)^## ", page, re.MULTILINE | re.DOTALL)
    assert section
    for line in re.findall(r"^python \w+\.py .*", section[1], re.MULTILINE):
        yield words(line)[1:]


@pytest.mark.slow
def test_main_commands_run(tmp_path: Path) -> None:
    ran = [*main_commands(), ["train.py", "experiment=digits", "ckpt_path=last", "trainer.max_steps=4"]]
    assert [command[0] for command in ran] == ["train.py", "sample.py", "evaluate.py", "train.py"]
    for script, *arguments in ran:
        kept = [word for word in arguments if not word.startswith("num_samples")]
        short = [word for word in SHORT[script] if word.partition("=")[0] not in str(kept)]
        done = subprocess.run(
            [sys.executable, str(ROOT / script), *kept, *short],
            cwd=tmp_path,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{script} {arguments}: {done.stderr[-2000:]}"
