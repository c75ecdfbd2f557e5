import pytest
import torch

from src.errors import UserError
from src.metrics import PrecisionRecall
from tests.metrics import examples


def score(generated, real, **settings):
    return examples.score(PrecisionRecall(**settings), generated, real)


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


def test_example_computed_by_hand():
    # With k = 1 the balls around 0, 1 and 5 have radii 1, 1 and 4; the balls around 2, 3 and 20 have radii 1, 1 and 17.
    real, generated = torch.tensor([[0.0], [1.0], [5.0]]), torch.tensor([[2.0], [3.0], [20.0]])
    result = score(generated, real, neighbors=1)
    assert result == {"precision": pytest.approx(2 / 3), "recall": pytest.approx(2 / 3)}


def test_identical_sets_give_one(generator):
    x = torch.randn(200, 5, generator=generator)
    assert score(x, x) == {"precision": 1.0, "recall": 1.0}


def test_disjoint_sets_give_zero(generator):
    x = torch.randn(50, 5, generator=generator)
    assert score(x + 100, x) == {"precision": 0.0, "recall": 0.0}


def test_a_missing_mode_lowers_recall_only(generator):
    real = torch.randn(400, 2, generator=generator)
    real[200:] += 50
    result = score(torch.randn(200, 2, generator=generator), real)
    assert result["precision"] > 0.9 and 0.4 < result["recall"] <= 0.5


@pytest.mark.parametrize("batch", [1, 7, 1024])
def test_agrees_with_the_definition_in_loops(generator, batch):
    real, generated = (torch.randn(n, 3, generator=generator).double() for n in (40, 30))

    def coverage(members, samples):
        radii = [sorted(float((m - o).norm()) for o in members)[3] for m in members]
        return sum(any((s - m).norm() <= r for m, r in zip(members, radii, strict=True)) for s in samples) / len(
            samples
        )

    result = score(generated, real, batch=batch)
    assert result == {
        "precision": pytest.approx(coverage(real, generated)),
        "recall": pytest.approx(coverage(generated, real)),
    }


def test_too_few_images_are_refused(generator):
    with pytest.raises(UserError, match="more than 3"):
        score(torch.randn(3, 2), torch.randn(9, 2))
