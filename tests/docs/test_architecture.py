"""The map in docs/architecture.md lists the packages of the code, and its files exist."""

from __future__ import annotations

import re

from tests.docs.pages import ROOT, blocks

_NAME = re.compile(r"([a-z_]+(?:/|\.py))(?![\w*])")


def test_the_map_names_every_package_and_no_other() -> None:
    (plan,) = (block.text for block in blocks(ROOT / "docs" / "architecture.md") if "-- ground floor" in block.text)
    inside = plan.split("src/\n")[1].split("bench/")[0]
    named = {name for line in inside.splitlines() if line[:2] == "  " for name in _NAME.findall(line)}
    packages = {path.name + "/" * path.is_dir() for path in (ROOT / "src").iterdir() if path.name != "__pycache__"}
    assert packages - {"__init__.py"} <= named
    known = {path.name + "/" * path.is_dir() for path in (ROOT / "src").rglob("*")}
    # sample.py, train.py, evaluate.py and conf/ are at the root.
    known |= {path.name + "/" * path.is_dir() for path in ROOT.iterdir()}
    assert named <= known
