"""Seeds of initial weights, data, noise and samples: each changes only its own random numbers."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from src.api import load
from src.checkpoint import OpenCheckpoint
from src.cli.command_line import prepare_arguments
from src.cli.instantiate import instantiate
from src.cli.run_dir import register_resolvers
from src.errors import UserError
from src.noise import Address, check_seed
from src.tasks.train.plan import check_training
from src.tasks.train.resume import compare
from src.tasks.train.task import start_training
from tests.tasks.evaluation_example import TINY, composed, make_run

KNOWN = ("seed", "seeds")
SETTINGS = [
    *("trainer.max_steps=2", "callbacks=minimal", "~logger", "datamodule.global_batch_size=8"),
    *("datamodule.random_flip=true", "net.dropout=0.5", "++trainer.limit_val_batches=0"),
]


@dataclass
class Seen:
    """Random values drawn in two training steps."""

    init: dict[str, Tensor]
    final: dict[str, Tensor] = field(default_factory=dict)
    data: list[Tensor] = field(default_factory=list)
    noise: list[Tensor] = field(default_factory=list)
    sample: int = 0
    config: dict[str, Any] = field(default_factory=dict)


def train(folder: Path, *arguments: str) -> Seen:
    """Train with command-line arguments and record the random values."""
    register_resolvers()
    settings = prepare_arguments([*SETTINGS, *arguments], KNOWN)
    cfg = composed("train", [*TINY, *settings, f"++paths.run_dir={folder}"])
    previews = composed("train", [*TINY, *prepare_arguments(arguments, KNOWN), "hydra.run.dir=."]).callbacks
    check_training(cfg)
    with start_training(cfg) as run:
        seen = Seen({name: value.clone() for name, value in run.module.state_dict().items()})
        seen.sample = previews.fid.seed
        assert previews.sample_images.seed == previews.fid.seed
        objective = run.module.objective

        def watched(model: Any, x: Tensor, address: Any, cond: Any, train: bool) -> Tensor:
            seen.data.append(x.clone())
            # Dropout uses torch's generator, which is seeded for each micro-batch.
            seen.noise += [address.normal("test", x), torch.tensor(torch.initial_seed())]
            return objective(model, x, address, cond, train=train)

        run.module._train_objective = watched
        run.fit()
        seen.final = {name: value.clone() for name, value in run.module.state_dict().items()}
        seen.config = run.cfg
    return seen


def differing(a: Seen, b: Seen) -> set[str]:
    def same(x: Any, y: Any) -> bool:
        x, y = (list(v.values()) if isinstance(v, dict) else v for v in (x, y))
        return all(torch.equal(p, q) for p, q in zip(x, y, strict=True))

    names = {name for name in ("init", "data", "noise") if not same(getattr(a, name), getattr(b, name))}
    return names | ({"sample"} if a.sample != b.sample else set())


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    seen = train(tmp_path_factory.mktemp("first"), "seed=1")
    assert len(seen.data) == 2 and len(seen.noise) == 4
    return seen


@pytest.mark.parametrize("part", ["init", "data", "noise", "sample"])
def test_a_seed_changes_only_its_own_random_numbers(part: str, first: Seen, tmp_path: Path) -> None:
    # In any order on the command line.
    seen = train(tmp_path, f"seed.{part}=3", "seed=1")
    assert differing(first, seen) == {part}


def test_seed_sets_all_seeds(first: Seen, tmp_path: Path) -> None:
    assert differing(first, train(tmp_path, "seed=2")) == {"init", "data", "noise", "sample"}
    assert first.sample == 1


def test_equal_separate_seeds_equal_one_seed(first: Seen, tmp_path: Path) -> None:
    seen = train(tmp_path, "seed.init=1", "seed.data=1", "seed.noise=1", "seed.sample=1")
    assert differing(first, seen) == set()
    assert all(torch.equal(first.final[name], value) for name, value in seen.final.items())


def test_seed_gives_the_same_random_numbers_as_before_the_split(first: Seen) -> None:
    assert first.config.datamodule.seed == first.config.module.seed == 1
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        weights = instantiate(first.config.module).state_dict()
    assert all(torch.equal(first.init[name], value) for name, value in weights.items())
    assert torch.equal(first.noise[0], Address(1, 0, torch.arange(8)).normal("test", first.data[0]))


def test_a_resumed_run_reports_changed_seeds() -> None:
    def changes(before: dict[str, Any], now: dict[str, Any]) -> set[str]:
        opened = OpenCheckpoint(Path("last.ckpt"), "", {"config": before})
        return {str(change) for change in compare(opened, now)}

    parts = {"init": 1, "data": 1, "noise": 1, "sample": 0}
    old, same = {"seed": 1, "datamodule": {"seed": 1}}, {"seed": 1, "seeds": parts, "datamodule": {"seed": 1}}
    other = {"seed": 1, "seeds": {"init": 4, "data": 2, "noise": 3, "sample": 4}, "datamodule": {"seed": 2}}
    assert changes(old, same) == changes(same, same) == set()
    expected = {
        "seed.data=2 (the checkpoint has 1)",
        "seed.noise=3 (the checkpoint has 1)",
        "seed.sample=4 (the checkpoint has 0)",
    }
    assert changes(old, other) == changes(same, other) == expected


def test_a_resumed_run_keeps_the_seed_of_its_previews(tmp_path: Path) -> None:
    def sample_seed(*arguments: str) -> int:
        value: int = train(tmp_path / "run", *arguments).config.seeds.sample
        return value

    assert sample_seed("seed=1", "seed.sample=5") == 5
    resumed = ("seed=1", "ckpt_path=last", "trainer.max_steps=3")
    assert sample_seed(*resumed) == 5
    assert sample_seed(*resumed, "seed.sample=7") == 7


def test_sampling_commands_have_one_seed() -> None:
    assert prepare_arguments(["seed.sample=3"], ("seed",)) == ["seed=3"]
    with pytest.raises(UserError, match=r"^seed\.init=3: .* type seed=3$"):
        prepare_arguments(["seed.init=3"], ("seed",))


@pytest.mark.parametrize("seed", [2**64, -1, 1.5, True, "many"])
def test_invalid_seeds_are_refused(seed: Any) -> None:
    with pytest.raises(UserError, match=rf"^seed={seed}: give a whole number from 0 to 18446744073709551615$"):
        check_seed(seed)


def test_the_python_interface_refuses_seeds_above_64_bits(tmp_path: Path) -> None:
    (path,) = make_run(tmp_path)
    with pytest.raises(UserError, match=r"^seed=18446744073709551616: give a whole number"):
        load(path).sample(1, seed=2**64)
