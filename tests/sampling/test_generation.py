"""Generation: a sample depends on seed and index only; sinks get every sample once; statistics count all samples."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from src.errors import UserError
from src.noise import AddressedNoise
from src.sampling import EulerMaruyama, LinearGrid, NoCorrector, PredictorCorrector
from src.sampling.conditioning.labels import class_condition
from src.sampling.generation import DIVERGED, GeneratedBatch, Generation, shard
from src.sampling.statistics import Statistics
from src.sde import VPSDE
from src.stored_values import BYTES
from tests.support.gaussian import GaussianScore
from tests.tasks.ranks import on_ranks

MODEL = GaussianScore(VPSDE())
SAMPLER = PredictorCorrector(LinearGrid(steps=5, eps=1e-3), EulerMaruyama(), NoCorrector())


def made(indices: list[int], batch_size: int, seed: int = 0, model=MODEL, **options) -> dict[int, Tensor]:
    batches = Generation(model, SAMPLER, (3,), seed, batch_size, **options).batches(indices)
    return {i: x for batch in batches for i, x in zip(batch.index.tolist(), batch.samples, strict=True)}


def test_a_sample_depends_on_seed_and_index_only() -> None:
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
def test_shards_contain_every_index_once(world: int) -> None:
    shares = [list(shard(range(5), rank, world)) for rank in range(world)]
    assert sorted(i for share in shares for i in share) == list(range(5))


@pytest.mark.parametrize("poison", [torch.nan, torch.inf, 2 * DIVERGED])
def test_diverged_and_nonfinite_samples_are_invalid(poison: float) -> None:
    class Poisoned(GaussianScore):
        def __call__(self, x, t, cond=None):
            score = super().__call__(x, t, cond).clone()
            score[1, 2] = poison
            return score

    (batch,) = Generation(Poisoned(VPSDE()), SAMPLER, (3,), 0, 3).batches([0, 1, 2])
    assert batch.valid.tolist() == [True, False, True]
    assert torch.equal(batch.samples[[0, 2]], torch.stack([made([i], 1)[i] for i in (0, 2)]))


def test_trajectory_frames_end_at_the_sample() -> None:
    steps = []
    generation = Generation(MODEL, SAMPLER, (3,), 0, 2)
    (batch,) = generation.batches([0, 1], frames=3, on_step=lambda step: steps.append(step.index))
    assert isinstance(batch, GeneratedBatch)
    assert batch.trajectory is not None
    assert batch.trajectory.shape == (3, 2, 3)
    assert torch.equal(batch.trajectory[-1], batch.samples)
    assert not torch.equal(batch.trajectory[0], batch.samples)
    assert steps == [1, 2, 3, 4, 5]


def test_out_of_memory_is_one_line() -> None:
    class Hungry(GaussianScore):
        def __call__(self, x, t, cond=None):
            raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(UserError, match="a batch of 2 does not fit into memory: lower batch_size"):
        made([0, 1, 2], 2, model=Hungry(VPSDE()))


class Record:
    """A sink that records its calls."""

    def __init__(self) -> None:
        self.batches: list[GeneratedBatch] = []
        self.finished: list[Statistics] = []

    def add(self, batch: GeneratedBatch) -> None:
        assert not self.finished
        self.batches.append(batch)

    def finish(self, statistics: Statistics) -> None:
        self.finished.append(statistics)


class Costly(GaussianScore):
    """Sample 2 diverges, sample 1 is far out of range."""

    def __call__(self, x, t, cond=None):
        score = super().__call__(x, t, cond).clone()
        score[(cond["index"] == 2), 0] = torch.nan
        score[(cond["index"] == 1), 0] = 1e4
        return score


def test_statistics_count_all_samples_and_sinks_get_each_once() -> None:
    generation = Generation(Costly(VPSDE()), SAMPLER, (3,), 0, 2, conditioning=lambda index: {"index": index})
    first, second = Record(), Record()
    total = generation.run([0, 1, 2, 5, 7], [first, second])
    assert [batch.index.tolist() for batch in first.batches] == [[0, 1], [2, 5], [7]]
    assert second.batches == first.batches and first.finished == second.finished == [total]
    assert (total.count, total.valid, total.invalid, total.far) == (5, 4, [2], 1)
    assert total.farthest == pytest.approx(float(first.batches[0].reach[1]))
    assert total.nfe == {"mean": 5.0, "least": 5, "most": 5} and total.seconds > 0
    nothing = Record()
    assert generation.run([], [nothing]).nfe is None and len(nothing.finished) == 1


@pytest.mark.parametrize("world", [2, 3])
def test_equal_calls_on_all_ranks_and_no_extra_samples(world: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def work(rank: int) -> tuple[int, list[int], Statistics]:
        calls: list[int] = []

        class Counted(GaussianScore):
            def __call__(self, x, t, cond=None):
                calls.append(len(x))
                return super().__call__(x, t, cond)

        record = Record()
        generation = Generation(Counted(VPSDE()), SAMPLER, (3,), 0, 2)
        total = generation.run(range(4), [record], equal_calls=True)
        return sum(calls), [i for batch in record.batches for i in batch.index.tolist()], total

    outcomes = on_ranks(work, monkeypatch, world)
    assert len({calls for calls, _, _ in outcomes}) == 1
    assert sorted(i for _, made, _ in outcomes for i in made) == [0, 1, 2, 3]
    assert [total.count for *_, total in outcomes] == [4] * world


def test_an_error_in_a_sink_of_one_rank_stops_all_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(Record):
        def add(self, batch: GeneratedBatch) -> None:
            if 1 in batch.index:
                raise UserError("the disk is full")

    def work(rank: int) -> object:
        sink = Full()
        with pytest.raises(UserError, match="the disk is full"):
            Generation(MODEL, SAMPLER, (3,), 0, 2).run(range(4), [sink])
        return sink.finished

    assert on_ranks(work, monkeypatch) == [[], []]


@pytest.mark.parametrize("data_range", ["unit", "centered"])
def test_image_batches_are_converted_to_bytes(data_range: str) -> None:
    generation = Generation(MODEL, SAMPLER, (1, 2, 2), 0, 3, data_range, "truncate")
    (batch,) = generation.batches([0, 1, 2], frames=2)
    assert torch.equal(batch.shown, BYTES.from_model(batch.samples, data_range, "truncate"))
    assert batch.trajectory is not None and torch.equal(batch.trajectory[-1], batch.shown)


def test_labels_depend_on_the_index_only() -> None:
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
    # Four standard deviations of a class frequency.
    assert len(shares) == 4 and (shares - 0.25).abs().max() < 4 * (0.25 * 0.75 / 2000) ** 0.5


@pytest.mark.parametrize(("labels", "classes"), [(4, 4), ([0, -1], 4), ([], 4), ("all", 4), (0, None), ("cycle", 0)])
def test_invalid_labels_are_refused(labels, classes: int | None) -> None:
    with pytest.raises(UserError, match="labels="):
        class_condition(labels, classes)
