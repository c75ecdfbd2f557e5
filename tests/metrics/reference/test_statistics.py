import logging

import numpy as np
import pytest
import torch

from src.errors import UserError
from src.metrics import StatisticsAccumulator, load_statistics, statistics_of


@pytest.fixture
def features():
    return torch.randn(50, 7, generator=torch.Generator().manual_seed(0)) + 3


def test_moments_agree_with_numpy(features):
    statistics = statistics_of(features, "f")
    np.testing.assert_allclose(statistics.mu, features.double().numpy().mean(0), rtol=1e-13)
    np.testing.assert_allclose(statistics.sigma, np.cov(features.double().numpy().T), rtol=1e-10, atol=1e-12)
    assert statistics.n == 50


def test_merged_parts_equal_the_whole(features):
    left, right = StatisticsAccumulator(7), StatisticsAccumulator(7)
    for part in features[:13].split(5):
        left.update(part)
    right.update(features[13:])
    left.merge(right)
    whole, merged = statistics_of(features, "f"), left.statistics("f")
    torch.testing.assert_close(merged.sigma, whole.sigma, rtol=1e-12, atol=1e-13)
    assert merged.n == whole.n


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_samples_are_refused(features, count):
    with pytest.raises(UserError, match="at least 2"):
        statistics_of(features[:count], "f")


def test_infinite_features_are_refused(features):
    features[3, 2] = torch.inf
    with pytest.raises(UserError, match="not finite"):
        statistics_of(features, "f")


def test_save_and_load(features, tmp_path):
    statistics = statistics_of(features, "f-1", "data train")
    statistics.save(tmp_path / "s.npz")
    read = load_statistics(tmp_path / "s.npz", "f-1", 7)
    assert torch.equal(read.mu, statistics.mu) and torch.equal(read.sigma, statistics.sigma)
    assert (read.n, read.fingerprint, read.source) == (50, "f-1", "data train")
    assert [path.name for path in tmp_path.iterdir()] == ["s.npz"]


def test_a_failed_write_keeps_the_old_file(features, tmp_path, monkeypatch):
    path = tmp_path / "s.npz"
    statistics_of(features, "old").save(path)

    def fail(file, **_):
        file.write(b"half a file")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", fail)
    with pytest.raises(UserError, match=r"s\.npz cannot be written \(No space left"):
        statistics_of(features, "new").save(path)
    assert load_statistics(path).fingerprint == "old"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("dtype", ["<f8", ">f8", "<f4"])
def test_files_of_other_programs_are_read_with_a_warning(features, tmp_path, dtype, caplog):
    mu, sigma = features.numpy().mean(0), np.cov(features.numpy().T)
    np.savez(tmp_path / "fid.npz", mu=mu.astype(dtype), sigma=sigma.astype(dtype))
    with caplog.at_level(logging.WARNING):
        read = load_statistics(tmp_path / "fid.npz", "inception-x", 7)
    np.testing.assert_allclose(read.sigma, sigma, rtol=1e-6)
    assert read.n is None and read.fingerprint is None
    assert "does not name its extractor" in caplog.text


@pytest.mark.parametrize("logits", [np.zeros(3), None], ids=["logits", "None, as at 256 pixels"])
def test_raw_pool_3_features_are_read(features, tmp_path, logits):
    np.savez(tmp_path / "cifar10_stats.npz", pool_3=features.numpy(), logits=logits)
    read, expected = load_statistics(tmp_path / "cifar10_stats.npz"), statistics_of(features, None)
    assert torch.equal(read.sigma, expected.sigma) and read.n == 50


EYE = np.eye(3)
BROKEN = {
    "no covariance": ({"mu": np.zeros(3), "sigma": -EYE}, "negative eigenvalues"),
    "asymmetric": ({"mu": np.zeros(3), "sigma": EYE + np.triu(np.ones((3, 3)))}, "not symmetric"),
    "shapes": ({"mu": np.zeros(4), "sigma": EYE}, r"mu \(4,\) and sigma \(3, 3\)"),
    "other net": ({"mu": np.zeros(2), "sigma": np.eye(2)}, "2 features, but the extractor has 3"),
    "nan": ({"mu": np.full(3, np.nan), "sigma": EYE}, "not finite"),
    "other keys": ({"weights": np.zeros(3)}, "not mu and sigma"),
    "other extractor": ({"mu": np.zeros(3), "sigma": EYE, "fingerprint": np.array("g")}, "computed with g"),
    "objects": ({"mu": np.array([None, 1]), "sigma": EYE}, "Python objects"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_invalid_files_give_one_line_with_their_name(tmp_path, case):
    arrays, message = BROKEN[case]
    path = tmp_path / "broken.npz"
    np.savez(path, **arrays)
    with pytest.raises(UserError, match=message) as caught:
        load_statistics(path, "f", 3)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("keep", [0, 10, 200])
def test_truncated_files_are_refused(features, tmp_path, keep):
    path = tmp_path / "s.npz"
    statistics_of(features, "f").save(path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError, match="cannot be read"):
        load_statistics(path)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        load_statistics(tmp_path / "none.npz")


NAMED = [("cifar10_legacy_pytorch_train_32", "pytorch"), ("ffhq_clean_trainval70k_1024", "clean"), ("any", "tf")]


@pytest.mark.parametrize(("name", "resize"), NAMED)
def test_statistics_of_another_resize_are_refused(features, tmp_path, name, resize):
    path = tmp_path / f"{name}.npz"
    if name == "any":
        np.savez(path, pool_3=features.numpy())
    else:
        np.savez(path, mu=np.zeros(7), sigma=np.eye(7))
    assert load_statistics(path, "inception", 7, resize).fingerprint is None
    other = "tf" if resize != "tf" else "clean"
    with pytest.raises(UserError, match=f"was made with resize={resize}.*set metric.extractor.resize={resize}"):
        load_statistics(path, "inception", 7, other)


@pytest.mark.parametrize(
    ("save", "message"), [(np.savez_compressed, "like files of pytorch-fid"), (np.savez, "of EDM")]
)
def test_an_unknown_resize_gives_a_warning(tmp_path, save, message, caplog):
    save(tmp_path / "fid_stats.npz", mu=np.zeros(7), sigma=np.eye(7))
    with caplog.at_level(logging.WARNING):
        load_statistics(tmp_path / "fid_stats.npz", "inception", 7, "tf")
    assert message in caplog.text
    caplog.clear()
    load_statistics(tmp_path / "fid_stats.npz", "digits", 7, "none")
    assert "pytorch-fid" not in caplog.text
