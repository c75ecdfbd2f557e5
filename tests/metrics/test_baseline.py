import torch

from src.metrics import PixelFeatures, frechet_distance, gaussian_baseline, statistics_of


def test_moments_match_the_data_without_clipping():
    generator = torch.Generator().manual_seed(0)
    mixing = torch.randn(8, 8, generator=generator) * 6
    data = (torch.randn(4000, 8, generator=generator) @ mixing + 128).clamp(0, 255).round().to(torch.uint8)
    samples = gaussian_baseline(data.reshape(-1, 2, 2, 2), 20_000).reshape(-1, 8).double()
    torch.testing.assert_close(samples.mean(0), data.double().mean(0), rtol=0, atol=0.7)
    torch.testing.assert_close(samples.T.cov(), data.double().T.cov(), rtol=0.06, atol=10)


def test_images_depend_on_seed_and_index_only(digits):
    images, _ = digits
    few, many = gaussian_baseline(images, 5, seed=3), gaussian_baseline(images, 50, seed=3)
    assert torch.equal(few, many[:5])
    assert not torch.equal(few, gaussian_baseline(images, 5, seed=4))


def test_the_baseline_has_a_distance_above_that_of_real_images(digits):
    images, _ = digits
    pixels = PixelFeatures((1, 8, 8))
    samples = gaussian_baseline(images, len(images))
    distance = frechet_distance(statistics_of(pixels(images), None), statistics_of(pixels(samples), None))
    halves = frechet_distance(statistics_of(pixels(images[::2]), None), statistics_of(pixels(images[1::2]), None))
    assert 0.15 < distance < 0.25 and halves < distance / 2
