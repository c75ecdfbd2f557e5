import pytest

from src.metrics.protocol import facts_of, text_of, why_incomparable

CONDITIONS = {
    "samples": 50_000,
    "extractor": "inception-6726825d91a3-antialias-false",
    "resize": "tf",
    "reference": "cifar10 train",
    "reference_samples": 50_000,
    "flips": "none",
    "quantization": "round",
    "weights": "ema",
    "sampler": "Heun 18 steps",
    "device": "cpu",
}


def test_protocol_text_is_one_line():
    expected = "fid50k · inception-tf-resize · cifar10 train · no flips · round · ema · heun-18"
    assert text_of("fid", CONDITIONS) == expected
    pc = {**CONDITIONS, "samples": 297, "sampler": "PredictorCorrector(AncestralSampling, Langevin) 10 steps"}
    assert text_of("kid", pc).endswith("predictorcorrector(ancestralsampling-langevin)-10")
    assert text_of("kid", pc).startswith("kid 297 · ")
    noisy = {**CONDITIONS, "sampler": "Heun 18 steps, not denoised", "guidance": "ClassifierFree, scale 2"}
    assert text_of("fid", noisy).endswith("heun-18-not-denoised · guidance ClassifierFree, scale 2")


def test_unknown_facts_are_written_as_unknown():
    line = text_of("frechet_digits", {"samples": 1000, "extractor": "digits-f6+pixel-1x8x8", "resize": "none"})
    assert line == "frechet_digits 1k · digits+pixel · unknown · flips unknown · unknown"


def test_facts_exclude_the_device():
    assert facts_of(CONDITIONS) == {name: value for name, value in CONDITIONS.items() if name != "device"}


@pytest.mark.parametrize("name", ["samples", "extractor", "resize", "reference", "quantization", "flips"])
def test_measurement_settings_must_agree(name):
    assert why_incomparable(CONDITIONS, {**CONDITIONS, name: "another"}) == f"{name} {CONDITIONS[name]} and another"
    # Records of older versions lack some facts.
    assert why_incomparable(CONDITIONS, {key: value for key, value in CONDITIONS.items() if key != name}) is None


def test_weights_and_samplers_may_differ():
    assert why_incomparable(CONDITIONS, {**CONDITIONS, "weights": "raw", "sampler": "pc"}) is None
