"""A folder of five images in three classes."""

import pytest

from tests.datamodules.support.folders import make


@pytest.fixture
def folder(tmp_path):
    return make(tmp_path / "set", ["b/1.png", "b/2.png", "a/3.png", "a/deep/4.bmp", "c/5.tif"])
