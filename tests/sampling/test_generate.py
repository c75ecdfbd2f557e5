"""Generation: a sample is a function of (seed, index), and what is no sample is said to be none."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from src.errors import UserError
from src.noise import AddressedNoise
from src.sampling import EulerMaruyama, LinearGrid, NoCorrector, PredictorCorrector
from src.sampling.conditioning.labels import class_condition
from src.sampling.generation import DIVERGED, GeneratedBatch, generate, shard
from src.sde import VPSDE
from tests.gaussian import GaussianScore

MODEL = GaussianScore(VPSDE())
SAMPLER = PredictorCorrector(LinearGrid(steps=5, eps=1e-3), EulerMaruyama(), NoCorrector())


def made(indices: list[int], batch_size: int, seed: int = 0, model=MODEL, **options) -> dict[int, Tensor]:
    batches = generate(model, SAMPLER, (3,), indices, seed=seed, batch_size=batch_size, **options)
    return {i: x for batch in batches for i, x in zip(batch.index.tolist(), batch.samples, strict=True)}


def test_a_sample_depends_on_seed_and_index_alone() -> None:
    whole = made(list(range(11)), 11)
    parts = made([7, 3, 0], 2) | made([10], 1)
    for i, x in parts.items():
        assert torch.equal(x, whole[i]), i
    other = made([0, 3], 2, seed=1)
    assert not torch.equal(other[0], whole[0])
    index = torch.arange(11)
    noise = AddressedNoise(0, index)
    expected = SAMPLER(MODEL, MODEL.sde.prior_sample(noise("prior", 0, torch.empty(11, 3))), noise).samples
    assert torch.equal(torch.stack(list(whole.values())), expected)


@pytest.mark.parametrize("world", [1, 2, 3, 7])
def test_shards_hold_every_index_once(world: int) -> None:
    shares = [list(shard(range(5), rank, world)) for rank in range(world)]
    assert sorted(i for share in shares for i in share) == list(range(5))


@pytest.mark.parametrize("poison", [torch.nan, torch.inf, 2 * DIVERGED])
def test_what_is_not_finite_or_diverged_is_not_valid(poison: float) -> None:
    class Poisoned(GaussianScore):
        def __call__(self, x, t, cond=None):
            score = super().__call__(x, t, cond).clone()
            score[1, 2] = poison
            return score

    (batch,) = generate(Poisoned(VPSDE()), SAMPLER, (3,), [0, 1, 2], seed=0, batch_size=3)
    assert batch.valid.tolist() == [True, False, True]
    assert torch.equal(batch.samples[[0, 2]], torch.stack([made([i], 1)[i] for i in (0, 2)]))


def test_frames_are_the_way_to_the_sample() -> None:
    steps = []
    (batch,) = generate(
        MODEL, SAMPLER, (3,), [0, 1], seed=0, batch_size=2, frames=3, on_step=lambda step: steps.append(step.index)
    )
    assert isinstance(batch, GeneratedBatch)
    assert batch.trajectory is not None
    assert batch.trajectory.shape == (3, 2, 3)
    assert torch.equal(batch.trajectory[-1], batch.samples)
    assert not torch.equal(batch.trajectory[0], batch.samples)
    assert steps == [1, 2, 3, 4, 5]


def test_batch_that_does_not_fit_is_one_line() -> None:
    class Hungry(GaussianScore):
        def __call__(self, x, t, cond=None):
            raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(UserError, match="a batch of 2 does not fit into memory: lower batch_size"):
        made([0, 1, 2], 2, model=Hungry(VPSDE()))


def test_labels_are_functions_of_the_index() -> None:
    index = torch.arange(2000)
    cycle, few, none = (class_condition(rule, 4) for rule in (None, [3, 1], "none"))
    assert cycle is not None and few is not None and none is not None
    assert cycle(index[:6])["labels"].tolist() == [0, 1, 2, 3, 0, 1]
    assert few(index[3:6])["labels"].tolist() == [1, 3, 1]
    assert none(index[:2])["labels"].tolist() == [4, 4]
    random = class_condition("random", 4, seed=1)
    assert random is not None
    labels = random(index)["labels"]
    assert torch.equal(random(index[100:110])["labels"], labels[100:110])
    shares = labels.bincount().double() / 2000
    # Four standard deviations of a share.
    assert len(shares) == 4 and (shares - 0.25).abs().max() < 4 * (0.25 * 0.75 / 2000) ** 0.5


@pytest.mark.parametrize(("labels", "classes"), [(4, 4), ([0, -1], 4), ([], 4), ("all", 4), (0, None), ("cycle", 0)])
def test_labels_that_do_not_exist_are_refused(labels, classes: int | None) -> None:
    with pytest.raises(UserError, match="labels="):
        class_condition(labels, classes)
