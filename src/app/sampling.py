"""One sampling run, in the order in which things can go wrong: cheap checks first."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from src.app import checkpoint_config, scoring
from src.app.devices import launch
from src.app.image_store import ImageStore
from src.app.together import raise_together
from src.callbacks.pictures import picture, save_film, save_picture
from src.checkpoint import RunLock, checkpoint_hash, find_checkpoint, restore_model
from src.errors import UserError
from src.interop.checkpoints import open_checkpoint
from src.metrics import Scores
from src.metrics.distributed import gather_rows, on_rank_zero
from src.progress import Progress
from src.quantize import check_mode, to_uint8
from src.sampling.generate import FAR, GeneratedBatch, generate, shard
from src.sampling.guidance import Guidance
from src.sampling.labels import class_condition
from src.sde import ScoreModel

_log = logging.getLogger(__name__)

GRID_IMAGES = 64
PLOTTED_POINTS = 10_000
FILM_IMAGES = 16
FILM_FRAMES = 40
_LISTED = 8


class SamplingRun:
    """Samples of a checkpoint in a folder; a context manager that holds the folder.

    Every process goes through the same calls; each makes its share.

    Args:
        cfg: the composed configuration of ``conf/sample.yaml``.
    """

    def __init__(self, cfg: DictConfig) -> None:
        self.cfg = cfg
        self._closing = ExitStack()
        self._scores: Scores | None = None
        self._made: list[tuple[float, ...]] = []
        self._start = time.monotonic()

    def __enter__(self) -> SamplingRun:
        return self

    def __exit__(self, *error: object) -> None:
        # The folder is free for others again.
        self._closing.close()

    def check(self) -> None:
        """What can be known without the weights."""
        check_mode(self.cfg.quantize)
        if self.cfg.ckpt_path is None:
            raise UserError("ckpt_path is missing: give a checkpoint, a run folder, `last`, `best`, or a step")
        self._find()

    def launch(self) -> None:
        """The processes of the run."""
        self.fabric = launch(self.cfg.accelerator, self.cfg.devices, self.cfg.precision)
        # All processes take the file that the first one finds, also while training goes on writing.
        self.path, self.hash = on_rank_zero(lambda: (path := self._find(), checkpoint_hash(path)))

    def restore(self) -> None:
        """The model, its sampler, its conditions and, if scores are wanted, the metrics."""
        cfg, checkpoint = self.cfg, open_checkpoint(self.path, self.cfg.trained_as)
        self.trained = dict(checkpoint["config"])
        self.foreign = "foreign" in checkpoint
        model = restore_model(checkpoint, cfg.weights)
        classes = getattr(model.net, "num_classes", None)
        labels: Any = OmegaConf.to_container(cfg.labels) if OmegaConf.is_config(cfg.labels) else cfg.labels
        self.condition = class_condition(labels, classes, cfg.seed)
        self.labels = ("cycle" if labels is None else labels) if classes else None
        self.data_range = model.data_range
        self.guidance_node = None if cfg.get("guidance") is None else self._node("guidance")
        self.model = self._guided(model.to(self.fabric.device), classes)
        self.sampler_node = self._node("sampler")
        self.sampler = checkpoint_config.build("sampler", self.sampler_node)
        self.datamodule_node = self._node("datamodule")
        self.shape = checkpoint_config.sample_shape(self.datamodule_node)
        if self.wants_scores:
            names = None if cfg.metrics is None else list(cfg.metrics)
            self.suite = checkpoint_config.build("metric", scoring.chosen_metrics(self._node("metric"), names))
            self.datamodule = checkpoint_config.build("datamodule", self.datamodule_node)
            scoring.check_scoring(self.suite, self.datamodule, cfg.num_samples)

    def open_folder(self) -> None:
        """The output folder, claimed for this run; samples that are there already are not made again."""
        cfg = self.cfg
        settings = {
            "checkpoint": self.hash,
            "weights": cfg.weights,
            "sampler": self.sampler_node,
            "seed": cfg.seed,
            "labels": self.labels,
            "guidance": self.guidance_node,
            "quantize": cfg.quantize,
            "precision": cfg.precision,
        }
        if self.foreign:
            # Such a file does not say of what model it is.
            settings["model"] = self.trained["model"]
        about = {"ckpt_path": str(self.path), "sample": OmegaConf.to_container(cfg), "trained_with": self.trained}
        self.store = ImageStore(
            self._folder(settings), settings, cfg.num_samples, self.shape, cfg.format, cfg.raw, about
        )
        self.missing = on_rank_zero(self._claim)
        if not self.missing:
            _log.info("nothing to make: %s holds all %s samples", self.store.folder, f"{cfg.num_samples:,}")
        elif len(self.missing) < cfg.num_samples:
            _log.info("%s samples are there, %s are missing", cfg.num_samples - len(self.missing), len(self.missing))

    def generate(self) -> None:
        """This process' share of what is missing."""
        mine = shard(self.missing, self.fabric.global_rank, self.fabric.world_size)
        failure = None
        try:
            with Progress("sampling", len(mine), enabled=self.fabric.is_global_zero) as progress:
                for batch in self._batches(mine, progress=progress):
                    self._keep(batch)
                    progress.add(len(batch.index))
        except UserError as error:
            failure = str(error)
        raise_together(failure)

    def finish_folder(self) -> None:
        """Files are joined where they are to be, and the manifest is closed."""
        index, evaluations, reach, valid = gather_rows(
            torch.tensor(self._made, dtype=torch.float64).reshape(-1, 4)
        ).unbind(dim=1)
        nfe = None
        if len(index):
            least, most = evaluations.aminmax()
            nfe = {"mean": float(evaluations.mean()), "least": int(least), "most": int(most)}
        invalid = [int(i) for i in index[valid == 0]]
        far = reach[(valid == 1) & (reach > FAR)]
        if len(far):
            _log.warning(
                "%d samples lie far outside the data, up to %.2g: the net knows too little, or the sampler diverges",
                len(far),
                float(far.max()),
            )
        seconds = time.monotonic() - self._start
        # Every process needs to know what is in the folder, one writes it.
        on_rank_zero(lambda: self.store.complete(invalid, nfe, seconds) if self.missing else None)
        self.store.manifest.invalid = on_rank_zero(lambda: self.store.manifest.invalid)

    def draw(self) -> None:
        """The grid, and the film of trajectories if it is asked for."""
        on_rank_zero(self._draw_grid)
        film = self.store.folder / "trajectory.gif"
        if self.cfg.trajectory and on_rank_zero(lambda: bool(self.missing) or not film.exists()):
            self._draw_film(film)

    def score(self) -> None:
        """``metrics.json``, if scores are wanted."""
        if not self.wants_scores:
            return
        self._scores = scoring.score(
            self.store,
            self.suite,
            self.datamodule,
            batch_size=self.cfg.batch_size,
            device=self.fabric.device,
            quantize=self.cfg.quantize,
        )
        manifest = self.store.manifest
        sampling = {**manifest.settings, "nfe": manifest.nfe, "invalid_samples": len(manifest.invalid)}
        on_rank_zero(lambda: scoring.write_scores(self.store.folder, self._require_scores(), sampling))
        _log.info("%s", self._scores)

    def finish(self) -> float | None:
        """Say what there is now; the first score, if there is one.

        Raises:
            UserError: some samples diverged or are not finite.
        """
        invalid = self.store.manifest.invalid
        if invalid:
            named = ", ".join(map(str, invalid[:_LISTED])) + (", ..." if len(invalid) > _LISTED else "")
            raise UserError(
                f"{len(invalid)} of {self.cfg.num_samples} samples diverged or are not finite and were left out "
                f"({named}): take more steps or another sampler"
            )
        _log.info("%s samples in %s", f"{self.cfg.num_samples:,}", self.store.folder)
        return None if self._scores is None else next(iter(self._scores.values.values()), None)

    @property
    def wants_scores(self) -> bool:
        """Naming metrics asks for them."""
        return bool(self.cfg.score or self.cfg.metrics is not None)

    def _find(self) -> Path:
        return find_checkpoint(self.cfg.ckpt_path, self.cfg.paths.log_dir, self.cfg.name)

    def _guided(self, model: ScoreModel, classes: int | None) -> ScoreModel | Guidance:
        if self.guidance_node is None:
            return model
        if not classes and "null_label" in self.guidance_node:
            raise UserError("guidance by labels, but the net was trained without classes: leave guidance out")
        try:
            guided: Guidance = checkpoint_config.build("guidance", self.guidance_node)(model)
        except TypeError as error:
            raise UserError(f"this guidance cannot be used here ({error}): use guidance=classifier_free") from error
        return guided

    def _folder(self, settings: dict[str, Any]) -> Path:
        """The folder asked for, or one of the run and of these settings alone, so that a second call goes on."""
        if self.cfg.output_dir is not None:
            return Path(self.cfg.output_dir)
        in_a_run = self.path.parent.name == "checkpoints"
        home = self.path.parent.parent if in_a_run else Path(self.cfg.paths.log_dir)
        chosen = json.dumps([settings, self.cfg.format, self.cfg.raw], sort_keys=True)
        digest = hashlib.sha256(chosen.encode()).hexdigest()[:8]
        return home / "samples" / f"{self.path.stem}-seed{self.cfg.seed}-{digest}"

    def _node(self, name: str) -> dict[str, Any]:
        return checkpoint_config.node(self.trained, name, self.cfg.get(name))

    def _claim(self) -> list[int]:
        self._closing.enter_context(RunLock(self.store.folder))
        return self.store.prepare()

    def _batches(self, indices: Any, frames: int = 0, progress: Progress | None = None) -> Any:
        return generate(
            self.model,
            self.sampler,
            self.shape,
            indices,
            seed=self.cfg.seed,
            batch_size=self.cfg.batch_size,
            condition=self.condition,
            device=self.fabric.device,
            autocast=self.fabric.autocast,
            frames=frames,
            on_step=None if progress is None else lambda step: progress.begun(len(step.x) * step.index / step.total),
        )

    def _keep(self, batch: GeneratedBatch) -> None:
        samples = batch.samples[batch.valid].cpu()
        floats = samples if self.cfg.raw else None
        self.store.add(batch.index[batch.valid], self._shown(samples), floats)
        columns = (batch.index, batch.nfe, batch.reach, batch.valid)
        self._made += zip(*(column.tolist() for column in columns), strict=True)

    def _shown(self, samples: torch.Tensor) -> torch.Tensor:
        return to_uint8(samples, self.data_range, self.cfg.quantize) if len(self.shape) == 3 else samples

    def _draw_grid(self) -> None:
        path = self.store.folder / "grid.png"
        if not self.missing and path.exists():
            return
        count = GRID_IMAGES if self.store.is_image else PLOTTED_POINTS
        image = picture(self.store.read(self.store.valid_indices()[:count]))
        if image is not None:
            save_picture(path, image)

    def _draw_film(self, path: Path) -> None:
        count = min(self.cfg.num_samples, FILM_IMAGES if self.store.is_image else PLOTTED_POINTS)
        mine = shard(range(count), self.fabric.global_rank, self.fabric.world_size)
        index, frames = [torch.empty(0, dtype=torch.int64)], []
        for batch in self._batches(mine, frames=FILM_FRAMES):
            index.append(batch.index)
            frames.append(self._shown(batch.trajectory.transpose(0, 1)))
        order = gather_rows(torch.cat(index)).argsort()
        dtype = torch.uint8 if self.store.is_image else torch.float32
        empty = torch.empty(0, FILM_FRAMES, *self.shape, dtype=dtype)
        states = gather_rows(torch.cat(frames) if frames else empty)[order]
        pictures = [picture(states[:, i]) for i in range(states.shape[1])]
        on_rank_zero(lambda: save_film(path, [p for p in pictures if p is not None]))

    def _require_scores(self) -> Scores:
        assert self._scores is not None
        return self._scores
