import pytest
import torch

from src.errors import UserError
from src.metrics import DensityCoverage
from tests.metrics import examples


def score(generated, real, **settings):
    return examples.score(DensityCoverage(**settings), generated, real)


def test_example_computed_by_hand():
    # With k = 1 the balls around 0, 1 and 5 have radii 1, 1 and 4: two contain 0.5, one contains 9, none contains 20.
    real, generated = torch.tensor([[0.0], [1.0], [5.0]]), torch.tensor([[0.5], [9.0], [20.0]])
    assert score(generated, real, neighbors=1) == {"density": pytest.approx(1), "coverage": pytest.approx(1)}
    assert score(generated[1:], real, neighbors=1) == {"density": 0.5, "coverage": pytest.approx(1 / 3)}


@pytest.mark.parametrize("batch", [1, 7, 1024])
def test_agrees_with_the_definition_in_loops(batch):
    generator = torch.Generator().manual_seed(0)
    real, generated = (torch.randn(n, 3, generator=generator).double() for n in (40, 30))
    radii = [sorted(float((x - other).norm()) for other in real)[5] for x in real]
    inside = [[float((x - y).norm()) <= r for x, r in zip(real, radii, strict=True)] for y in generated]
    expected = {
        "density": pytest.approx(sum(map(sum, inside)) / (5 * 30)),
        "coverage": pytest.approx(sum(map(any, zip(*inside, strict=True))) / 40),
    }
    assert score(generated, real, batch=batch) == expected


def test_an_outlier_raises_precision_but_not_density():
    generator = torch.Generator().manual_seed(0)
    real = torch.randn(200, 2, generator=generator)
    real[0] = 1000.0
    far = torch.randn(100, 2, generator=generator) + 500
    assert score(far, real)["density"] == pytest.approx(0.2) and score(far, real)["coverage"] == 1 / 200


def test_too_few_reference_images_are_refused():
    with pytest.raises(UserError, match="more than 5 reference images"):
        score(torch.randn(9, 2), torch.randn(5, 2))
