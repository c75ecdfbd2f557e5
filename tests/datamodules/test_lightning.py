"""Batches in Lightning's own training and validation loops."""

import logging
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from src.datamodules.digits import DigitsDataModule
from src.noise import permutation
from tests.datamodules.support.memory import MemoryDataModule

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)


class Recorder(LightningModule):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen, self.validated = [], []

    def training_step(self, batch, batch_idx):
        self.seen.append((batch["step"], batch["epoch"], batch["position"].tolist(), batch["index"].tolist()))
        return self.weight * batch["x"].mean()

    def validation_step(self, batch, batch_idx):
        self.validated.append(batch["index"])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


class SaveAt(Callback):
    def __init__(self, step, path):
        self.step, self.path = step, path

    def on_train_batch_end(self, trainer, *_):
        if trainer.global_step == self.step and not self.path.exists():
            trainer.save_checkpoint(self.path)


def run(module_settings, callbacks=(), ckpt_path=None, **settings):
    model = Recorder()
    trainer = Trainer(
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        callbacks=list(callbacks),
        **settings,
    )
    trainer.fit(model, datamodule=MemoryDataModule(**module_settings), ckpt_path=ckpt_path, weights_only=True)
    return model


@pytest.mark.filterwarnings("ignore::lightning.pytorch.utilities.warnings.PossibleUserWarning")
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_resumed_run_gets_the_batches_of_an_uninterrupted_run(tmp_path, accumulate, workers):
    data = {"count": 43, "seed": 4, "num_workers": workers}
    settings = {"accumulate_grad_batches": accumulate}
    whole = run(data, max_epochs=3, **settings)
    # 5 steps of 8 images per epoch; 3 images remain.
    assert [s[0] for s in whole.seen] == [step for step in range(15) for _ in range(accumulate)]
    assert [s[1] for s in whole.seen] == [step // 5 for step in range(15) for _ in range(accumulate)]
    size = 8 // accumulate
    for i, (step, epoch, position, index) in enumerate(whole.seen):
        first = i % accumulate * size
        assert position == list(range(first, first + size))
        order = permutation(4, "data order", epoch, 43)[step % 5 * 8 :]
        assert index == order[position].tolist()
    # Stop within the first and the second epoch, and at the end of an epoch.
    for stop in (3, 7, 10) if workers == 0 else (7,):
        path = tmp_path / f"{stop}.ckpt"
        before = run(data, [SaveAt(stop, path)], max_steps=stop, **settings)
        after = run(data, ckpt_path=path, max_epochs=3, **settings)
        assert before.seen + after.seen == whole.seen, stop


def test_iterating_keeps_the_global_random_state():
    module = MemoryDataModule()
    state = torch.get_rng_state()
    list(module.train_dataloader())
    assert torch.equal(torch.get_rng_state(), state)


def test_resuming_within_an_epoch_gives_no_loader_warning(tmp_path, recwarn):
    path = tmp_path / "a.ckpt"
    run({}, [SaveAt(3, path)], max_steps=3)
    run({}, ckpt_path=path, max_steps=5)
    assert not [w for w in recwarn if "not resumable" in str(w.message)]


@pytest.mark.filterwarnings("ignore::lightning.pytorch.utilities.warnings.PossibleUserWarning")
def test_limit_train_batches_does_not_skip_data():
    model = run({}, max_steps=12, limit_train_batches=3)
    assert [s[0] for s in model.seen] == list(range(12))
    assert sorted(i for s in model.seen[:5] for i in s[3]) == list(range(40))


@pytest.mark.filterwarnings("ignore::lightning.pytorch.utilities.warnings.PossibleUserWarning")
def test_validation_uses_each_image_once():
    model = run({"eval_batch_size": 3}, max_epochs=1, val_check_interval=2, num_sanity_val_steps=0)
    assert torch.cat(model.validated).tolist() == 2 * list(range(7))
    assert [s[0] for s in model.seen] == list(range(5))


@pytest.mark.filterwarnings("ignore::lightning.pytorch.utilities.warnings.PossibleUserWarning")
def test_training_runs_without_a_validation_set():
    assert len(run({"held_out": 0}, max_epochs=1).seen) == 5


@pytest.mark.parametrize(
    ("precision", "dtype"),
    [
        ("64-true", torch.float64),
        ("bf16-mixed", torch.float32),
        ("bf16-true", torch.float32),
        ("16-true", torch.float32),
    ],
)
def test_images_are_not_rounded_to_half_precision(precision, dtype):
    class Check(Recorder):
        def training_step(self, batch, batch_idx):
            assert batch["x"].dtype == dtype and batch["index"].dtype == torch.int64
            self.seen.append(batch["step"])

    model = Check()
    trainer = Trainer(
        accelerator="cpu",
        precision=precision,
        max_steps=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
    )
    trainer.fit(model, datamodule=DigitsDataModule())
    assert model.seen == [0]


def test_two_processes_split_the_batch():
    class TwoProcesses:
        world_size, accumulate_grad_batches, global_step = 2, 1, 0
        strategy = SimpleNamespace(root_device=torch.device("cpu"))

        def __init__(self, rank):
            self.global_rank = rank

    batches = []
    for rank in (0, 1):
        module = MemoryDataModule()
        module.trainer = TwoProcesses(rank)
        batches.append([b["index"] for b in module.train_dataloader()])
        assert torch.cat([b["index"] for b in module.val_dataloader()]).tolist() == list(range(rank, 7, 2))
        for loader in (module.train_dataloader(), module.val_dataloader()):
            assert isinstance(loader.sampler, torch.utils.data.DistributedSampler)
    whole = [b["index"] for b in MemoryDataModule().train_dataloader()]
    assert all(torch.equal(torch.cat(parts), w) for *parts, w in zip(*batches, whole, strict=True))
