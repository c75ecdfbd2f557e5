import json
import zipfile

import numpy as np
import pytest

from src.datamodules.reading.pictures import open_pictures
from src.errors import UserError
from tests.datamodules.support.folders import make, module, picture, values


def test_subfolders_are_classes_sorted_by_name(folder, tmp_path):
    data = module(folder, tmp_path, num_classes=3)
    data.setup("fit")
    assert data.class_names == ["a", "b", "c"]
    assert values(data.images("all")) == [2, 3, 0, 1, 4]
    assert data.images("all").labels.tolist() == [0, 0, 1, 1, 2]
    plain = module(folder, tmp_path, labels=False)
    plain.setup("fit")
    assert plain.num_classes == 0 and plain.images("all").labels is None


def test_all_image_formats_are_read(tmp_path):
    root = tmp_path / "set"
    root.mkdir()
    for value, suffix in enumerate(["png", "jpg", "jpeg", "bmp", "webp", "gif", "tif", "TIFF"]):
        picture(20 * value).save(root / f"{value}.{suffix}", **({"lossless": True} if suffix == "webp" else {}))
    frames = [picture(140), picture(0)]
    frames[0].save(root / "8.gif", save_all=True, append_images=frames[1:])
    read = values(module(root, tmp_path).images("all"))
    assert np.abs(np.array(read) - [0, 20, 40, 60, 80, 100, 120, 140, 140]).max() <= 1


def test_one_subfolder_is_no_class_and_a_common_parent_is_ignored(tmp_path):
    assert open_pictures(make(tmp_path / "y", ["only/1.png", "only/2.png"])).class_names == []
    wrapped = open_pictures(make(tmp_path / "z", ["set/cat/1.png", "set/dog/2.png", "set/catfish/3.png"]))
    assert wrapped.class_names == ["cat", "catfish", "dog"] and wrapped.labels.tolist() == [0, 1, 2]


def test_an_image_outside_class_folders_is_an_error(tmp_path):
    root = make(tmp_path / "x", ["a/1.png", "b/2.png", "3.png"])
    with pytest.raises(UserError, match=r"1 of 3 files .* are in no class folder \(3\.png\).*labels=false"):
        module(root, tmp_path).prepare_data()
    assert len(module(root, tmp_path, labels=False).images("all")) == 3


def test_numeric_class_names_sort_as_numbers(tmp_path):
    root = make(tmp_path / "x", ["10/1.png", "9/2.png", "2/3.png"])
    data = module(root, tmp_path)
    assert data.class_names == ["2", "9", "10"] and data.images("all").labels.tolist() == [2, 0, 1]


def test_folders_called_train_and_test_are_splits(tmp_path):
    names = [f"{split}/{kind}/{i}.png" for split in ("train", "test") for kind in ("cat", "dog") for i in range(3)]
    data = module(make(tmp_path / "x", names), tmp_path, val_fraction=0.34)
    assert data.class_names == ["cat", "dog"] and data.parts == ("train", "val", "test")
    assert len(data.images("test")) == 6 and len(data.images("train")) == 4 and len(data.images("val")) == 2
    # "test" sorts before "train".
    assert values(data.images("test")) == [6, 7, 8, 9, 10, 11]
    assert data.images("test").labels.tolist() == [0, 0, 0, 1, 1, 1]


def test_the_validation_part_is_the_test_split_if_there_is_no_test_folder(tmp_path):
    root = make(tmp_path / "x", [f"{i}.png" for i in range(8)])
    data = module(root, tmp_path, val_fraction=0.25)
    assert values(data.images("test")) == values(data.images("val")) and len(data.images("all")) == 8
    with pytest.raises(UserError, match=r"has no test split.*val_fraction"):
        module(root, tmp_path).images("test")


