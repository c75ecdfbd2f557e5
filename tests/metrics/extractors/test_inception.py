import logging
import urllib.error

import numpy as np
import pytest
import torch
from PIL import Image
from torchmetrics.image.fid import NoTrainInceptionV3

from src.errors import UserError
from src.metrics import InceptionFeatures
from src.metrics.extractors.inception_weights import URL
from src.metrics.extractors.resize import RESIZES


@pytest.fixture(scope="module")
def images():
    return torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("resize", "antialias"), [("tf", False), ("antialias", True)])
def test_features_and_probabilities_agree_with_torchmetrics(inception_file, images, resize, antialias):
    outputs = ["2048", "logits_unbiased"]
    theirs = NoTrainInceptionV3("inception-v3-compat", outputs, str(inception_file), antialias)
    expected, logits = theirs._torch_fidelity_forward(images)
    ours = InceptionFeatures(inception_file, resize=resize)
    features = ours(images)
    torch.testing.assert_close(features, expected)
    torch.testing.assert_close(ours.probabilities(features), logits.softmax(1))
    assert features.shape == (2, 2048) and (features[0] - features[1]).std() > 1e-3
    assert ours.fingerprint.endswith(f"antialias-{str(antialias).lower()}")


def test_gray_images_and_autocast(inception_file, images):
    net = InceptionFeatures(inception_file)
    gray = images[:1, :1]
    expected = net(gray.repeat(1, 3, 1, 1))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(net(gray), expected)
    with pytest.raises(ValueError, match="1 or 3 channels"):
        net(images[:, :2])


def test_stays_in_eval_mode_and_keeps_the_random_state(inception_file, caplog):
    state = torch.get_rng_state()
    with caplog.at_level(logging.WARNING):
        net = InceptionFeatures(inception_file).train()
    assert not net.training and not any(parameter.requires_grad for parameter in net.parameters())
    assert torch.equal(state, torch.get_rng_state())
    assert "not the published file" in caplog.text


def one_line(path):
    with pytest.raises(UserError) as caught:
        InceptionFeatures(path)
    assert "\n" not in str(caught.value)
    assert "pt_inception-2015-12-05-6726825d.pth" in str(caught.value) and "weights_path" in str(caught.value)
    return str(caught.value)


def test_missing_truncated_and_other_files_are_refused(inception_file, tmp_path):
    path = tmp_path / "weights.pth"
    assert "no readable" in one_line(path)
    path.write_bytes(inception_file.read_bytes()[:1_000_000])
    assert "damaged" in one_line(path)
    torch.save({"a": torch.zeros(2)}, path)
    assert "not those of the FID Inception" in one_line(path)
    torch.save([torch.zeros(2)], path)
    assert "not a state dict" in one_line(path)


def test_code_in_a_file_is_not_run(tmp_path):
    class Payload:
        def __reduce__(self):
            return (tmp_path.joinpath("ran").touch, ())

    torch.save(Payload(), tmp_path / "weights.pth")
    assert "plain state dict" in one_line(tmp_path / "weights.pth")
    assert not (tmp_path / "ran").exists()


def test_failed_download_and_damaged_cache_give_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def fail(*_, **__):
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr(torch.hub, "download_url_to_file", fail)
    assert "cannot be downloaded" in one_line(None)
    (tmp_path / "hub" / "checkpoints" / URL.rsplit("/", 1)[1]).write_bytes(b"half")
    assert "delete that file" in one_line(None)


def test_pytorch_and_tf_resize_match_their_formulas():
    # PyTorch samples at half-pixel centers; TensorFlow 1 samples at i / scale.
    row = torch.tensor([0.0, 255.0]).expand(1, 3, 299, 2)
    pixels = RESIZES["pytorch"](row)[0, 0, 0]
    expected = (((torch.arange(299) + 0.5) * 2 / 299 - 0.5).clamp(0, 1)) * 2 - 1
    torch.testing.assert_close(pixels, expected, atol=1e-4, rtol=0)
    tf = RESIZES["tf"](row)[0, 0, 0]
    torch.testing.assert_close(tf, ((torch.arange(299) * 2 / 299).clamp(0, 1) * 255 - 128) / 128, atol=1e-3, rtol=0)


@pytest.mark.parametrize("size", [(32, 32), (500, 400)])
def test_clean_resize_matches_pil_bicubic_on_floats(size):
    pixels = np.random.default_rng(0).integers(0, 256, size).astype(np.float32)
    pil = np.asarray(Image.fromarray(pixels, mode="F").resize((299, 299), Image.Resampling.BICUBIC))
    ours = RESIZES["clean"](torch.from_numpy(pixels).expand(1, 3, -1, -1))[0, 0] * 128 + 128
    torch.testing.assert_close(ours, torch.from_numpy(pil.copy()), atol=0.02, rtol=0)


@pytest.mark.parametrize("resize", RESIZES)
def test_every_resize_keeps_a_constant_image(resize):
    image = torch.full((1, 3, 20, 30), 77.0)
    expected = 77 / 255 * 2 - 1 if resize == "pytorch" else (77 - 128) / 128
    torch.testing.assert_close(RESIZES[resize](image), torch.full((1, 3, 299, 299), expected), atol=1e-4, rtol=0)


def test_each_resize_has_its_own_fingerprint(inception_file):
    prints = {InceptionFeatures(inception_file, resize=resize).fingerprint for resize in ("tf", "pytorch", "clean")}
    assert len(prints) == 3
    with pytest.raises(UserError, match="resize=bilinear: choose one of tf, pytorch"):
        InceptionFeatures(inception_file, resize="bilinear")
