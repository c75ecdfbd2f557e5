"""Base class of all score networks: the contract of ``forward`` and the settings of how it runs."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..errors import UserError
from .compiled import CompiledForward, compile_mode
from .layers.embedding import NoiseEmbedding


class ScoreNet(nn.Module, ABC):
    """Base of the backbones.

    A subclass sets the attributes below that differ, calls ``apply_settings()`` as the last line of its constructor and
    sends its blocks through ``run``.

    Args:
        compile: compile the forward pass in place (names in the state dict stay as they are), see ``compiled``: true,
            false or a mode of ``torch.compile``.
        channels_last: keep convolution weights and activations in the channels-last memory format.
        checkpoint_activations: recompute the activations inside every block during the backward pass instead of
            keeping them: about a third more computation for a fraction of the memory.

    Raises:
        UserError: an unknown mode of compilation.
    """

    num_classes: int | None = None
    """Classes of the label ``cond["labels"]``; None for a net that does not read it."""

    noise_scales: tuple[str, ...] | None = None
    """What c_noise may be, of ``sigma``, ``log sigma``, ``time`` and ``index``; None for anything."""

    image_shape: tuple[int, ...] = ()
    """(C, H, W) of the images that the net is built for; empty for vectors and for images of any size."""

    def __init__(
        self,
        *,
        compile: bool | str | None = False,
        channels_last: bool = False,
        checkpoint_activations: bool = False,
    ) -> None:
        super().__init__()
        # Not on the class, where it would hide the module that a subclass registers under this name.
        self.embedding: NoiseEmbedding | None = None
        self.compile_mode = compile_mode(compile)
        self.channels_last = channels_last
        self.checkpoint_activations = checkpoint_activations

    @abstractmethod
    def forward(
        self, x: Float[Tensor, "b *d"], c_noise: Tensor, cond: Mapping[str, Tensor] | None = None
    ) -> Float[Tensor, "b *d"]:
        """Compute the raw output of the net.

        Args:
            x: (B, *d) input, already mapped to [-1, 1] (before noise) and scaled by a_in.
            c_noise: (), (1,) or (B,), the noise level in the form that the embedding of the net expects. One value
                for the whole batch is embedded once, and layers that depend on it alone are computed once.
            cond: named tensors or None. ``labels``: (B,) int64 class labels; a net with classes takes the index
                ``num_classes`` for "no label" and assumes it where labels are absent. ``augment``: (B, augment_dim)
                float augmentation labels, zero where absent. ``interval``: see ``enable_interval``. Unknown
                names are ignored.

        Returns:
            (B, *d), not divided by sigma: the coefficients of the score belong to the parametrization.
        """

    def enable_interval(self) -> None:
        """Let the net see ``cond["interval"]``, in the shape and form of c_noise; absent, it counts as zero.

        Raises:
            UserError: a net without an embedding of the noise level, or one that cannot embed zero.
        """
        if self.embedding is None:
            raise UserError(f"{type(self).__name__} has no embedding of the noise level to which an interval is added")
        self.embedding.enable_interval()

    def apply_settings(self) -> None:
        """Apply ``channels_last`` and ``compile``, once all modules exist."""
        if self.channels_last:
            self.to(memory_format=torch.channels_last)
        if self.compile_mode is not None:
            # The attribute that Module.compile sets; torch excludes it from copies and files.
            self._compiled_call_impl = CompiledForward(self._call_impl, self.compile_mode)

    def arrange(self, x: Tensor) -> Tensor:
        """Return ``x`` in the memory format of the net."""
        return x.contiguous(memory_format=torch.channels_last) if self.channels_last else x

    def run(self, block: nn.Module, *args: Tensor | None) -> Tensor:
        """Call ``block(*args)``; ``checkpoint_activations`` recomputes its activations in the backward pass."""
        if self.checkpoint_activations and torch.is_grad_enabled():
            out: Tensor = checkpoint(block, *args, use_reentrant=False)
        else:
            out = block(*args)
        return out
