import io
import json
import logging
import multiprocessing
import os
import zipfile
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from src.datamodules.image_folder import ImageFolderDataModule
from src.datamodules.reading import cache
from src.datamodules.reading import decoding as parallel_decoding
from src.datamodules.reading.pictures import open_pictures as find_images
from src.errors import UserError
from src.io import atomic


def picture(value, size=(6, 6), mode="RGB"):
    return Image.new(mode, size, value if mode == "L" else (value, value, value))


def make(root, names):
    """Write images filled with 0, 1, 2, ... in the order of ``names``."""
    for value, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        picture(value).save(root / name)
    return root


def module(path, tmp_path, **settings):
    settings = {"image_size": 6, "decode_workers": 1, "global_batch_size": 2, **settings}
    return ImageFolderDataModule(path=path, data_dir=tmp_path / "data", **settings)


def values(images):
    return images[:][:, 0, 0, 0].tolist()


@pytest.fixture
def folder(tmp_path):
    return make(tmp_path / "set", ["b/1.png", "b/2.png", "a/3.png", "a/deep/4.bmp", "c/5.tif"])


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
    assert find_images(make(tmp_path / "y", ["only/1.png", "only/2.png"])).class_names == []
    wrapped = find_images(make(tmp_path / "z", ["set/cat/1.png", "set/dog/2.png", "set/catfish/3.png"]))
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
    assert find_images(archive).notes == ["3 files are not images and were skipped"]
    assert module(archive, tmp_path).fingerprint("all") == module(folder, tmp_path).fingerprint("all")


@pytest.mark.parametrize("workers", [1, 3])
def test_the_order_does_not_depend_on_the_number_of_workers(tmp_path, workers):
    root = make(tmp_path / "set", [f"{i:02}.png" for i in range(30)])
    assert values(module(root, tmp_path, decode_workers=workers).images("all")) == list(range(30))


def test_decoded_images_are_cached_until_files_or_size_change(folder, tmp_path, monkeypatch):
    calls = []
    real = parallel_decoding.decode
    monkeypatch.setattr("src.datamodules.image_folder.decode", lambda *a: calls.append(1) or real(*a))
    for _ in range(2):
        module(folder, tmp_path).prepare_data()
    assert len(calls) == 1
    for file in folder.rglob("*.png"):
        os.utime(file, (0, 0))
    module(folder, tmp_path).prepare_data()
    assert len(calls) == 1
    module(folder, tmp_path, image_size=3).prepare_data()
    assert len(calls) == 2
    picture(99).save(folder / "a/3.png")
    assert values(module(folder, tmp_path).images("all"))[0] == 99
    assert len(calls) == 3


def test_broken_images_are_listed_or_skipped(folder, tmp_path, caplog):
    (folder / "a/0_empty.png").touch()
    whole = io.BytesIO()
    Image.effect_noise((64, 64), 50).save(whole, "png")
    (folder / "b/9_cut.png").write_bytes(whole.getvalue()[:600])
    (folder / "c/text.jpg").write_text("no image")
    with pytest.raises(UserError) as refused:
        module(folder, tmp_path).prepare_data()
    line = str(refused.value)
    assert "\n" not in line and "3 of 8 images" in line and "on_broken=skip" in line
    assert "a/0_empty.png (empty file)" in line and "b/9_cut.png (" in line and "c/text.jpg (not an image)" in line
    kept = module(folder, tmp_path, on_broken="skip")
    kept.setup("fit")
    assert values(kept.images("all")) == [2, 3, 0, 1, 4] and kept.images("all").labels.tolist() == [0, 0, 1, 1, 2]
    assert "3 of 8 images" in caplog.text


def test_only_the_first_broken_files_are_listed(tmp_path):
    root = make(tmp_path / "set", ["z.png"])
    for i in range(9):
        (root / f"{i}.png").touch()
    with pytest.raises(UserError, match=r"9 of 10 .*4\.png \(empty file\) and 4 more; repair"):
        module(root, tmp_path).prepare_data()
    (root / "z.png").unlink()
    with pytest.raises(UserError, match="9 of 9"):
        module(root, tmp_path, on_broken="skip").prepare_data()


