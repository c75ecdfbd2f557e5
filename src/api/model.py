"""``load`` and the model that it returns."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..checkpoint import find_checkpoint, restore_model
from ..checkpoint.find import can_be_found, shipped_models
from ..cli.setting_types import check_whole
from ..config.build import nearest
from ..errors import UserError
from ..interop.checkpoints import open_checkpoint
from ..interop.hub import download, is_repository
from ..noise import Address, check_seed
from ..sampling import LikelihoodOutput, ProbabilityFlowODE, Sampler
from ..sampling.conditioning.labels import class_condition
from ..sampling.generation import Generation
from ..sampling.ode.bits_per_dim import BitsPerDim
from ..sde import SDE, ScoreModel
from ..stored_values import StoredValues, values_of
from ..tasks import checkpoint_config
from . import arguments
from .arguments import Labels, Time

if TYPE_CHECKING:
    from PIL.Image import Image


def load(
    path_or_run: str | os.PathLike[str],
    weights: str = "ema",
    device: torch.device | str = "cpu",
    *,
    experiment: str | None = None,
    runs_dir: str | os.PathLike[str] = "logs",
    name: str | None = None,
) -> LoadedModel:
    """Load the model of a checkpoint in evaluation mode.

    Args:
        path_or_run: a checkpoint file (.ckpt, .safetensors, or .pth of Song's or Peng's program), a folder of runs
            (its newest checkpoint), ``last``, ``best`` or a step; a folder in the format of the Hugging Face Hub, or
            ``organization/name`` of a model there; or ``digits``, the model that comes with this package.
        weights: ``ema``, the first average; ``ema:<name>``, another average; ``raw``, the optimizer's weights.
        device: where the model runs.
        experiment: experiment of a .pth file, which contains no configuration.
        runs_dir: folder in which ``last``, ``best`` and steps are searched for.
        name: experiment whose runs are searched; None for all.

    Raises:
        UserError: there is no such checkpoint, it is damaged, or it has no such weights.
    """
    spec = str(path_or_run)
    if not isinstance(weights, str):
        raise UserError(f'weights={weights!r}: give "ema", "ema:<name>" or "raw"')
    if not can_be_found(spec) and not is_repository(spec):
        names = shipped_models()
        known = " or ".join(f'"{name}"' for name in names)
        raise UserError(
            f"load({path_or_run!r}): there is no such file, folder or model{nearest(spec, names)}: pass a checkpoint, "
            f'a run folder, {known}, "last", or "organization/name" of a model on the Hugging Face Hub'
        )
    path = find_checkpoint(download(spec) if is_repository(spec) else spec, os.fspath(runs_dir), name)
    checkpoint = open_checkpoint(path, experiment)
    return LoadedModel(restore_model(checkpoint, weights), checkpoint["config"]).to(device)


class LoadedModel:
    """A trained model with everything that its checkpoint says about the data.

    States x are (B, *d) floats, data in ``data_range``. Times are numbers or tensors () or (B,) in (0, sde.T]. Labels
    are a class, a class for each sample, or None; a net with classes takes None as "no label".

    Args:
        model: the score.
        config: the resolved configuration of its training.

    Attributes:
        model: the score, for the samplers and likelihoods of ``src.sampling``.
        config: the resolved configuration of its training.
        shape: (*d) of one sample: (C, H, W) of images, (d,) of points.
        values: depth and range of the stored data.
        device: where the model is.
    """

    def __init__(self, model: ScoreModel, config: Mapping[str, Any]) -> None:
        self.model = model
        self.config = dict(config)
        datamodule = checkpoint_config.node(config, "datamodule", None)
        self.shape = checkpoint_config.sample_shape(datamodule)
        self.values: StoredValues = values_of(datamodule)
        self.device = torch.device("cpu")

    def __repr__(self) -> str:
        net, classes = type(self.model.net).__name__, f", {self.num_classes} classes" if self.num_classes else ""
        return f"LoadedModel({net}, {type(self.sde).__name__}, {self.shape} in {self.data_range} range{classes})"

    @property
    def sde(self) -> SDE:
        """The forward process."""
        return self.model.sde

    @property
    def data_range(self) -> str:
        """Range of the data: ``unit`` [0, 1] or ``centered`` [-1, 1]."""
        return self.model.data_range

    @property
    def num_classes(self) -> int | None:
        """Number of classes of the net; None or 0 without classes."""
        return self.model.num_classes

    def to(self, device: torch.device | str) -> LoadedModel:
        """Move the model to ``device``; raise UserError if there is no such device."""
        try:
            self.model.to(torch.device(device))
        except (RuntimeError, AssertionError, TypeError) as error:
            here = "cpu or cuda" if torch.cuda.is_available() else "cpu: this machine has no usable GPU"
            raise UserError(f"device={device!r} cannot be used: give {here}") from error
        self.device = torch.device(device)
        return self

    def sampler(self, name: str | None = None, steps: int | None = None) -> Sampler:
        """Build a sampler.

        Args:
            name: name in ``conf/sampler``; None for the one in the checkpoint.
            steps: N, the number of times of its grid; None for the number in its configuration.

        Raises:
            UserError: there is no such sampler, it has no grid, or it does not fit the SDE.
        """
        node = checkpoint_config.node(
            self.config, "sampler", None if name is None else arguments.from_conf("sampler", name)
        )
        if steps is not None:
            check_whole("steps", steps, 1)
            if "grid" not in node:
                raise UserError(f"steps={steps}, but this sampler has adaptive steps: leave steps out")
            node["grid"] = {**node["grid"], "steps": steps}
        sampler: Sampler = checkpoint_config.build("sampler", node)
        sampler.check(self.sde)
        return sampler

    def sample(
        self,
        n: int,
        seed: int = 0,
        sampler: str | Sampler | None = None,
        steps: int | None = None,
        labels: int | Sequence[int] | str | None = None,
        batch_size: int = 64,
    ) -> Tensor:
        """Generate samples; sample i depends on (seed, i) and not on n or ``batch_size``.

        Args:
            n: number of samples.
            seed: seed of the initial samples and of the noise.
            sampler: a name of ``conf/sampler``, a sampler, or None for the one in the checkpoint.
            steps: N, the number of times of the grid; None for the number in the sampler's configuration.
            labels: a class, a list of classes to repeat, ``cycle``, ``random`` or ``none``; None cycles through the
                classes of a net that has classes.
            batch_size: samples per batch; changes speed and memory only.

        Returns:
            (n, *d) float in ``data_range``, not clipped, on the device of the model.

        Raises:
            UserError: a setting out of range, or samples that diverged.
        """
        check_whole("n", n, 1)
        check_whole("batch_size", batch_size, 1)
        check_seed(seed)
        if sampler is None or isinstance(sampler, str):
            sampler = self.sampler(sampler, steps)
        elif not isinstance(sampler, Sampler):
            raise UserError(f"sampler={sampler!r}: give a name of conf/sampler, such as 'heun', or a Sampler")
        elif steps is not None:
            raise UserError(f"steps={steps}: a sampler that is an object has its own grid: leave steps out")
        sampler.check(self.sde)
        generation = Generation(
            self.model,
            sampler,
            self.shape,
            seed,
            batch_size,
            self.data_range,
            conditioning=class_condition(labels, self.num_classes, seed),
            device=self.device,
            values=self.values,
        )
        batches = list(generation.batches(range(n)))
        invalid = [int(i) for batch in batches for i in batch.index[~batch.valid]]
        if invalid:
            raise UserError(f"{len(invalid)} of {n} samples diverged or are not finite: take more steps")
        return torch.cat([batch.samples for batch in batches])

    @torch.no_grad()
    def score(self, x: Tensor, t: Time, labels: Labels = None) -> Tensor:
        """Return the score at (x, t), the gradient of log p_t: (B, *d)."""
        x = self._states(x)
        score: Tensor = self.model(x, arguments.times(t, len(x), self.sde.T), self._condition(labels, len(x)))
        return score

    @torch.no_grad()
    def denoise(self, x: Tensor, t: Time, labels: Labels = None) -> Tensor:
        """Return the posterior mean of the data given x_t = x (Tweedie): (B, *d)."""
        x = self._states(x)
        return self.model.denoise(x, arguments.times(t, len(x), self.sde.T), self._condition(labels, len(x)))

    def log_likelihood(
        self, x: Tensor, labels: Labels = None, seed: int = 0, likelihood: str = "hutchinson"
    ) -> LikelihoodOutput:
        """Return bits per dimension by the probability-flow ODE (Song et al. 2021, sec. 4.3).

        Images are taken as bytes and dequantized uniformly. For points the density is used.

        Args:
            x: (B, *d) uint8, or float in ``data_range``.
            labels: classes of the samples.
            seed: seed of the dequantization and of the probes of the trace estimate.
            likelihood: a name of ``conf/likelihood``: ``hutchinson``, or ``exact`` for few dimensions.

        Returns:
            ``bits_per_dim``, ``latent``, ``nfe`` and ``standard_error``, one entry for each sample.

        Raises:
            UserError: there is no such likelihood, or a solve fails.
        """
        check_seed(seed)
        x = self._data(x)
        node = checkpoint_config.node(self.config, "likelihood", arguments.from_conf("likelihood", likelihood))
        if len(self.shape) != 3:
            node["likelihood"] = {**node["likelihood"], "data_range": "continuous"}
        measure: BitsPerDim = checkpoint_config.build("likelihood", node)
        address = Address(seed, 0, torch.arange(len(x), device=self.device))
        return measure.output(self.model, x, address, self._condition(labels, len(x)))

    def encode(self, x: Tensor, labels: Labels = None) -> Tensor:
        """Map data x (B, *d) to latents (B, *d) at T by the probability-flow ODE; raise UserError if a solve fails."""
        x = self._data(x)
        latents, _ = self._flow().encode(self.model, x, self._condition(labels, len(x)))
        return latents

    def decode(self, z: Tensor, labels: Labels = None) -> Tensor:
        """Map latents z (B, *d) to data (B, *d): the inverse of ``encode`` up to the tolerance of the solver."""
        z = self._states(z)
        return self._flow()(self.model, z, cond=self._condition(labels, len(z))).samples

    def to_uint8(self, images: Tensor) -> Tensor:
        """Quantize images (B, C, H, W), float in ``data_range``, to uint8 as ``sample.py`` does."""
        images = arguments.as_tensor("images", images, None)
        if images.ndim != 4:
            raise UserError(f"images of shape {tuple(images.shape)}: give (B, C, H, W)")
        arguments.check_floats(images, self.data_range)
        return self.values.to_bytes(self.values.from_model(images, self.data_range))

    def to_pil(self, images: Tensor) -> list[Image]:
        """Convert images (B, C, H, W), float in ``data_range``, to a list of B PIL images."""
        from PIL import Image

        levels = self.to_uint8(images).cpu().permute(0, 2, 3, 1).numpy()
        if levels.shape[-1] not in (1, 3):
            raise UserError(f"images of {levels.shape[-1]} channels cannot be shown: give 1 or 3 channels")
        return [Image.fromarray(one[:, :, 0] if one.shape[2] == 1 else one) for one in levels]

    def _flow(self) -> ProbabilityFlowODE:
        node = checkpoint_config.node(self.config, "sampler", arguments.from_conf("sampler", "ode"))
        # A final denoising step has no inverse.
        flow: ProbabilityFlowODE = checkpoint_config.build("sampler", {**node, "denoise": False})
        return flow

    def _states(self, x: Tensor) -> Tensor:
        return arguments.states(x, self.shape, self.data_range, self.device)

    def _data(self, x: Tensor) -> Tensor:
        x = arguments.as_tensor("x", x, self.device)
        return self._states(x if x.is_floating_point() else self.values.to_model(x, self.data_range))

    def _condition(self, labels: Labels, count: int) -> Mapping[str, Tensor] | None:
        return arguments.condition(labels, count, self.num_classes or 0, self.device)
