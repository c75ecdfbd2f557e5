"""Random command lines: settings drawn from good, bad and unusual values."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

_STEPS = ["2", "1", "0", "-1", "word"]
_SEED = ["0", "word", "-1", "99999999999"]
_SAMPLER = {
    "sampler": ["pc", "ancestral", "euler_maruyama", "heun", "ode", "dpm_solver_2m", "unipc", "ald", "pcc"],
    "sampler.grid.steps": _STEPS,
    "sampler.grid.eps": ["1e-3", "0", "1", "-1", "null"],
    "sampler.corrector.snr": ["0.1", "0", "-1"],
    "sampler.denoise": ["true", "false"],
}

TRAIN = {
    **_SAMPLER,
    "sde": ["ve", "vp", "subvp", "edm", "flow", "wrong"],
    "parametrization": ["song_ve", "song_vp", "edm", "smld", "ddpm", "v", "x0", "velocity", "songve"],
    "net": ["ncsnpp_digits", "ddpm", "mlp", "ncsnpp_positional", "unet"],
    "objective": ["score_matching", "score_matching_mean", "likelihood", "likelihood_importance", "edm", "smld"],
    "ema": ["ve", "vp", "edm", "posthoc", "none"],
    "scheduler": ["warm_up", "warm_up_cosine"],
    "callbacks": ["default", "minimal", "posthoc"],
    "metric": ["pixel", "digits"],
    "trainer": ["cpu", "ddp_sim", "gpu", "tpu"],
    "net.nf": ["8", "16", "6", "0", "-8", "word", "null", "1.5"],
    "net.ch_mult": ["[1]", "[1,2]", "[]", "[1,1,1,1,1,1]", "3", "[0]"],
    "net.attn_resolutions": ["[]", "[4]", "[8]", "[7]", "4"],
    "net.dropout": ["0.0", "0.5", "-1", "2", "word"],
    "net.embedding_type": ["fourier", "positional", "learned"],
    "net.fourier_log": ["true", "false"],
    "net.num_classes": ["null", "10", "0", "-1"],
    "net.nonlinearity": ["swish", "relu", "gelu"],
    "net.norm_groups": ["null", "1", "3", "0"],
    "net.progressive": ["none", "output_skip", "residual", "skip"],
    "net.progressive_input": ["none", "input_skip", "residual"],
    "net.resblock_type": ["biggan", "ddpm", "resnet"],
    "net.num_res_blocks": ["1", "0", "-1"],
    "net.widht": ["8"],
    "datamodule.data_range": ["unit", "centered", "signed"],
    "datamodule.global_batch_size": ["32", "16", "1", "0", "-4", "33", "word"],
    "datamodule.eval_batch_size": ["32", "0"],
    "datamodule.limit": ["160", "64", "0", "null"],
    "datamodule.channels": ["1", "3"],
    "datamodule.image_size": ["8", "16", "0"],
    "datamodule.random_flip": ["true", "false"],
    "datamodule.dequantize": ["true", "false"],
    "objective.time_sampler.eps": ["1e-3", "1", "-1"],
    "objective.label_dropout": ["0", "0.1"],
    "optimizer.lr": ["1e-3", "0", "-1", "word"],
    "optimizer.betas": ["[0.9,0.99]", "[0.9,2]", "0.9"],
    "scheduler.steps": ["1", "-1", "word"],
    "trainer.accumulate_grad_batches": ["1", "2", "0", "3"],
    "trainer.devices": ["1", "0", "-3", "auto", "word"],
    "trainer.precision": ["32-true", "64-true", "bf16-mixed", "12-true"],
    "trainer.max_steps": ["1", "0", "-2", "word"],
    "trainer.gradient_clip_val": ["1.0", "null", "-1"],
    "trainer.strategy": ["auto", "fast"],
    "callbacks.fid.num_samples": ["16", "1", "0"],
    "callbacks.fid.batch_size": ["8", "0"],
    "callbacks.sample_images.num_images": ["4", "0"],
    "callbacks.last_checkpoint.keep": ["2", "-1", "0"],
    "callbacks.chekpoint.keep": ["2"],
    "seed": _SEED,
    "float32_matmul_precision": ["high", "low"],
    "module.max_skipped_steps": ["10", "0"],
    "optimized_metric": ["train/loss", "nothing"],
    "test": ["true", "false"],
}

_FROM_A_CHECKPOINT = {
    **_SAMPLER,
    "num_samples": ["4", "1", "0", "-3", "word", "1.5"],
    "batch_size": ["2", "64", "0", "-1", "word"],
    "seed": _SEED,
    "weights": ["ema", "raw", "ema:default", "ema:none", "average"],
    "labels": ["null", "3", "cycle", "random", "none", "12", "[1,2]", "words"],
    "metric": ["pixel", "digits", "fid_inceptio"],
    "metrics": ["null", "[frechet_pixel]", "[nothing]", "7"],
    "datamodule.limit": ["64", "0"],
    "quantize": ["round", "truncate", "floor"],
    "accelerator": ["auto", "cpu", "gpu", "tpu", "quantum"],
    "devices": ["1", "0", "-2", "auto", "word"],
    "precision": ["32-true", "bf16-mixed", "64-true"],
    "name": ["digits", "null", "nothing"],
}

SAMPLE = {
    **_FROM_A_CHECKPOINT,
    "score": ["true", "false", "word"],
    "format": ["png", "npz", "jpg"],
    "raw": ["true", "false"],
    "trajectory": ["true", "false"],
    "temperature": ["1.0", "0.5", "0", "-1", "word"],
    "encode": ["true", "false"],
    "interpolate": ["null", "[0,1,3]", "[0,1]", "[0,0,0]", "[-1,1,3]", "word"],
    "given": ["test", "train", "nowhere", "valid"],
    "given_count": ["null", "2", "0", "-1", "word"],
    "control": ["inpainting", "colorization", "paint"],
    "control.mask": ["left", "middle", "nowhere.png"],
    "guidance": ["classifier", "classifier_free", "dps", "pseudo_inverse", "dsp"],
    "guidance.scale": ["1", "word"],
    "operator": ["super_resolution", "gaussian_blur", "compressed_sensing", "inpainting", "blur"],
    "num_sample": ["4"],
}

EVALUATE = {
    **_FROM_A_CHECKPOINT,
    "mode": ["evaluate", "pareto", "compare"],
    "every": ["null", "7", "0", "word"],
    "images": ["null", "nowhere"],
    "ema_length": ["null", "0.08", "0", "word"],
    "score": ["true", "false"],
    "bits_per_dim": ["true", "false"],
    "likelihood": ["exact", "hutchinson", "guess"],
    "loss": ["true", "false"],
    "split": ["test", "train", "valid"],
    "limit": ["4", "8", "0", "-1", "word"],
    "samplers": ["[own]", "[pc,heun]", "[]", "[pcc]", "own"],
    "steps": ["[2]", "[2,3]", "[]", "[0]", "2"],
    "logger": ["csv", "csvv"],
    "num_sample": ["4"],
}


def mutation(choices: Mapping[str, Sequence[str]], seed: int) -> list[str]:
    """Draw one to four settings from ``choices``; groups first, as Hydra reads them."""
    draw = random.Random(seed)
    keys = draw.sample(sorted(choices), draw.randint(1, 4))
    return [f"{key}={draw.choice(choices[key])}" for key in sorted(keys, key=lambda key: "." in key)]
