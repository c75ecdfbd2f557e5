"""Tables of the documents agree with the code: every sampler is listed with its NFE."""

from __future__ import annotations

import re

import pytest
import torch

from src.noise import AddressedNoise, normal
from src.sampling.solvers.loop import GridSampler
from src.sde import VESDE
from tests.docs.pages import ROOT
from tests.support.configs import build, names
from tests.support.gaussian import GaussianScore

TIMES = 7


def evaluations() -> dict[str, str]:
    """Return the last column of the table "All samplers", by sampler name."""
    page = (ROOT / "docs/samplers.md").read_text(encoding="utf-8")
    found: dict[str, str] = {}
    for row in re.findall(r"^\| (`.*) \|$", page.split("## All samplers")[1].split("##")[0], re.MULTILINE):
        cells = [cell.strip() for cell in row.split(" | ")]
        listed = re.findall(r"`(\w+)`", cells[0])
        counts = cells[-1].split(", ") if cells[-1].count(", ") == len(listed) - 1 else [cells[-1]] * len(listed)
        found |= dict(zip(listed, counts, strict=True))
    return found


def test_every_sampler_is_listed() -> None:
    assert evaluations().keys() == set(names("sampler"))


@pytest.mark.parametrize("name", [name for name, count in evaluations().items() if "N" in count])
def test_listed_nfe_is_that_of_the_sampler(name: str) -> None:
    sampler = build("sampler", name)
    assert isinstance(sampler, GridSampler)
    sampler.grid.steps = TIMES
    index, sde = torch.arange(2), VESDE()
    start = sde.prior_sample(normal(0, "prior", 0, index, (3,)))
    nfe = sampler(GaussianScore(sde), start, AddressedNoise(0, index)).nfe
    stated = re.sub(r"(\d) N", r"\1 * N", evaluations()[name])
    assert nfe.tolist() == [eval(stated, {"N": TIMES})] * 2
