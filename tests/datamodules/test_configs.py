import inspect
import subprocess
import sys
from itertools import islice

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import get_class, instantiate
from omegaconf import OmegaConf

from src.data_range import RANGES
from src.datamodules.base import ImageDataModule
from src.datamodules.torchvision_images import TorchvisionDataModule
from tests.support.configs import CONF, names, read

NAMES = names("datamodule")


def composed(name, *overrides):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose(overrides=[f"+datamodule={name}", *overrides]).datamodule


@pytest.mark.parametrize("name", NAMES)
def test_every_config_builds_its_datamodule(name, tmp_path):
    config = composed(name)
    for key, value in (("path", "x"), ("dim", 5)):
        if OmegaConf.is_missing(config, key):
            config[key] = value
    module = instantiate(config, _convert_="all")
    for key in ("global_batch_size", "eval_batch_size", "data_range", "seed"):
        assert getattr(module, key) == config[key]
    if isinstance(module, ImageDataModule) and "dim" not in config:
        # Net configs refer to these values before data are loaded.
        assert isinstance(config.image_size, int) and config.channels in (1, 3)
        assert module.shape == (config.channels, config.image_size, config.image_size)
        assert config.num_classes is None or module.num_classes == config.num_classes
        # The splits of an image folder are known only after reading it.
        own = {"train", "val"} if name == "image_folder" else set(module.parts)
        known = own | {*getattr(module, "splits", ()), "all"}
        for split in ("train_split", "val_split", "reference_split"):
            assert config[split] in known
    else:
        assert module.shape == (config.dim,)


def is_here(name):
    """Whether the data are neither downloaded nor given by the user."""
    config = read("datamodule", name)
    given = any(OmegaConf.is_missing(config, key) for key in config)
    return not given and not issubclass(get_class(config._target_), TorchvisionDataModule)


@pytest.mark.parametrize("name", filter(is_here, NAMES))
def test_an_epoch_holds_each_sample_once_in_the_range_of_the_data(name, tmp_path):
    config = composed(name)
    if "data_dir" in config:
        config.data_dir = str(tmp_path)
    module = instantiate(config, _convert_="all")
    module.prepare_data()
    module.setup("fit")
    low, high = RANGES[module.data_range]
    for loader, size in ((module.train_dataloader(), module.global_batch_size), (module.val_dataloader(), None)):
        batches = [module.on_after_batch_transfer(batch, 0) for batch in islice(loader, 20)]
        index = torch.cat([batch["index"] for batch in batches])
        assert len(index.unique()) == len(index) and int(index.min()) >= 0
        for batch in batches:
            x = batch["x"]
            assert x.shape[1:] == module.shape and x.is_floating_point() and bool(x.isfinite().all())
            assert size is None or len(x) == size
            assert len(module.shape) != 3 or low <= float(x.min()) <= float(x.max()) <= high
            labels = batch.get("labels", torch.zeros(1))
            assert 0 <= int(labels.min()) <= int(labels.max()) < max(module.num_classes, 1)
    # The same address, the same sample.
    first, again = (next(iter(module.train_dataloader())) for _ in range(2))
    assert torch.equal(first["x"], again["x"]) and torch.equal(first["index"], again["index"])


@pytest.mark.parametrize("name", [name for name in NAMES if "dataset" in read("datamodule", name)])
def test_every_torchvision_config_uses_valid_arguments(name):
    config = composed(name)
    from torchvision import datasets

    arguments = inspect.signature(getattr(datasets, config.dataset)).parameters
    for split in config.splits.values():
        assert set(split) <= set(arguments)


def test_the_data_seed_follows_the_run_seed():
    assert composed("digits").seed == 0
    assert composed("digits", "+seed=7").seed == 7


def test_a_missing_path_is_an_error():
    with pytest.raises(Exception, match="path"):
        instantiate(composed("image_folder"), _convert_="all")


def test_importing_the_package_imports_no_heavy_library():
    code = (
        "import sys, src.datamodules, src.datamodules.reading.decoding\n"
        "assert not {'torch', 'lightning', 'torchvision', 'sklearn'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=CONF.parent)


def test_exported_names_can_be_imported():
    from src import datamodules

    assert set(datamodules.__all__) == set(datamodules._HOMES)
    assert all(getattr(datamodules, name).__name__ == name for name in datamodules.__all__)
