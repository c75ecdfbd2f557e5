"""sample.py with controls, inverse problems and encoded images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from src.datamodules.digits import DigitsDataModule
from src.errors import UserError
from src.sampling.conditioning.operators import Downsampling
from src.sinks.store import SampleStore
from tests.tasks.example import IMAGES, POINTS, load, result, sample, values, write_checkpoint

COMMON = ("accelerator=cpu", "devices=1")
COLOR = (*IMAGES, "datamodule.channels=3")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("run") / "score.ckpt", *IMAGES, scale=0.5)


@pytest.fixture(scope="module")
def digits() -> np.ndarray:
    """The test split, (N, 8, 8) uint8."""
    return DigitsDataModule().images("test").gather(torch.arange(297))[:, 0].numpy()


def samples(folder: Path) -> np.ndarray:
    return np.load(folder / "samples.npz")["samples"].squeeze(-1)


def test_inpainting_keeps_the_known_pixels_of_each_given_image(
    checkpoint: Path, digits: np.ndarray, tmp_path: Path
) -> None:
    arguments = (f"ckpt_path={checkpoint}", "num_samples=7", "format=npz", "given_count=3", "control=inpainting")
    sample(*arguments, "control.mask=left", f"output_dir={tmp_path}/whole", *COMMON)
    sample(*arguments, "control.mask=left", "batch_size=2", f"output_dir={tmp_path}/parts", *COMMON)
    made = samples(tmp_path / "whole")
    expected = digits[np.arange(7) % 3]
    assert np.array_equal(made[:, :, :4], expected[:, :, :4])
    assert np.abs(made[:, :, 4:].astype(int) - expected[:, :, 4:]).mean() > 10
    assert len(np.unique(made[[0, 3, 6]].reshape(3, -1), axis=0)) == 3, (
        "samples of the same image differ in the unknown part"
    )
    difference = np.abs(made.astype(int) - samples(tmp_path / "parts"))
    assert difference.max() <= 1 and (difference > 0).mean() <= 1e-3

    metrics = values(tmp_path / "whole")
    assert metrics["measurement_error"] == 0
    errors = ((made.astype(float) - expected) / 255) ** 2
    psnr = 10 * np.log10(1 / errors.reshape(7, -1).mean(1))
    assert metrics["psnr"] == pytest.approx(psnr.mean(), rel=1e-5)
    assert metrics["psnr_standard_error"] == pytest.approx(psnr.std(ddof=1) / 7**0.5, rel=1e-4)
    assert result(tmp_path / "whole")["settings"]["given_count"] == 3
    with Image.open(tmp_path / "whole" / "given.png") as picture:
        # Rows: known pixels, given image, two samples; columns: three images.
        assert picture.size == (84 + 3 * 66 + 2, 4 * 66 + 2)
        pixels = np.asarray(picture)
    for row, expected_left in ((0, digits[0]), (1, digits[0]), (2, made[0]), (3, made[3])):
        tile = pixels[row * 66 + 2 : row * 66 + 66, 86 : 86 + 64, 0][4::8, 4::8]
        assert np.array_equal(tile[:, :4], expected_left[:, :4])
        assert np.array_equal(tile[:, 4:], expected_left[:, 4:]) == (row != 1)


def test_a_folder_of_samples_refuses_another_control(checkpoint: Path, tmp_path: Path) -> None:
    mask = np.zeros((8, 8), dtype=np.uint8)
    mask[:3] = 255
    path = tmp_path / "mask.png"
    Image.fromarray(mask).save(path)
    arguments = (f"ckpt_path={checkpoint}", "num_samples=2", f"output_dir={tmp_path}/out", *COMMON)
    sample(*arguments, "control=inpainting", f"control.mask={path}")
    assert values(tmp_path / "out")["measurement_error"] == 0
    for change, message in (
        ((), r"control is .* in the folder and \"absent\" now"),
        (("control=inpainting", "control.mask=left"), r"control\.mask is"),
        (
            ("control=inpainting", f"control.mask={path}", "given=train"),
            'given is "test" in the folder and "train" now',
        ),
        (("control=inpainting", f"control.mask={path}", "given_count=1"), "given_count is 297 in the folder and 1 now"),
    ):
        with pytest.raises(UserError, match=message):
            sample(*arguments, *change)
    mask[:] = 255 - mask
    Image.fromarray(mask).save(path)
    with pytest.raises(UserError, match=r"files\."):
        sample(*arguments, "control=inpainting", f"control.mask={path}")


def test_interrupted_controlled_sampling_resumes(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = (f"ckpt_path={checkpoint}", "num_samples=5", "control=inpainting", "control.mask=top", *COMMON)
    sample(*arguments, f"output_dir={tmp_path}/out")
    (tmp_path / "out" / "images" / "000003.png").unlink()
    before = {path.name: path.read_bytes() for path in (tmp_path / "out" / "images").iterdir()}
    made: list[int] = []
    keep = SampleStore.add
    monkeypatch.setattr(
        SampleStore, "add", lambda self, batch: (made.extend(batch.index.tolist()), keep(self, batch))[1]
    )
    sample(*arguments, f"output_dir={tmp_path}/out")
    assert made == [3]
    assert before.items() <= {path.name: path.read_bytes() for path in (tmp_path / "out" / "images").iterdir()}.items()
    assert values(tmp_path / "out")["measurement_error"] == 0


def test_colorization_keeps_the_gray_values(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path / "color.ckpt", *COLOR)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    np.savez(tmp_path / "colors.npz", samples=pixels)
    sample(
        f"ckpt_path={path}",
        "num_samples=4",
        "control=colorization",
        f"given={tmp_path}/colors.npz",
        "raw=true",
        f"output_dir={tmp_path}/out",
        *COMMON,
    )
    raw = np.load(tmp_path / "out" / "raw.npz")["samples"]
    gray = pixels[np.arange(4) % 2].astype(np.float32).mean(3) / 255
    np.testing.assert_allclose(raw.mean(3), gray, atol=1e-4)
    assert np.abs(raw[..., 0] - gray).mean() > 0.05
    assert (tmp_path / "out" / "given.png").exists()


# DPS divides by the residual, which goes to zero without measurement noise.
@pytest.mark.parametrize(("method", "noise_std", "share"), [("pseudo_inverse", 0.0, 0.1), ("dps", 0.05, 0.3)])
def test_inverse_problem_samples_fit_the_measurement(
    method: str, noise_std: float, share: float, digits: np.ndarray, tmp_path: Path
) -> None:
    # The score is zero: only guidance moves the samples, and only along measured directions.
    path = write_checkpoint(tmp_path / "flat.ckpt", *IMAGES, "net.init_scale=0", "sde.sigma_max=1")
    arguments = (f"ckpt_path={path}", "num_samples=4", "raw=true", "sampler=heun", "sampler.grid.steps=60", *COMMON)
    measured = ("operator=super_resolution", f"guidance={method}", f"guidance.noise_std={noise_std}")
    sample(*arguments, *measured, f"output_dir={tmp_path}/guided")
    sample(*arguments, f"output_dir={tmp_path}/free")
    truth = Downsampling(2).forward(torch.from_numpy(digits[:4]).float()[:, None] / 255)

    def error(x: torch.Tensor) -> float:
        return float((Downsampling(2).forward(x) - truth).square().mean((1, 2, 3)).sqrt().mean())

    guided, free = (
        torch.from_numpy(np.load(tmp_path / name / "raw.npz")["samples"]).movedim(-1, 1) for name in ("guided", "free")
    )
    assert error(guided) < share * error(free)
    metrics = values(tmp_path / "guided")
    if noise_std == 0:
        assert metrics["measurement_error"] == pytest.approx(error((guided.clamp(0, 1) * 255).round() / 255), rel=1e-4)
    assert result(tmp_path / "guided")["settings"]["guidance"]["operator"]["factor"] == 2
    assert (tmp_path / "guided" / "given.png").exists()
    assert not (tmp_path / "free" / "given.png").exists()
    assert not (tmp_path / "free" / "metrics.json").exists()


def test_measurement_noise_does_not_depend_on_the_batch_size(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path / "flat.ckpt", *IMAGES, "net.init_scale=0", "sde.sigma_max=1")
    arguments = (
        f"ckpt_path={path}",
        "num_samples=4",
        "raw=true",
        "sampler=heun",
        "guidance=pseudo_inverse",
        "guidance.noise_std=0.1",
        "operator=compressed_sensing",
        "operator.measurements=20",
        "given_count=2",
        *COMMON,
    )
    sample(*arguments, f"output_dir={tmp_path}/whole")
    sample(*arguments, "batch_size=3", f"output_dir={tmp_path}/parts")
    whole, parts = (np.load(tmp_path / name / "raw.npz")["samples"] for name in ("whole", "parts"))
    np.testing.assert_allclose(whole, parts, atol=1e-3)
    assert load(tmp_path / "whole" / "manifest.json")["settings"]["guidance"]["noise_std"] == 0.1


def test_ode_encoding_reconstructs_the_images(checkpoint: Path, digits: np.ndarray, tmp_path: Path) -> None:
    sample(
        f"ckpt_path={checkpoint}",
        "num_samples=3",
        "sampler=ode",
        "sampler.denoise=false",
        "encode=true",
        "format=npz",
        f"output_dir={tmp_path}/out",
        *COMMON,
    )
    assert np.abs(samples(tmp_path / "out").astype(int) - digits[:3]).max() <= 1
    metrics = values(tmp_path / "out")
    assert metrics.get("psnr", 60.0) > 45
    assert metrics["identical_samples"] > 0
    assert "measurement_error" not in metrics


def test_a_list_masks_coordinates_of_points(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path / "toy.ckpt", *POINTS)
    sample(
        f"ckpt_path={path}",
        "num_samples=10",
        "control=inpainting",
        "control.mask=[1,0]",
        f"output_dir={tmp_path}/out",
        *COMMON,
    )
    from src.datamodules.toy import ToyDataModule

    made = np.load(tmp_path / "out" / "samples.npz")["samples"]
    given = ToyDataModule(seed=42).sample(10).numpy()
    assert np.array_equal(made[:, 0], given[:, 0])
    assert not np.isclose(made[:, 1], given[:, 1]).any()
    assert values(tmp_path / "out").keys() == {"measurement_error"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("operator=super_resolution",), "add guidance="),
        (("guidance=dps",), "add one, for example operator="),
        (("guidance=dps", "operator=super_resolution", "control=inpainting"), "give one of them"),
        (("guidance=classifier",), "classifier_path is missing"),
        (("guidance=autoguidance",), "guidance.path is missing"),
        (("guidance=threshold", "guidance.interval=0.5"), "give two noise levels"),
        (("guidance=classifier", "guidance.classifier_path=SELF"), "not a classifier"),
        (("control=inpainting", "control.mask=nowhere.png"), "nowhere.png does not exist: give the mask"),
        (("control=inpainting", "given=valid"), "no split 'valid'"),
        (("control=inpainting", "given=nowhere.npz"), "does not exist"),
        (("control=inpainting", "given_count=298"), "choose 1 to 297"),
        (("control=inpainting", "sampler=ode"), "does not support a control"),
        (("control=colorization",), "one channel"),
        (("encode=true",), "add sampler=ode"),
        (("interpolate=[0,1]",), r"give \[first, last"),
        (("temperature=0",), "temperature=0"),
    ],
)
def test_invalid_settings_give_one_line(
    arguments: tuple[str, ...], message: str, checkpoint: Path, tmp_path: Path
) -> None:
    named = [argument.replace("SELF", str(checkpoint)) for argument in arguments]
    with pytest.raises(UserError, match=message) as caught:
        sample(f"ckpt_path={checkpoint}", f"output_dir={tmp_path}/out", "num_samples=2", *named, *COMMON)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.rglob("*.png"))
