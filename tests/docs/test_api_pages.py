"""The API reference contains every class and function that a configuration can choose."""

from __future__ import annotations

import re

from src.config.build import located
from tests.docs.pages import ROOT
from tests.support.configs import CONF


def test_targets_of_the_configurations_are_in_the_reference() -> None:
    pages = "".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs/api").glob("*.md"))
    listed = set(re.findall(r"^::: (\S+)", pages, re.MULTILINE))
    targets = set(re.findall(r"_target_: (src\.\S+)", "".join(file.read_text() for file in CONF.rglob("*.yaml"))))
    found = [located(target) for target in sorted(targets)]
    assert len(found) > 50
    assert not [
        f"{item.__module__}.{item.__qualname__}"
        for item in found
        if not {item.__module__, f"{item.__module__}.{item.__qualname__}"} & listed
    ]
