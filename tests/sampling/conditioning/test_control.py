"""Replacement control: runs of the original code, closed forms, and the bias stated in the documentation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from src.errors import UserError
from src.noise import AddressedNoise
from src.sampling import AnnealedLangevin, Langevin, LinearGrid, NoCorrector, PredictorCorrector, ReverseDiffusion
from src.sampling.conditioning.control import Colorization, Inpainting
from src.sampling.conditioning.masks import BoxMask, HalfMask, Mask, RandomMask, mask_for
from src.sampling.solvers.correctors import Corrector
from src.sde import SDE, VESDE, VPSDE, SubVPSDE
from src.tasks.sample.picture_mask import PictureMask
from tests.sampling.closed_forms import CorrelatedGaussian
from tests.support.gaussian import GaussianScore
from tests.support.golden import load
from tests.support.recorded_noise import RecordedNoise


@pytest.mark.parametrize("task", ["inpaint", "colorize"])
def test_runs_of_the_original_code(task: str) -> None:
    golden = load("controllable")
    sde = VESDE()
    data, expected = golden[f"{task}.data"], golden[f"{task}.result"]
    control = Inpainting(data, golden["inpaint.mask"], sde) if task == "inpaint" else Colorization(data, sde)
    sampler = PredictorCorrector(LinearGrid(1000), ReverseDiffusion(), Langevin(0.16, norm="batch"))
    # Noise in the original's order: corrector, its re-noising, predictor, its re-noising.
    noise = RecordedNoise(golden["noise"])
    out = sampler(GaussianScore(sde), sde.prior_sample(golden["prior_noise"]), noise, control=control)
    difference = out.samples - expected
    # The original re-noises the known part to the time before the step (sigma is 1/120 larger) and leaves the last
    # step's noise, sigma_min = 0.01, on the unknown part: allow three standard deviations.
    assert float(difference.abs().max()) < 0.03
    assert float(difference.abs().max() / expected.std()) < 0.06
    known = difference[golden["inpaint.mask"] == 1] if task == "inpaint" else (out.samples - data).mean(1)
    assert float(known.abs().max()) < 1e-12


class Fixed:
    """Noise source that returns a given draw."""

    def __init__(self, draw: Tensor) -> None:
        self.draw = draw

    def __call__(self) -> Tensor:
        return self.draw


@pytest.mark.parametrize("sde", [VESDE(), VPSDE(), SubVPSDE()], ids=lambda sde: type(sde).__name__)
def test_known_part_follows_the_marginal_at_its_time(sde: SDE) -> None:
    generator = torch.Generator().manual_seed(0)
    x, x_mean, data, z = torch.randn(4, 2, 3, 4, 4, dtype=torch.float64, generator=generator)
    t = torch.tensor(0.37, dtype=torch.float64)
    mean, std = sde.marginal(data, t)

    left = HalfMask("left")
    moved, moved_mean = Inpainting(data, left, sde)(x, x_mean, t, Fixed(z))
    assert torch.equal(moved[..., :2], (mean + std * z)[..., :2]) and torch.equal(moved[..., 2:], x[..., 2:])
    assert torch.equal(moved_mean[..., :2], mean[..., :2]) and torch.equal(moved_mean[..., 2:], x_mean[..., 2:])

    # An orthogonal basis of the color space whose first axis is gray, as in the original.
    basis = torch.linalg.qr(torch.cat([torch.ones(3, 1), torch.eye(3)[:, :2]], 1).double())[0]
    basis = basis * basis[0, 0].sign()
    moved, moved_mean = Colorization(data, sde)(x, x_mean, t, Fixed(z))
    for found, before, drawn in ((moved, x, std * z), (moved_mean, x_mean, 0 * z)):
        decoupled = torch.einsum("bchw,cd->bdhw", before, basis)
        decoupled[:, 0] = torch.einsum("bchw,cd->bdhw", mean, basis)[:, 0] + drawn[:, 0]
        torch.testing.assert_close(found, torch.einsum("bdhw,cd->bchw", decoupled, basis))


@pytest.mark.parametrize(
    ("corrector", "mean", "std"), [(NoCorrector(), 0.25, 0.35), (AnnealedLangevin(0.16), 0.30, 0.34)]
)
def test_documented_bias(corrector: Corrector, mean: float, std: float) -> None:
    """The figures in the module's documentation; the exact posterior is N(0.40, 0.30^2)."""
    batch = 2500
    sde = VESDE()
    covariance = 0.25 * torch.tensor([[1.0, 0.8], [0.8, 1.0]], dtype=torch.float64)
    model = CorrelatedGaussian(sde, torch.zeros(2, dtype=torch.float64), covariance)
    given = torch.tensor([[0.5, 0.0]], dtype=torch.float64)
    exact_mean, exact_cov = model.condition(torch.eye(2, dtype=torch.float64)[:1], given[0, :1], 0.0)
    assert float(exact_mean[1]) == pytest.approx(0.4) and float(exact_cov[1, 1].sqrt()) == pytest.approx(0.3)
    noise = AddressedNoise(0, torch.arange(batch))
    x_init = sde.prior_sample(noise("prior", 0, torch.empty(batch, 2, dtype=torch.float64)))
    control = Inpainting(given, torch.tensor([1, 0]), sde)
    sampler = PredictorCorrector(LinearGrid(200), ReverseDiffusion(), corrector)
    samples = sampler(model, x_init, noise, control=control).samples
    assert (samples[:, 0] == 0.5).all()
    # Three standard errors of the mean are 0.021, of the standard deviation 0.015.
    assert float(samples[:, 1].mean()) == pytest.approx(mean, abs=0.021)
    assert float(samples[:, 1].std()) == pytest.approx(std, abs=0.02)


