"""``--help`` explains every setting with the comments of the configuration files."""

from __future__ import annotations

import re
import sys

import pytest
import yaml
from omegaconf import OmegaConf

from src.cli.entry import entry
from src.cli.help import documented, help_text
from src.config import location
from src.config.location import CONFIG_DIR
from tests.tasks.example import config

COMMANDS = ("train", "sample", "evaluate")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_setting_is_explained(command: str) -> None:
    explained = {key: text for key, _, text in documented(command)}
    for key, value in yaml.safe_load((CONFIG_DIR / f"{command}.yaml").read_text()).items():
        inside = {f"{key}.{name}": part for name, part in value.items()} if isinstance(value, dict) else {key: value}
        for name, default in inside.items():
            follows = key in ("defaults", "hydra") or "_target_" in name or "${" in str(default)
            assert follows or len(explained[name].split()) > 1, name
            assert follows or f"{name}=" in help_text(command)


def test_the_examples_in_the_help_are_valid_settings() -> None:
    examples = re.findall(r"^  ([\w.]+=\S+(?: [\w.]+=\S+)*)  ", help_text("train"), re.MULTILINE)
    settings = [setting for example in examples for setting in example.split()]
    assert len(settings) > 15
    dotted = [setting for setting in settings if "${" not in setting and "." in setting.partition("=")[0]]
    cfg = OmegaConf.create(config("experiment=digits", *(s for s in dotted if not s.startswith(("seeds", "paths")))))
    assert cfg.net.nf == 64 and cfg.datamodule.global_batch_size == 64


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_does_not_run_the_command(
    flag: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    @entry("sample")
    def command(cfg: object) -> None:
        raise AssertionError("the command ran")

    monkeypatch.setattr(sys, "argv", ["sample.py", "num_samples=3", flag])
    command()
    assert capsys.readouterr().out == help_text("sample")


@pytest.mark.parametrize("name", ["train", "sample", "evaluate"])
def test_the_help_of_the_installed_package_names_its_own_command(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert f"python {name}.py " in help_text(name)
    monkeypatch.setattr(location, "IS_INSTALLED", True)
    assert f"  score-sde {name} " in help_text(name) and f"python {name}.py" not in help_text(name)
