"""The picture of samplers' scores."""

from pathlib import Path

from PIL import Image

from bench.pareto import curves, draw


def row(evaluations: float, distance: float) -> dict[str, object]:
    spread = [distance - 0.1, distance + 0.1]
    return {
        "evaluations": evaluations,
        "values": {"frechet_pixel": distance},
        "intervals": {"frechet_pixel": spread},
    }


def test_rows_are_grouped_by_net_and_sampler_and_drawn(tmp_path: Path) -> None:
    results = {
        "a heun 18": row(35, 0.5),
        "a heun 9": row(17, 0.7),
        "b heun 9": row(17, 0.6),
        "with guidance": row(1, 2.0),
    }
    found = curves(results)
    assert {key: [one["evaluations"] for one in rows] for key, rows in found.items()} == {
        ("a", "heun"): [17, 35],
        ("b", "heun"): [17],
    }
    draw(tmp_path / "pareto.png", results)
    assert Image.open(tmp_path / "pareto.png").width > 500
