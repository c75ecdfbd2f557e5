"""Ranks of sample.py and evaluate.py use the same files and fail together; none waits for a failed rank."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.fabric import Fabric
from omegaconf import OmegaConf
from PIL import Image

from src.checkpoint import checkpoint_hash
from src.distributed import agreed, failing_together, gather_rows, rank
from src.errors import UserError
from src.metrics import FrechetDistance, MetricSuite, PixelFeatures
from src.sampling import Heun, KarrasGrid
from src.sampling.batch import GeneratedBatch
from src.sampling.generation import Generation
from src.sde import VPSDE, ScoreModel
from src.sinks.store import SampleStore
from src.tasks import scoring
from src.tasks.checkpoint_file import open_unchanged
from src.tasks.evaluate import plan as evaluation_plan
from src.tasks.evaluate.environment import Environment
from src.tasks.evaluate.jobs.splits import SplitJob, SplitWork
from src.tasks.evaluate.plan import EvaluationPlan, EvaluationRequest
from src.tasks.evaluate.subjects import Subject
from src.tasks.sample import plan as sample_plan
from src.tasks.sample.pictures import draw_film
from src.tasks.sample.plan import SamplingPlan, SamplingRequest, agreed_sampling, check_sampling, plan_sampling
from tests.sinks.batches import batch
from tests.support.gaussian import GaussianScore
from tests.tasks.example import IMAGES, sampling_config, write_checkpoint
from tests.tasks.ranks import on_ranks

MODEL = GaussianScore(VPSDE())
SAMPLER = Heun(KarrasGrid(steps=2))
FABRIC = Fabric(accelerator="cpu", devices=1)
SCRIPT = OmegaConf.create(
    {"accelerator": "cpu", "devices": 2, "precision": "32-true", "float32_matmul_precision": "highest"}
)


def messages(outcomes: list[Any]) -> list[str]:
    assert all(isinstance(outcome, UserError) for outcome in outcomes), outcomes
    return [str(outcome) for outcome in outcomes]


def test_agreed_reports_whether_all_ranks_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    assert on_ranks(lambda rank: agreed("a"), monkeypatch) == [("a", True)] * 2
    assert on_ranks(lambda rank: agreed(rank), monkeypatch, 3) == [(0, False)] * 3
    assert agreed("alone") == ("alone", True)


def test_an_error_of_one_rank_is_raised_on_all(monkeypatch: pytest.MonkeyPatch) -> None:
    def work(rank: int) -> None:
        with failing_together():
            if rank == 1:
                raise UserError("no room")

    assert messages(on_ranks(work, monkeypatch)) == ["no room"] * 2


def test_a_replaced_checkpoint_is_refused(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path / "best.ckpt", *IMAGES)
    digest = checkpoint_hash(path)
    assert open_unchanged(path, digest)["global_step"] == 7
    write_checkpoint(path, *IMAGES, scale=0.5)
    with pytest.raises(UserError, match=r"best\.ckpt changed while it was read: try again"):
        open_unchanged(path, digest)


def test_all_ranks_use_the_checkpoint_of_rank_zero(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [write_checkpoint(tmp_path / f"{scale}.ckpt", *IMAGES, scale=scale) for scale in (1.0, 0.5)]
    plans = [plan_sampling(check_sampling(sampling_config(f"ckpt_path={path}"))) for path in files]
    assert all(plan is plans[0] for plan in on_ranks(lambda _: agreed_sampling(plans[0]), monkeypatch))
    agreed_on = on_ranks(lambda rank: agreed_sampling(plans[rank]), monkeypatch)
    assert [plan.settings["checkpoint"] for plan in agreed_on] == [checkpoint_hash(files[0])] * 2
    real = sample_plan.plan_sampling

    def damaged_for_the_second(request: SamplingRequest) -> SamplingPlan:
        if rank() == 1:
            raise UserError("damaged")
        return real(request)

    monkeypatch.setattr(sample_plan, "plan_sampling", damaged_for_the_second)
    assert messages(on_ranks(lambda rank: agreed_sampling(plans[rank]), monkeypatch)) == ["damaged"] * 2


def test_ranks_plan_again_if_one_has_another_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    def again(request: EvaluationRequest) -> EvaluationPlan:
        if rank() == 0:
            raise UserError("gone")
        return EvaluationPlan(request, ())

    def plan(digest: str) -> EvaluationPlan:
        return EvaluationPlan(EvaluationRequest(SCRIPT, (Path("a.ckpt"),), (digest,)), ())

    monkeypatch.setattr(evaluation_plan, "plan_evaluation", again)
    agreed_on = on_ranks(lambda _: evaluation_plan.agreed_evaluation(plan("a")), monkeypatch)
    assert [plan.request.digests for plan in agreed_on] == [("a",)] * 2
    assert (
        messages(on_ranks(lambda rank: evaluation_plan.agreed_evaluation(plan(str(rank))), monkeypatch)) == ["gone"] * 2
    )


def test_unreadable_weights_on_one_rank_stop_all(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(subject: Subject) -> Any:
        if rank() == 1:
            raise UserError("a.ckpt changed while it was read: try again")
        return torch.nn.Identity(), []

    def model(_: int) -> None:
        environment = Environment(SCRIPT, FABRIC, Path())
        environment.model(Subject(Path("a.ckpt"), "a", 1, "ema", {}, "a"))
        # The next collective.
        gather_rows(torch.zeros(1))

    monkeypatch.setattr(Subject, "model", load)
    assert "changed" in messages(on_ranks(model, monkeypatch))[0]


def test_an_error_in_a_split_on_one_rank_stops_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Loader:
        sampler = ()

        def __iter__(self) -> Any:
            if rank() == 1:
                raise UserError("a batch of 4 does not fit into memory: lower batch_size")
            return iter(())

    class Job(SplitJob):
        task, columns, label, what = "loss", ("loss",), "a", "loss"

        def __init__(self) -> None:
            self.subject, self.settings, self.of = {}, {}, None  # type: ignore[assignment]

        def values(self, *_: object) -> Any: ...

        def summary(self, *_: object) -> Any: ...

    monkeypatch.setattr(Environment, "model", lambda *_: (ScoreModel.__new__(ScoreModel), []))

    def run(_: int) -> None:
        environment = Environment(OmegaConf.create({"limit": None}), FABRIC, tmp_path)
        SplitWork(Job(), environment, Loader(), lambda batch, _: batch).run()

    assert "lower batch_size" in messages(on_ranks(run, monkeypatch))[0]


def samples(folder: Path, count: int) -> SampleStore:
    store = SampleStore(folder, {}, count, (1, 4, 4))
    store.prepare()
    store.add(batch(torch.arange(count), torch.zeros(count, 1, 4, 4, dtype=torch.uint8)))
    return store


def test_a_damaged_image_on_one_rank_is_reported_by_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = samples(tmp_path, 4)
    (tmp_path / "images" / "000003.png").write_bytes(b"no picture")
    monkeypatch.setattr(scoring, "reference_of", lambda *_: None)

    def score(_: int) -> None:
        suite = MetricSuite(PixelFeatures((1, 4, 4)), {"frechet": FrechetDistance()})
        data = SimpleNamespace(prepare_data=lambda: None, setup=lambda: None)
        scoring.score(store, suite, data, batch_size=1, device=torch.device("cpu"), quantize="round")

    for message in messages(on_ranks(score, monkeypatch)):
        assert "000003.png is damaged" in message


@pytest.mark.parametrize("fails", [False, True])
def test_a_film_with_fewer_samples_than_ranks(fails: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = samples(tmp_path, 1)

    def draw(_: int) -> None:
        def batches(self: Generation, indices: Sequence[int], **_: object) -> Iterator[GeneratedBatch]:
            for i in indices:
                states = torch.arange(3, dtype=torch.uint8)[:, None, None, None, None].expand(3, 1, 1, 4, 4)
                yield batch(torch.tensor([i]), states[-1], trajectory=states)
                if fails:
                    raise UserError("no memory")

        monkeypatch.setattr(Generation, "batches", batches)
        draw_film(tmp_path / "film.gif", store, Generation(MODEL, SAMPLER, (1, 4, 4), 0, 1))

    outcomes = on_ranks(draw, monkeypatch)
    if fails:
        assert messages(outcomes) == ["no memory"] * 2
    else:
        assert outcomes == [None, None]
        with Image.open(tmp_path / "film.gif") as film:
            assert film.n_frames == 3
