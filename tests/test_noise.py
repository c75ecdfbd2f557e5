"""Addressed noise: known answers, distributions, and dependence on the address only."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from src.noise import Address, AddressedNoise, normal, permutation, philox, uniform

INDEX = torch.arange(2000)
PURPOSES = ("predictor", "corrector")


@pytest.mark.parametrize("compiling", [False, True])
@pytest.mark.parametrize(
    ("word", "expected"),
    [
        (0, (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        (0xFFFFFFFF, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    ],
)
def test_philox_known_answers(
    word: int, expected: tuple[int, ...], compiling: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Answers published with the generator (Salmon et al. 2011), for integers and tensors."""
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: compiling)
    assert philox((word,) * 4, (word, word)) == expected
    tensor = torch.full((1,), word)
    assert tuple(int(w) for w in philox((tensor,) * 4, (word, word))) == expected


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 3, 64])
def test_compiled_words(count: int) -> None:
    # In its own process: the shape checks of the test session break graphs.
    program = (
        "import torch; from src.noise import words\n"
        f"def draw(step): return words(3, 'z', step, torch.arange(4), {count})\n"
        "step = torch.tensor(5)\n"
        "for a, b in zip(draw(step), torch.compile(draw)(step)): assert torch.equal(a, b), (a, b)"
    )
    subprocess.run([sys.executable, "-c", program], cwd=Path(__file__).parents[1], check=True)


addresses = st.tuples(
    st.integers(-(2**63), 2**64 - 1), st.sampled_from(["a", "b/c"]), st.integers(0, 2**32 - 1), st.integers(0, 2**40)
)


@settings(max_examples=30, deadline=None)
@given(addresses, st.integers(1, 9), st.integers(1, 9))
def test_a_number_depends_on_its_address_only(address: tuple[int, str, int, int], size: int, more: int) -> None:
    seed, purpose, step, index = address
    alone = normal(seed, purpose, step, torch.tensor([index]), (size,))
    among = normal(seed, purpose, step, torch.tensor([index + 5, index, 3]), (size,))
    assert torch.equal(alone[0], among[1])
    # A larger sample starts with the numbers of a smaller one; the shape does not matter.
    assert torch.equal(normal(seed, purpose, step, torch.tensor([index]), (size + more,))[0, :size], alone[0])
    assert torch.equal(normal(seed, purpose, step, torch.tensor([index]), (1, size, 1)).flatten(), alone[0])


@settings(max_examples=30, deadline=None)
@given(addresses)
def test_every_part_of_the_address_changes_the_numbers(address: tuple[int, str, int, int]) -> None:
    seed, purpose, step, index = address
    here = uniform(seed, purpose, step, torch.tensor([index]), (8,))
    for other in ((seed + 1, purpose, step, index), (seed, purpose + "x", step, index)):
        assert not torch.equal(here, uniform(*other[:3], torch.tensor([other[3]]), (8,)))
    assert not torch.equal(here, uniform(seed, purpose, step + 1, torch.tensor([index]), (8,)))
    assert not torch.equal(here, uniform(seed, purpose, step, torch.tensor([index + 1]), (8,)))


@pytest.mark.parametrize("axis", ["index", "step", "dimension"])
def test_distributions_along_every_axis(axis: str) -> None:
    def along(draw: object, **kwargs: object) -> torch.Tensor:
        if axis == "index":
            return draw(7, "purpose", 3, INDEX, (), torch.float64)
        if axis == "step":
            return torch.cat([draw(7, "purpose", step, INDEX[:1], (), torch.float64) for step in range(1000)])
        return draw(7, "purpose", 3, INDEX[:1], (2000,), torch.float64)[0]

    # The seed is fixed, so this cannot fail by chance.
    assert stats.kstest(along(uniform).numpy(), "uniform").pvalue > 1e-3
    assert stats.kstest(along(normal).numpy(), "norm").pvalue > 1e-3


def test_tails_of_the_normals() -> None:
    z = normal(0, "tails", 0, INDEX, (500,), torch.float64).flatten()
    for bound in (1, 2, 3, 4):
        expected = 2 * stats.norm.sf(bound) * len(z)
        assert float((z.abs() > bound).sum()) == pytest.approx(expected, abs=4 * expected**0.5)
    assert float(z.mean()) == pytest.approx(0, abs=4e-3) and float(z.var()) == pytest.approx(1, abs=6e-3)


def test_purposes_steps_samples_and_neighbors_are_uncorrelated() -> None:
    z = normal(0, "predictor", 0, INDEX, (64,), torch.float64)
    others = {
        "purpose": normal(0, "corrector", 0, INDEX, (64,), torch.float64),
        "step": normal(0, "predictor", 1, INDEX, (64,), torch.float64),
        "seed": normal(1, "predictor", 0, INDEX, (64,), torch.float64),
        "sample": z.roll(1, 0),
        "neighbor": z.roll(1, 1),
    }
    for name, other in others.items():
        for f in (lambda v: v, torch.square):
            correlation = float(torch.corrcoef(torch.stack([f(z).flatten(), f(other).flatten()]))[0, 1])
            assert abs(correlation) < 4 / z.numel() ** 0.5, name


def test_float32_agrees_with_float64() -> None:
    single, double = (normal(0, "purpose", 0, INDEX, (8,), dtype) for dtype in (torch.float32, torch.float64))
    torch.testing.assert_close(single.double(), double, rtol=1e-4, atol=2e-4)


@pytest.mark.parametrize("draw", [normal, uniform])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_rounded_float32(draw: Callable[..., torch.Tensor], dtype: torch.dtype) -> None:
    half = draw(0, "purpose", 0, INDEX, (8,), dtype)
    assert half.dtype == dtype and bool(half.isfinite().all())
    assert torch.equal(half, draw(0, "purpose", 0, INDEX, (8,)).to(dtype))


def test_all_noise_sources_give_the_same_numbers() -> None:
    like = torch.zeros(3, 2, 2)
    index = torch.tensor([5, 1, 9])
    drawn = AddressedNoise(4, index)("predictor", 6, like)
    assert torch.equal(drawn, normal(4, "predictor", 6, index, (2, 2)))
    assert torch.equal(drawn, Address(4, 6, index).normal("predictor", like))


def test_permutations_are_complete_and_differ_by_step() -> None:
    first, second = permutation(0, "order", 0, 1000), permutation(0, "order", 1, 1000)
    assert torch.equal(first.sort().values, torch.arange(1000)) and not torch.equal(first, second)
    # The position of 0 is uniform: its mean over 500 steps is 499.5 with a standard error of 13.
    places = [int((permutation(0, "order", step, 1000) == 0).nonzero()) for step in range(500)]
    assert sum(places) / 500 == pytest.approx(499.5, abs=52)


def test_index_must_be_a_vector_of_integers() -> None:
    with pytest.raises(ValueError, match="int64"):
        normal(0, "purpose", 0, torch.arange(3.0))