def test_missing_empty_and_damaged_sources_give_one_line(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty/notes.txt").write_text("text")
    (tmp_path / "cut.zip").write_bytes(b"PK\x03\x04 and no end")
    for name, message in (
        ("nowhere", "does not exist: give a folder"),
        ("empty", r"contains no image \(among 1 files\)"),
        ("cut.zip", "is not a complete zip archive .* copy it again"),
    ):
        with pytest.raises(UserError, match=message) as refused:
            module(tmp_path / name, tmp_path).prepare_data()
        assert "\n" not in str(refused.value)


def test_a_damaged_archive_member_is_reported(folder, tmp_path):
    archive = tmp_path / "set.zip"
    with zipfile.ZipFile(archive, "w") as out:
        for file in sorted(folder.rglob("*.*")):
            out.write(file, file.relative_to(folder))
    content = bytearray(archive.read_bytes())
    start = content.index(b"IDAT")
    content[start + 6] ^= 0xFF
    archive.write_bytes(content)
    with pytest.raises(UserError, match=r"1 of 5 images .* a/3\.png \(Bad CRC"):
        module(archive, tmp_path).prepare_data()


def test_a_full_disk_is_reported_before_decoding(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda _: SimpleNamespace(free=500))
    monkeypatch.setattr("src.datamodules.image_folder.decode", None)
    with pytest.raises(UserError, match=r"5 decoded images need 0\.5 kB, .* larger disk"):
        module(folder, tmp_path).prepare_data()
    assert not [p for p in (tmp_path / "data/decoded").iterdir() if p.suffix == ".partial"]


def test_an_unwritable_data_dir_is_reported(folder, tmp_path):
    (tmp_path / "data").write_text("a file where a folder should be")
    with pytest.raises(UserError, match=r"cannot be written .* datamodule\.data_dir"):
        module(folder, tmp_path).prepare_data()


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


def test_decoding_logs_its_progress(folder, tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        module(folder, tmp_path).prepare_data()
    assert [m for m in caplog.messages if m.startswith("decoding set: 5 of 5 images, ") and m.endswith("0:00 left")]


def _prepare(folder, tmp_path, log):
    real = parallel_decoding.decode

    def slow(*arguments):
        with log.open("a") as out:
            out.write("decoded\n")
        import time

        time.sleep(0.3)
        return real(*arguments)

    import src.datamodules.image_folder as home

    home.decode = slow
    assert len(module(folder, tmp_path).images("all")) == 5


def test_only_one_of_several_processes_decodes(folder, tmp_path):
    log = tmp_path / "log"
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_prepare, args=(folder, tmp_path, log)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert log.read_text() == "decoded\n"


def test_temporary_files_of_an_interrupted_run_are_deleted(folder, tmp_path, monkeypatch):
    def interrupted(files, images, *_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("src.datamodules.image_folder.decode", interrupted)
        patch.setattr(atomic, "_delete", lambda _: None)
        patch.setattr(atomic.os, "getpid", lambda: 123)
        with pytest.raises(KeyboardInterrupt):
            module(folder, tmp_path).prepare_data()
    assert list((tmp_path / "data/decoded").glob(".*.tmp"))
    assert torch.equal(module(folder, tmp_path).images("all")[0], torch.full((3, 6, 6), 2, dtype=torch.uint8))
    assert not list((tmp_path / "data/decoded").glob(".*.tmp"))


def test_invalid_settings_are_refused(folder, tmp_path):
    for settings, message in (({"val_fraction": 1.0}, "val_fraction=1.0"), ({"channels": 0}, "channels=0")):
        with pytest.raises(UserError, match=message):
            module(folder, tmp_path, **settings)
