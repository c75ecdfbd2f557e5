from typing import Any

import pytest
import torch

from bench.speed.textbook import EinsumAttention, textbook
from src.nets import NCSNpp
from src.nets.layers.attention import Attention
from src.nets.layers.resample import FIRConvUp, FIRDown, FIRFilter

TINY: dict[str, Any] = {
    "image_size": 8,
    "nf": 8,
    "ch_mult": (1, 2),
    "num_res_blocks": 1,
    "attn_resolutions": (4,),
    "dropout": 0.0,
    "init_scale": 1.0,
}


@pytest.mark.parametrize("progressive_input", ["residual", "input_skip"])
@pytest.mark.parametrize("fir_kernel", [(1.0, 3.0, 3.0, 1.0), (1.0, 2.0, 5.0, 1.0), (1.0, 2.0)])
def test_textbook_operations_give_the_same_output(progressive_input: str, fir_kernel: tuple[float, ...]) -> None:
    torch.manual_seed(0)
    net = NCSNpp(**TINY, progressive_input=progressive_input, fir_kernel=fir_kernel).double()
    x, sigma = torch.randn(3, 3, 8, 8, dtype=torch.float64), torch.tensor([0.02, 0.7, 40.0], dtype=torch.float64)
    plain = textbook(net)
    # All optimized layers are replaced in the copy and unchanged in the net.
    assert not any(isinstance(m, FIRFilter | Attention) for m in plain.modules())
    assert any(isinstance(m, EinsumAttention) for m in plain.modules())
    assert any(isinstance(m, FIRDown) for m in net.modules())
    torch.testing.assert_close(plain(x, sigma), net(x, sigma), rtol=1e-10, atol=1e-10)


def test_a_layer_without_a_textbook_version_is_refused() -> None:
    net = NCSNpp(**TINY, resblock_type="ddpm")
    assert any(isinstance(m, FIRConvUp) for m in net.modules())
    with pytest.raises(NotImplementedError, match="FIRConvUp"):
        textbook(net)
