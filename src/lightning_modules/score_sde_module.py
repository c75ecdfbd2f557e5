"""Training, validation and test of a score model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from ..errors import NotFinite
from ..noise import Address, integer
from ..runtime.precision import full_precision, widest_float
from .compiled import CompiledLoss, LossFunction, check_mode
from .gradients import DeviceFlag, allow_external_unscaling, match_layout, prepare_step, total_norm

Batch = Mapping[str, Any]

_ADDRESS_KEYS = ("x", "index", "position", "step", "epoch")


class ScoreSDEModule(LightningModule):
    """Minimize an objective over a model.

    Every random number of a step is addressed by (seed, step, position in the global batch), so the loss of a step is
    the same for any number of processes and any gradient accumulation.

    Args:
        model: the score model, or any model that the objective trains.
        objective: ``objective(model, x, address, cond, train=...)`` -> losses (B,).
        optimizer: makes the optimizer from parameters.
        scheduler: creates a schedule from the optimizer, stepped after every optimizer step; None for a constant rate.
        seed: seed of times, noise and dropped labels.
        likelihood: ``likelihood(model, x, address, cond)`` -> bits/dim (B,), reported by the test; None for none.
        max_skipped_steps: number of consecutive steps with non-finite gradients after which the run stops; a skipped
            step does not change weights, optimizer and averages.
        compile: compile the loss of a training step (times, noise, net) into one graph: true, or a mode of
            ``torch.compile``. Evaluation does not use this graph.

    Raises:
        UserError: an unknown mode of ``torch.compile``.
    """

    def __init__(
        self,
        model: nn.Module,
        objective: LossFunction,
        optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
        scheduler: Callable[[Optimizer], LRScheduler] | None = None,
        seed: int = 0,
        likelihood: Callable[..., Tensor] | None = None,
        max_skipped_steps: int = 10,
        compile: bool | str = False,
    ) -> None:
        super().__init__()
        check_mode("module.compile", compile)
        self.model = model
        self.objective = objective
        self.seed = seed
        self.likelihood = likelihood
        self.max_skipped_steps = max_skipped_steps
        self.step_skipped: DeviceFlag | bool = False
        """Whether the last step left the weights unchanged. Read it one step later, when the device knows it."""
        self._train_objective = CompiledLoss(objective, compile) if compile else objective
        self._optimizer = optimizer
        self._scheduler = scheduler
        self._skipped_in_a_row = 0
        self._skipped = 0
        self._skipped_logged = 0
        self._counted = 0
        # The last step and whether it was skipped, until it is counted.
        self._uncounted: tuple[int, DeviceFlag] | None = None
        # Metrics of the current optimizer step.
        self._row: dict[str, Tensor | float] = {}
        # Sums of this window: losses and their count, so that accumulation and uneven shards are averaged correctly.
        self._sums: dict[str, Tensor] = {}

    def on_train_start(self) -> None:
        for optimizer in self.trainer.optimizers:
            match_layout(optimizer)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        # Dropout is the only sequential random stream. It is seeded at every micro-batch of every process, so that a
        # resumed run draws the same masks as the uninterrupted one.
        micro = batch_idx % self.trainer.accumulate_grad_batches
        self._seed_stream(
            integer(self.seed, "dropout", batch["step"], micro * self.trainer.world_size + self.global_rank)
        )

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        losses = self._losses(batch, batch["step"], "train")
        self._add("train/loss", losses)
        return losses.mean()

    def optimizer_step(
        self,
        epoch: int,
        batch_idx: int,
        optimizer: Optimizer | LightningOptimizer,
        optimizer_closure: Callable[[], Any] | None = None,
    ) -> None:
        """Take the step and log its row, before any checkpoint of the step, so that a resumed run has all rows."""
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        # The number of finished optimizer steps, as in checkpoints; the trainer counts this step on return.
        step = self.trainer.global_step + 1
        every: int = self.trainer.log_every_n_steps  # type: ignore[attr-defined] # the trainer sets it from outside its class
        if step % every == 0:
            self._count_last_step()
            self._stop_after_too_many()
            if self._skipped_in_a_row:
                del self._row["train/grad_norm"]
            if self._skipped > self._skipped_logged:
                self._row["train/skipped_steps"] = float(self._skipped)
                self._skipped_logged = self._skipped
            self._row["train/loss"] = self._mean("train/loss")
            self._row["train/lr"] = optimizer.param_groups[0]["lr"]
            self._log_row(self._row, step)
        self._row = {}
        self._sums.pop("train/loss", None)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self._add("val/loss", self._losses(batch, 0, "val"))

    def on_validation_epoch_end(self) -> None:
        loss = self._mean("val/loss")
        if not self.trainer.sanity_checking:
            self._log_row({"val/loss": loss}, self.trainer.global_step)
        self._sums.pop("val/loss", None)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self._add("test/loss", self._losses(batch, 0, "test"))
        if self.likelihood is not None:
            address = Address(self.seed, 0, batch["index"])
            # Likelihoods are comparable only in full precision, whatever the precision of training.
            with full_precision(self.device.type):
                bits = self.likelihood(self.model, batch["x"], address, _condition(batch))
            self._add("test/bits_per_dim", bits)

    def on_test_epoch_end(self) -> None:
        for name in [name for name in self._sums if name.startswith("test/")]:
            self.log(name, self._mean(name))
            del self._sums[name]

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip as the trainer is configured; skip the step if a gradient is not finite.

        Gradients are summed over processes before this point, so all processes agree. The previous step is counted only
        now, so that the host does not wait for the device.
        """
        self._count_last_step()
        self._stop_after_too_many()
        norm = total_norm([p for group in optimizer.param_groups for p in group["params"]])
        by_norm = gradient_clip_algorithm in (None, "norm")
        if not by_norm:
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)
        self.step_skipped = prepare_step(optimizer, norm, (gradient_clip_val or None) if by_norm else None)
        self._uncounted = self.trainer.global_step + 1, self.step_skipped
        self._row["train/grad_norm"] = norm

    def configure_optimizers(self) -> Any:
        optimizer = self._optimizer(self.parameters())
        allow_external_unscaling(optimizer)
        if self._scheduler is None:
            return optimizer
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": self._scheduler(optimizer), "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self._count_last_step()
        checkpoint["skipped_steps"] = {"total": self._skipped, "in_a_row": self._skipped_in_a_row}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        skipped = checkpoint.get("skipped_steps", {"total": 0, "in_a_row": 0})
        self._skipped, self._skipped_in_a_row = skipped["total"], skipped["in_a_row"]
        self._skipped_logged = self._skipped

    def _seed_stream(self, seed: int) -> None:
        # torch.manual_seed seeds all accelerators it knows, which takes a millisecond: noticeable for small nets.
        torch.default_generator.manual_seed(seed)
        if self.device.type != "cpu":
            torch.get_device_module(self.device).manual_seed(seed)

    def _losses(self, batch: Batch, step: int, stage: str) -> Tensor:
        # In evaluation a sample keeps its times and noise, so that curves of different steps are comparable.
        position = batch["position"] if stage == "train" else batch["index"]
        seed = self.seed if stage == "train" else self.seed + 1
        address = Address(seed, step, position)
        objective = self._train_objective if stage == "train" else self.objective
        losses: Tensor = objective(self.model, batch["x"], address, _condition(batch), train=stage == "train")
        return losses

    def _add(self, name: str, values: Tensor) -> None:
        kind = widest_float(values.device)
        added = torch.stack([values.detach().to(kind).sum(), values.new_full((), len(values), dtype=kind)])
        self._sums[name] = self._sums[name] + added if name in self._sums else added

    def _mean(self, name: str) -> Tensor:
        """Mean over all samples of all processes; a process without samples takes part in the sum."""
        sums = self._sums.get(name)
        if sums is None:
            sums = torch.zeros(2, dtype=widest_float(self.device), device=self.device)
        sums = self.trainer.strategy.reduce(sums, reduce_op="sum")
        return (sums[0] / sums[1]).float()

    def _log_row(self, values: Mapping[str, Tensor | float], step: int) -> None:
        """Log one row and update the progress line.

        Loggers are called directly: Lightning would do so after the checkpoints, and under another step for validation.
        """
        row = {name: float(value) for name, value in values.items()}
        for name, value in row.items():
            self.log(name, value, prog_bar=name.endswith("/loss"), logger=False)
        for logger in self.trainer.loggers:
            logger.log_metrics({"epoch": self.current_epoch, **row}, step=step)
            logger.save()

    def _count_last_step(self) -> None:
        if self._uncounted is None:
            return
        self._counted, skipped = self._uncounted
        self._uncounted = None
        self._skipped += bool(skipped)
        self._skipped_in_a_row = self._skipped_in_a_row + 1 if skipped else 0

    def _stop_after_too_many(self) -> None:
        if self._skipped_in_a_row < max(self.max_skipped_steps, 1):
            return
        raise NotFinite(
            f"loss or gradients were not finite for {self._skipped_in_a_row} steps in a row, up to step "
            f"{self._counted}, and training stops: lower optimizer.lr or use a precision of larger range"
        )


def _condition(batch: Batch) -> dict[str, Tensor]:
    """Return everything in a batch except data and address, as the condition of the net."""
    return {key: value for key, value in batch.items() if key not in _ADDRESS_KEYS}
