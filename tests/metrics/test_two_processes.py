"""Two processes with unequal shares give the scores of one."""

import os
import socket

import pytest
import torch
import torch.distributed as dist

from src.errors import UserError
from src.metrics import (
    ClassifierReport,
    FrechetDistance,
    InceptionScore,
    KernelDistance,
    MetricSuite,
    PixelFeatures,
    Reference,
    gaussian_baseline,
    statistics_of,
)
from src.noise import uniform
from tests.reliability.support.entry import context

SPLIT = 70
COUNT = 200


class Classes(PixelFeatures):
    """Pixel features with class probabilities."""

    num_classes = 4

    def probabilities(self, features):
        return (8 * features[:, :4]).softmax(1)


def scores(shares):
    """Return the scores of the images with the given indices, with two extractors."""
    real = uniform(0, "images", 0, torch.arange(400), (1, 4, 4)).pow(2).mul(255).byte()
    images = gaussian_baseline(real, COUNT)
    pixels, classes = PixelFeatures((1, 4, 4)), Classes((1, 4, 4))
    reference = Reference(statistics_of(pixels(real), pixels.fingerprint, "digits"), pixels(real))
    metrics = {
        "frechet": FrechetDistance(),
        "kid": KernelDistance(5, 50),
        "classes": ClassifierReport(features="classes"),
        "inception_score": InceptionScore(5, features="classes"),
    }
    suite = MetricSuite(pixels, metrics, {"classes": classes})
    for share in shares:
        suite.update(images[share], share)
    result = suite.compute({"main": reference}, quantization="round")
    # After compute the states are unsynchronized again, so that more images can be added.
    assert len(torch.cat(suite.metrics["kid"].features)) == sum(map(len, shares))
    return result.values, result.conditions["samples"]


def work(rank, port, queue):
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    dist.init_process_group("gloo", rank=rank, world_size=2)
    everything = torch.arange(COUNT)
    # Both ranks have images 60 to 70; the second time one rank has all images.
    result = scores([everything[:SPLIT]] if rank == 0 else everything[SPLIT - 10 :].split(50))
    lopsided = scores([] if rank == 0 else [everything])
    suite = MetricSuite(PixelFeatures((1, 4, 4)), {"frechet": FrechetDistance()})
    if rank == 1:
        suite.update(torch.zeros(1, 1, 4, 4, dtype=torch.uint8), torch.zeros(1, dtype=torch.int64))
    try:
        suite.compute({}, quantization="round")
    except UserError as error:
        queue.put((result, lopsided, str(error)))
    dist.barrier()
    dist.destroy_process_group()


@pytest.mark.timeout(240)
def test_two_processes_score_like_one():
    expected, count = scores([torch.arange(COUNT)])
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    queue = context.SimpleQueue()
    ranks = [context.Process(target=work, args=(rank, port, queue)) for rank in range(2)]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join()
        assert rank.exitcode == 0
    for _ in range(2):
        *results, error = queue.get()
        for values, samples in results:
            assert values == pytest.approx(expected, rel=1e-6) and samples == count == COUNT
        assert "1 images cannot be scored" in error