def test_labels_of_edm_data_sets_are_read(tmp_path):
    root = make(tmp_path / "x", ["00000/img00000000.png", "00000/img00000001.png", "00001/img00000002.png"])
    listed = [["00000/img00000000.png", 2], ["00000/img00000001.png", 0], ["00001/img00000002.png", 1]]
    (root / "dataset.json").write_text(json.dumps({"labels": listed}))
    data = module(root, tmp_path)
    assert data.images("all").labels.tolist() == [2, 0, 1] and data.class_names == ["0", "1", "2"]
    (root / "dataset.json").write_text(json.dumps({"labels": None}))
    assert module(root, tmp_path / "again").class_names == []
    (root / "dataset.json").write_text(json.dumps({"labels": listed[:2]}))
    with pytest.raises(UserError, match=r"no label for 1 of 3 images, first 00001/img00000002\.png"):
        module(root, tmp_path / "third").prepare_data()
    (root / "dataset.json").write_text("{")
    with pytest.raises(UserError, match=r"dataset\.json .* is damaged"):
        module(root, tmp_path / "fourth").prepare_data()


def test_a_zip_archive_gives_the_same_images_as_its_folder(folder, tmp_path):
    archive = tmp_path / "set.zip"
    with zipfile.ZipFile(archive, "w") as out:
        for file in sorted(folder.rglob("*.*")):
            out.write(file, f"top/{file.relative_to(folder)}")
        out.writestr("__MACOSX/top/a/._3.png", b"resource fork")
        out.writestr("top/.hidden.png", b"hidden")
        out.writestr("top/readme.txt", b"text")
    assert open_pictures(archive).notes == ["3 files are not images and were skipped"]
    assert module(archive, tmp_path).fingerprint("all") == module(folder, tmp_path).fingerprint("all")


@pytest.mark.parametrize("workers", [1, 3])
def test_the_order_does_not_depend_on_the_number_of_workers(tmp_path, workers):
    root = make(tmp_path / "set", [f"{i:02}.png" for i in range(30)])
    assert values(module(root, tmp_path, decode_workers=workers).images("all")) == list(range(30))


def test_a_data_set_of_one_image_has_no_validation_part(tmp_path):
    data = module(make(tmp_path / "set", ["1.png"]), tmp_path, val_fraction=0.5, global_batch_size=1)
    data.setup("fit")
    assert len(data.images("train")) == 1 and data.val_dataloader() == []
    assert next(iter(data.train_dataloader()))["x"].shape == (1, 3, 6, 6)


def test_the_validation_part_is_fixed_disjoint_and_of_the_given_size(tmp_path):
    root = make(tmp_path / "set", [f"{i:02}.png" for i in range(40)])
    parts = [values(module(root, tmp_path, val_fraction=0.25, seed=seed).images("val")) for seed in (0, 1)]
    data = module(root, tmp_path, val_fraction=0.25)
    assert parts[0] == parts[1] and len(parts[0]) == 10
    assert sorted(values(data.images("train")) + parts[0]) == list(range(40))
    assert len(module(root, tmp_path, val_fraction=0.001).images("val")) == 1
    assert len(module(root, tmp_path).images("val")) == 0


def test_cropped_and_enlarged_images_give_warnings(tmp_path, caplog):
    root = tmp_path / "set"
    root.mkdir()
    for value, size in enumerate([(6, 6), (20, 9), (3, 50), (7, 7)]):
        picture(value, size).save(root / f"{value}.png")
    assert values(module(root, tmp_path).images("all")) == [0, 1, 2, 3]
    assert "2 image(s) have other proportions than 6x6 and lose up to 94%" in caplog.text
    assert "1 image(s) are smaller than 6x6 pixels and were enlarged" in caplog.text


def test_gray_images_have_one_channel(folder, tmp_path):
    data = module(folder, tmp_path, channels=1)
    data.setup("fit")
    assert data.images("all").shape == (5, 1, 6, 6) and values(data.images("all")) == [2, 3, 0, 1, 4]


def test_invalid_settings_are_refused(folder, tmp_path):
    for settings, message in (({"val_fraction": 1.0}, "val_fraction=1.0"), ({"channels": 0}, "channels=0")):
        with pytest.raises(UserError, match=message):
            module(folder, tmp_path, **settings)
