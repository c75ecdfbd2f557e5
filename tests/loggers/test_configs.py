"""Every file of conf/logger gives loggers for the run folder, including csv."""

from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf

from src.loggers import AppendingCSVLogger

FOLDER = Path(__file__).parents[2] / "conf"
NAMES = sorted(path.stem for path in (FOLDER / "logger").glob("*.yaml"))


@pytest.mark.parametrize("name", NAMES)
def test_every_logger_config(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    with initialize_config_dir(str(FOLDER), version_base="1.3"):
        config = compose(overrides=[f"+logger={name}", "+name=toy", f"+paths.run_dir={tmp_path}"])
    loggers: dict[str, Any] = instantiate(config.logger, _convert_="all")
    assert isinstance(loggers["csv"], AppendingCSVLogger)
    for logger in loggers.values():
        assert Path(logger.save_dir) == tmp_path
    assert set(loggers) == {"csv", *(set(NAMES) - {"all"} if name == "all" else {name})}
    assert set(OmegaConf.to_container(config)) == {"logger", "name", "paths"}


def test_tensorboard_uses_one_folder(tmp_path: Path) -> None:
    node = OmegaConf.load(FOLDER / "logger" / "tensorboard.yaml").tensorboard
    node.save_dir = str(tmp_path)
    assert Path(instantiate(node, _convert_="all").log_dir) == tmp_path / "tensorboard"
