"""Two processes with unequal shares score like one."""

import os
import socket

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from src.errors import UserError
from src.metrics import FrechetDistance, KernelDistance, MetricSuite, PixelFeatures, Reference, gaussian_baseline
from src.metrics.frechet_metric import Frechet
from src.metrics.statistics import statistics_of
from src.noise import uniform

SPLIT = 70
COUNT = 200


def inputs():
    index = torch.arange(400)
    real = uniform(0, "images", 0, index, (1, 4, 4)).pow(2).mul(255).byte()
    pixels = PixelFeatures((1, 4, 4))
    reference = Reference(statistics_of(pixels(real), pixels.fingerprint, "digits"), pixels(real))
    return pixels, reference, gaussian_baseline(real, COUNT)


def scores(shares):
    """Distances of the images whose indices are given, by torchmetrics and by a suite, then without any image."""
    pixels, reference, images = inputs()
    metric = FrechetDistance(pixels, reference.statistics)
    suite = MetricSuite(pixels, {"frechet": Frechet(), "kid": KernelDistance(5, 50)})
    for share in shares:
        metric.update(images[share], real=False)
        suite.update(images[share], share)
    result = metric.scores("round")
    assert float(metric.compute()) == result.values["frechet_pixel"]
    both = {"torchmetrics": result.values["frechet_pixel"], **suite.compute(reference, quantisation="round").values}
    return both, result.conditions["samples"]


def work(rank, port, queue):
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    dist.init_process_group("gloo", rank=rank, world_size=2)
    everything = torch.arange(COUNT)
    result = scores([everything[:SPLIT]] if rank == 0 else everything[SPLIT:].split(50))
    empty = MetricSuite(PixelFeatures((1, 4, 4)), {"frechet": Frechet()})
    if rank == 1:
        empty.update(torch.zeros(1, 1, 4, 4, dtype=torch.uint8), torch.zeros(1, dtype=torch.int64))
    try:
        empty.compute(None, quantisation="round")
    except UserError as error:
        queue.put((*result, str(error)))
    dist.barrier()
    dist.destroy_process_group()


@pytest.mark.timeout(240)
def test_two_processes_score_like_one():
    expected, count = scores([torch.arange(COUNT)])
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    queue = mp.get_context("spawn").SimpleQueue()
    mp.spawn(work, args=(port, queue), nprocs=2)
    for _ in range(2):
        values, samples, error = queue.get()
        assert values == pytest.approx(expected, rel=1e-6) and samples == count == COUNT
        assert "1 images cannot be scored" in error
