import logging
import urllib.error

import pytest
import torch
from torchmetrics.image.fid import NoTrainInceptionV3

from src.errors import UserError
from src.metrics import InceptionFeatures
from src.metrics.extractors.inception_weights import URL


@pytest.fixture(scope="module")
def images():
    return torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("antialias", [False, True])
def test_is_torchmetrics_network(inception_file, images, antialias):
    outputs = ["2048", "logits_unbiased"]
    theirs = NoTrainInceptionV3("inception-v3-compat", outputs, str(inception_file), antialias)
    expected, logits = theirs._torch_fidelity_forward(images)
    ours = InceptionFeatures(inception_file, antialias=antialias)
    features = ours(images)
    torch.testing.assert_close(features, expected)
    torch.testing.assert_close(ours.probabilities(features), logits.softmax(1))
    assert features.shape == (2, 2048) and (features[0] - features[1]).std() > 1e-3
    assert ours.fingerprint.endswith(f"antialias-{str(antialias).lower()}")


def test_grey_images_and_autocast(inception_file, images):
    net = InceptionFeatures(inception_file)
    grey = images[:1, :1]
    expected = net(grey.repeat(1, 3, 1, 1))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(net(grey), expected)
    with pytest.raises(ValueError, match="1 or 3 channels"):
        net(images[:, :2])


def test_never_leaves_evaluation_mode_and_the_random_state_alone(inception_file, caplog):
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


def test_missing_truncated_and_foreign_files(inception_file, tmp_path):
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


def test_no_network_and_a_damaged_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def fail(*_, **__):
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr(torch.hub, "download_url_to_file", fail)
    assert "cannot be downloaded" in one_line(None)
    (tmp_path / "hub" / "checkpoints" / URL.rsplit("/", 1)[1]).write_bytes(b"half")
    assert "delete that file" in one_line(None)
