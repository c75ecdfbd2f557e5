"""The cache of decoded images: when it is made anew, what a damaged source or a full disk does to it, who writes it."""

import io
import logging
import multiprocessing
import os
import zipfile
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from src.datamodules.reading import cache
from src.datamodules.reading import decoding as parallel_decoding
from src.errors import UserError
from src.io import atomic
from tests.datamodules.support.folders import make, module, picture, values


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
