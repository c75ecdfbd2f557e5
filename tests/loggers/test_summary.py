"""Summary of a finished run in the loggers."""

from __future__ import annotations

from pathlib import Path

from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from src.loggers import finish_loggers, log_settings


def test_tensorboard_gets_settings_and_scores(tmp_path: Path) -> None:
    logger = TensorBoardLogger(str(tmp_path), name="", version="")
    config = {"seed": 3, "optimizer": {"lr": 1e-3}}
    log_settings([logger], config)
    finish_loggers([logger], config, {"fid": 2.5})
    logger.finalize("success")
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    content = events.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    settings = HParamsPluginData.FromString(content).session_start_info.hparams
    assert settings["seed"].number_value == 3 and settings["optimizer/lr"].number_value == 1e-3
    assert [event.value for event in events.Scalars("fid")] == [2.5]
