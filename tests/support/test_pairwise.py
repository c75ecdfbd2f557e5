import itertools

from tests.support.pairwise import pairwise


def test_few_combinations_contain_every_pair() -> None:
    axes = ("abc", (1, 2), (True, False, None), "xyzw")
    chosen = pairwise(*axes)
    for (i, first), (j, second) in itertools.combinations(enumerate(axes), 2):
        assert {(one[i], one[j]) for one in chosen} == set(itertools.product(first, second))
    assert len(chosen) <= 15
