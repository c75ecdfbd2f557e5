from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from src.metrics import gaussian_baseline

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "conf" / "metric").glob("*.yaml"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_config_scores_images(path, inception_file, digits, classifier_file, dino_file, tmp_path):
    data = {"channels": 1, "image_size": 8}
    config = OmegaConf.create({"datamodule": data, "metric": OmegaConf.load(path)}).metric
    config.cache_dir = str(tmp_path)
    network = config.extractor._target_.endswith("InceptionFeatures")
    if network:
        config.extractor.weights_path = str(inception_file)
        config.metrics.pop("frechet")  # slow with 2048 features; the small extractors test it
    if config.extractor._target_.endswith("ClassifierFeatures"):
        config.extractor.weights_path = str(classifier_file)
    if config.extractor._target_.endswith("DinoFeatures"):
        config.extractor.weights_path = str(dino_file)
        network = bool(config.metrics.pop("frechet"))
    suite = instantiate(config, _convert_="all")
    real = digits[0][: 7 if network else 600]
    images, index = gaussian_baseline(digits[0], len(real)), torch.arange(len(real))
    suite.update(images, index)
    reference = suite.reference([real], "digits", "digits train")
    scores = suite.compute(reference, quantization="round")
    assert all(torch.tensor(value).isfinite() for value in scores.values.values())
    assert bool(scores.values) != (config.metrics == {})
    assert scores.conditions["samples"] == len(real)
    if network:
        return
    # Another order, and the first images twice: each image counts once.
    suite.reset()
    suite.update(images.flip(0), index.flip(0))
    suite.update(images[:2], index[:2])
    assert suite.compute(reference, quantization="round").values == pytest.approx(scores.values, rel=1e-5)
