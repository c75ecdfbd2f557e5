import pytest
import torch

from src.datamodules import doctor, examination
from src.datamodules.image_set import ImageSet
from tests.datamodules.support.memory import MemoryDataModule


def test_the_largest_distance_is_found():
    x = torch.randn(1300, 7, generator=torch.Generator().manual_seed(0))
    x[3], x[1207] = 100.0, -50.0
    assert examination.largest_distance(x) == pytest.approx(150 * 7**0.5, rel=1e-5)


def examine(images, **settings):
    class Given(MemoryDataModule):
        def load_split(self, name):
            return ImageSet(images)

    module = Given(num_classes=None, image_size=images.shape[-1], channels=images.shape[1], **settings)
    return doctor.examine(module)


def test_facts_match_the_images_in_their_data_range():
    images = torch.randint(0, 256, (50, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    for data_range, x in (("unit", images.double() / 255), ("centered", images.double() / 127.5 - 1)):
        facts = dict(examine(images, data_range=data_range).facts)
        distance = torch.cdist(x.flatten(1), x.flatten(1)).max().item()
        assert facts["largest distance"] == f"{distance:.2f} among 50 images"
        assert distance <= float(facts["recommended sigma_max"]) < 1.1 * distance
        assert facts["sigma_data"] == f"{x.std(correction=0):.4f}"
        assert facts["channel means"] == " ".join(f"{m:.4f}" for m in x.mean((0, 2, 3)))
    assert not examine(images).warnings


def test_duplicates_constant_and_gray_or_dark_images_are_flagged():
    images = torch.randint(0, 256, (50, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    images[7] = images[2]
    images[40] = 5
    assert examine(images).warnings == [
        "1 image(s) repeat another one: 2=7",
        "1 image(s) have one color only: 40",
    ]
    gray = images[8:20, :1].expand(-1, 3, -1, -1).contiguous()
    assert any("look gray" in line for line in examine(gray).warnings)
    assert any("largest byte is 16" in line for line in examine(images[8:20] // 16 + 1).warnings)
    assert any("very bright" in line for line in examine(images[8:20] // 2 + 128).warnings)


def test_the_command_prints_a_table_or_one_error_line(capsys):
    assert doctor.main(["datamodule=digits", "datamodule.data_range=centered"]) == 0
    out = capsys.readouterr().out
    assert "1,500 of 1 x 8 x 8" in out and "recommended sigma_max" in out and "centered" in out
    assert doctor.main(["datamodule=toy2d", "datamodule.kind=spirals"]) == 0
    assert "spirals, dimension 2" in capsys.readouterr().out
    for arguments in ([], ["datamodule=nowhere"], ["datamodule=image_folder", "datamodule.path=/does/not/exist"]):
        assert doctor.main(arguments) == 1
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and error.strip()
