"""The compiled loss of a training step: one graph for all steps, and the same values as the plain objective."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from src.errors import UserError
from src.lightning_modules.compiled import CompiledLoss, check_mode
from src.noise import Address
from tests.lightning_modules.tiny_run import CONF
from tests.reliability.support.entry import Started
from tests.support.configs import names

STEPS = 5
VP = ("ddpm", "likelihood", "likelihood_importance", "score_matching_mean")
FLOW = ("sde=flow", "parametrization=velocity", "net.embedding_type=positional", "datamodule.data_range=centered")


def settings(objective: str) -> list[str]:
    """Return overrides of a digits experiment that fits ``objective``."""
    if objective == "noisy_classification":
        return ["experiment=digits_classifier", "sde.prior_mean=0.0"]
    experiment = "digits_vp" if objective in VP else "digits"
    own = list(FLOW) if objective == "flow" else [] if objective in VP else ["sde.prior_mean=0.0"]
    small = ["net.nf=8", "net.ch_mult=[1]", "net.num_res_blocks=1", "net.attn_resolutions=[]"]
    return [f"experiment={experiment}", f"objective={objective}", *small, *own]


# The assignment of optimal transport runs outside of graphs, on the host.
ONE_GRAPH = [name for name in names("objective") if name != "flow_ot"]


@pytest.mark.parametrize("objectives", [["edm"], pytest.param(ONE_GRAPH, marks=pytest.mark.slow)])
def test_the_compiled_loss_is_one_graph_and_equals_the_plain_loss(objectives: list[str], tmp_path: Path) -> None:
    # In its own process: the shape checks of the test session break graphs.
    ended = Started(["tests.lightning_modules.test_compiled", *objectives], tmp_path).wait()
    assert ended.code == 0, ended.err[-3000:]
    assert ended.out.split() == objectives


def compare(objective: str) -> None:
    """Assert that five steps use one graph and give the losses of the objective."""
    from torch._dynamo.utils import counters

    with initialize_config_dir(CONF, version_base="1.3"):
        cfg = compose("train", overrides=settings(objective))
    torch.manual_seed(0)
    model, plain = instantiate(cfg.model, _convert_="all"), instantiate(cfg.objective, _convert_="all")
    if not plain.compilable:  # training refuses module.compile=true
        return
    torch._dynamo.reset()
    counters.clear()
    compiled = CompiledLoss(plain, fullgraph=True, backend="aot_eager")
    x, position, cond = torch.rand(4, 1, 8, 8), torch.arange(4), {"labels": torch.arange(4)}
    previous = None
    for step in range(STEPS):
        losses = []
        for loss in (plain, compiled):
            model.zero_grad()
            losses.append(loss(model, x, Address(3, step, position), cond, train=True))
            losses[-1].mean().backward()
        torch.testing.assert_close(losses[1], losses[0], rtol=1e-6, atol=1e-6)
        assert previous is None or not torch.equal(previous, losses[1]), "the loss must depend on the step"
        previous = losses[1].detach()
    assert counters["stats"]["unique_graphs"] == 1, counters["stats"]


@pytest.mark.parametrize("value", [True, False, "default", "reduce-overhead", "max-autotune"])
def test_compile_modes(value: bool | str) -> None:
    check_mode("module.compile", value)


def test_an_unknown_compile_mode_is_refused() -> None:
    with pytest.raises(UserError, match=r"module\.compile=fast: give true, false, or one of default"):
        check_mode("module.compile", "fast")


if __name__ == "__main__":
    for name in sys.argv[1:]:
        compare(name)
        sys.stdout.write(f"{name}\n")