def test_masks(tmp_path: Path) -> None:
    shape = (3, 8, 12)
    box = BoxMask(0.5)(shape)[0]
    assert not box[2:6, 3:9].any() and int((~box).sum()) == 24
    halves = [HalfMask(side)(shape) for side in ("left", "right", "top", "bottom")]
    assert (halves[0] ^ halves[1]).all() and (halves[2] ^ halves[3]).all()
    assert halves[0][0, 0, 0] and halves[2][0, 0, 0] and not halves[1][0, 0, 0] and not halves[3][0, 0, 0]
    random = RandomMask(0.25, seed=1)((3, 64, 64))
    assert float(random.float().mean()) == pytest.approx(0.25, abs=0.03)
    assert torch.equal(random, RandomMask(0.25, seed=1)((3, 64, 64)))
    assert not torch.equal(random, RandomMask(0.25, seed=2)((3, 64, 64)))
    Image.fromarray((box.numpy() * 255).astype(np.uint8)).save(tmp_path / "mask.png")
    assert torch.equal(PictureMask(str(tmp_path / "mask.png"))(shape)[0], box)


def test_invalid_masks_are_refused(tmp_path: Path) -> None:
    data = torch.zeros(1, 3, 4, 4)
    (tmp_path / "text.png").write_text("no picture")
    Image.new("L", (5, 4)).save(tmp_path / "wide.png")
    cases: list[tuple[Tensor | Mask, str]] = [
        (torch.ones(1, 5, 5), "does not fit"),
        (PictureMask(str(tmp_path / "none.png")), "give the mask as a PNG"),
        (PictureMask(str(tmp_path / "text.png")), "not a picture"),
        (PictureMask(str(tmp_path / "wide.png")), r"\(5, 4\) \(width, height\), but the images are \(4, 4\)"),
    ]
    for mask, message in cases:
        with pytest.raises(UserError, match=message):
            Inpainting(data, mask, VESDE())
    with pytest.raises(UserError, match="images"):
        Inpainting(torch.zeros(1, 2), BoxMask(), VESDE())
    with pytest.raises(UserError, match="fraction"):
        BoxMask(1.5)
    with pytest.raises(UserError, match="side"):
        HalfMask("middle")


@pytest.mark.parametrize(
    ("name", "same"),
    [
        ("box", BoxMask(0.5)),
        ("box:0.25", BoxMask(0.25)),
        ("top", HalfMask("top")),
        ("random", RandomMask()),
        ("random:0.7", RandomMask(0.7)),
    ],
)
def test_masks_by_name(name: str, same: Mask) -> None:
    shape = (3, 8, 12)
    assert torch.equal(mask_for(name, shape), same(shape))


def test_masks_from_lists_and_invalid_names() -> None:
    assert torch.equal(mask_for([1, 0, 1], (3,)), torch.tensor([1, 0, 1]))
    with pytest.raises(UserError, match="after the colon"):
        mask_for("box:half", (1, 4, 4))
    with pytest.raises(UserError, match="there is no mask middle: choose one of box, left, right, top, bottom, random"):
        Inpainting(torch.zeros(1, 3, 4, 4), "middle", VESDE())
    with pytest.raises(UserError, match="no known pixels"):
        Inpainting(torch.zeros(1, 3), [0, 0, 0], VESDE())


def test_known_values_and_measurement_error() -> None:
    data = torch.arange(24.0).reshape(2, 3, 2, 2)
    left = Inpainting(data, "left", VESDE())
    told = left.given_with(torch.full_like(data, -1))
    assert torch.equal(told[..., 0], data[..., 0]) and (told[..., 1] == -1).all()
    assert left.error(told).tolist() == [0, 0]
    off = data + torch.tensor([3.0, 100.0])
    assert left.error(off).tolist() == [3, 3]
    gray = Colorization(data, VESDE())
    assert torch.equal(gray.given_with(torch.zeros_like(data)), data.mean(1, keepdim=True).expand_as(data))
    recolored = data + torch.tensor([5.0, -5.0, 0.0])[:, None, None]
    torch.testing.assert_close(gray.error(recolored), torch.zeros(2))
    torch.testing.assert_close(gray.error(recolored + 2), torch.full((2,), 2.0))
