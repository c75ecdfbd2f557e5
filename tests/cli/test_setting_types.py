from __future__ import annotations

import pytest
from hydra import compose, initialize_config_dir

from src.cli.run_dir import register_resolvers
from src.cli.setting_types import check_types
from src.errors import UserError
from tests.support.configs import CONF


def check(*overrides: str) -> None:
    register_resolvers()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        check_types(compose("evaluate", list(overrides)), CONF / "evaluate.yaml")


def test_expected_scores_and_lengths_are_numbers() -> None:
    check("mode=doctor", "claimed=2.38", "ema_length=0.08")
    with pytest.raises(UserError, match=r"limit=2\.5: give a text or a whole number"):
        check("limit=2.5")
