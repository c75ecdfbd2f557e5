"""Paths reach Hydra as typed, and common mistakes get one line that says what to type."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from src.cli.command_line import prepare_arguments
from src.config.location import CONFIG_DIR
from src.errors import UserError


@pytest.mark.parametrize(
    "path", ["logs/a/step=00001210.ckpt", "my pictures/a,b", "a(1)/[x]/{y}", "it's", "a:b#c", "plain", "C{}=[,]"]
)
@pytest.mark.parametrize("key", ["ckpt_path", "init_from", "datamodule.path", "paths.log_dir", "++images"])
def test_paths_are_parsed_as_typed(key: str, path: str) -> None:
    (parsed,) = OverridesParser.create().parse_overrides(prepare_arguments([f"{key}={path}"], ()))
    assert parsed.value() == path


def test_tilde_is_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    (parsed,) = OverridesParser.create().parse_overrides(prepare_arguments(["datamodule.path=~/pictures"], ()))
    assert parsed.value() == str(Path("/home/me/pictures"))


def test_lists_and_sweeps_are_kept() -> None:
    parser = OverridesParser.create()
    (several,) = parser.parse_overrides(prepare_arguments(["ckpt_path=[a=1.ckpt,b=2.ckpt]"], ()))
    assert several.value() == ["a=1.ckpt", "b=2.ckpt"]
    _, sweep = prepare_arguments(["-m", "ckpt_path=a=1.ckpt,b=2.ckpt"], ())
    assert parser.parse_override(sweep).is_sweep_override()


@pytest.mark.parametrize("untouched", ["net.nf=16", "~callbacks.fid", "steps=[9,18]", "ckpt_path='a=b'", "labels=cat"])
def test_other_arguments_are_unchanged(untouched: str) -> None:
    assert prepare_arguments([untouched, "--cfg"], ("steps",)) == [untouched, "--cfg"]


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--experiment", r"^--experiment: settings have no dashes, type experiment=<value>$"),
        ("--experiment=digits", "type experiment=digits$"),
        ("--config", r"choose a configuration by its name, for example experiment=digits$"),
        ("--config-file=x", "type config-file=x$"),
        ("-labels=cat", "type labels=cat$"),
        ("-metric.statistics_path", r"type metric\.statistics_path=<value>$"),
        ("lr=1e-3", r"^there is no setting lr: type optimizer\.lr=1e-3$"),
        ("sampler.steps=18", r"type sampler\.grid\.steps=18$"),
        ("resume=true", "type ckpt_path=last$"),
    ],
)
def test_common_mistakes_get_a_hint(argument: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        prepare_arguments([argument], ())


@pytest.mark.parametrize(
    ("known", "argument", "message"),
    [
        ((), "digits", "type experiment=digits$"),
        ((), "ve/cifar10_ncsnpp", "type experiment=ve/cifar10_ncsnpp$"),
        (("num_samples",), "latest", "type ckpt_path=last$"),
        (("num_samples",), "conf", "type ckpt_path=.*conf$"),
        (("num_samples",), "steps=10", r"type sampler\.grid\.steps=10$"),
        (("num_samples",), "gpus=2", "type devices=2$"),
        ((), "steps=", r"type trainer\.max_steps=<value>$"),
    ],
)
def test_hints_are_those_of_the_command(known: tuple[str, ...], argument: str, message: str) -> None:
    if argument == "conf":
        argument = str(CONFIG_DIR)
    with pytest.raises(UserError, match=message):
        prepare_arguments([argument], known)


def test_words_of_flags_and_deletions_are_kept() -> None:
    words = ["--config-name", "digits", "~callbacks.fid", "lr=1"]
    assert prepare_arguments(words, ("num_samples",)) == words


def test_a_value_after_a_flag_is_part_of_the_hint() -> None:
    with pytest.raises(UserError, match=r"type experiment=digits$"):
        prepare_arguments(["--experiment", "digits"], ())


def test_the_sweep_flag_may_come_after_settings() -> None:
    assert prepare_arguments(["experiment=digits", "-m", "seed=1,2"], ()) == ["-m", "experiment=digits", "seed=1,2"]


def test_a_setting_of_the_command_is_accepted() -> None:
    assert prepare_arguments(["batch_size=8"], ("batch_size",)) == ["batch_size=8"]
