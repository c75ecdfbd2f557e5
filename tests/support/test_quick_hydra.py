"""Files are parsed once, compositions see every change of a file, and they do not share nodes."""

from __future__ import annotations

from pathlib import Path
from unittest import mock

import pytest
from hydra import compose, initialize_config_dir
from hydra.errors import MissingConfigException
from omegaconf import DictConfig, OmegaConf


def test_files_are_parsed_again_only_if_they_change(tmp_path: Path) -> None:
    def composed() -> DictConfig:
        with initialize_config_dir(str(tmp_path), version_base="1.3"):
            return compose("main")

    file = tmp_path / "main.yaml"
    with pytest.raises(MissingConfigException):
        composed()
    file.write_text("section: {value: 1}\n")
    first = composed()
    first.section.value = 2
    with mock.patch.object(OmegaConf, "load", side_effect=AssertionError("parsed again")):
        assert composed().section.value == 1
    file.write_text("section: {value: 3}\n")
    assert composed().section.value == 3
