import pickle

import pytest
import torch

from src.datamodules.addressing import AddressedBatchSampler, ShardSampler
from src.errors import UserError
from src.noise import permutation
from tests.support.pairwise import pairwise


def test_an_epoch_is_a_permutation_split_into_full_batches():
    addresses = list(AddressedBatchSampler(43, 8, seed=5))
    order = permutation(5, "data order", 0, 43)
    assert [a.step for a in addresses] == [0, 1, 2, 3, 4]
    assert torch.equal(torch.cat([a.index for a in addresses]), order[:40])
    assert all(torch.equal(a.position, torch.arange(8)) for a in addresses)


@pytest.mark.parametrize(("world_size", "accumulate"), [(1, 1), (2, 1), (1, 2), (2, 2), (4, 3)])
def test_the_global_batch_does_not_depend_on_processes_and_accumulation(world_size, accumulate):
    whole = list(AddressedBatchSampler(60, 24, seed=1, completed_steps=lambda: 3))
    ranks = [
        list(
            AddressedBatchSampler(
                60, 24, seed=1, world_size=world_size, rank=r, accumulate=accumulate, completed_steps=lambda: 3
            )
        )
        for r in range(world_size)
    ]
    size = 24 // (world_size * accumulate)
    for k, expected in enumerate(whole):
        for a in range(accumulate):
            for r in range(world_size):
                part = ranks[r][k * accumulate + a]
                first = a * world_size * size + r * size
                assert part.position.tolist() == list(range(first, first + size))
                assert torch.equal(part.index, expected.index[part.position])
                assert (part.step, part.epoch) == (expected.step, expected.epoch) == (3 + k, 1)


def test_each_sample_once_per_epoch_and_epochs_differ():
    epochs = [
        torch.cat([a.index for a in AddressedBatchSampler(32, 8, seed=0, completed_steps=lambda done=4 * e: done)])
        for e in range(3)
    ]
    assert all(sorted(order.tolist()) == list(range(32)) for order in epochs)
    assert not torch.equal(epochs[0], epochs[1]) and not torch.equal(epochs[1], epochs[2])
    other = torch.cat([a.index for a in AddressedBatchSampler(32, 8, seed=1)])
    assert not torch.equal(epochs[0], other)


def test_the_step_is_read_at_the_first_batch():
    done = 0
    sampler = AddressedBatchSampler(40, 8, seed=0, completed_steps=lambda: done)
    iterator = iter(sampler)
    done = 7
    first = next(iterator)
    assert (first.step, first.epoch) == (7, 1)
    assert len([first, *iterator]) == 3
    assert len(sampler) == 5


def test_steps_continue_over_epochs():
    steps = []
    for _ in range(7):
        steps += [a.step for a in AddressedBatchSampler(24, 8, seed=0, completed_steps=lambda: len(steps))]  # noqa: B023
    assert steps == list(range(21))


def test_indivisible_and_too_large_batches_are_refused():
    with pytest.raises(UserError, match=r"global_batch_size=30 .* 4 process\(es\) times 2 .* multiple of 8"):
        AddressedBatchSampler(100, 30, seed=0, world_size=4, accumulate=2)
    with pytest.raises(UserError, match="global_batch_size=128 exceeds the 100 training samples"):
        AddressedBatchSampler(100, 128, seed=0)
    with pytest.raises(UserError, match="global_batch_size=0"):
        AddressedBatchSampler(100, 0, seed=0)


@pytest.mark.parametrize(("count", "world_size", "batch_size"), pairwise([1, 2, 5, 7, 8, 23], [1, 2, 3], [1, 3, 64]))
def test_shards_contain_each_sample_once_in_equally_many_batches(count, world_size, batch_size):
    if count < world_size:
        with pytest.raises(ValueError, match="cannot be divided"):
            ShardSampler(count, batch_size, world_size=world_size)
        return
    shards = [list(ShardSampler(count, batch_size, world_size=world_size, rank=r)) for r in range(world_size)]
    assert len({len(shard) for shard in shards}) == 1
    sizes = [len(batch.index) for shard in shards for batch in shard]
    assert min(sizes) >= 1 and max(sizes) <= max(batch_size, 2 if count % world_size else 1)
    for r, shard in enumerate(shards):
        assert torch.cat([batch.index for batch in shard]).tolist() == list(range(r, count, world_size))
        assert len(shard) == len(ShardSampler(count, batch_size, world_size=world_size, rank=r))


def test_addresses_can_be_pickled():
    address = next(iter(AddressedBatchSampler(40, 8, seed=0)))
    copy = pickle.loads(pickle.dumps(address))
    assert torch.equal(copy.index, address.index) and (copy.step, copy.epoch) == (0, 0)
