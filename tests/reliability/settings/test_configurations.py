"""Invalid configurations give one line that says what to change, before data, devices or W&B are used."""

from __future__ import annotations

from pathlib import Path

import pytest

from src.tasks.evaluate.task import Evaluation
from src.tasks.sample.task import SamplingRun
from src.tasks.train import plan
from tests.reliability.support.entry import train
from tests.reliability.support.in_process import call, refusal
from tests.reliability.support.runs import TINY, in_folder
from tests.tasks.example import IMAGES, write_checkpoint

# Invalid settings, and a part of the message.
WRONG = {
    ("net.nff=8",): "nf",
    ("experiment=digit",): "digits",
    ("sampler=pcc",): "pc",
    ("nonsense.key=1",): "nonsense",
    ("parametrization=song_ve", "net.embedding_type=positional"): "embedding",
    ("parametrization=edm",): "centered",
    ("parametrization=smld", "datamodule.data_range=unit"): "embedding",
    ("parametrization=edm", "datamodule.data_range=centered"): "embedding",
    ("net.ch_mult=[1,1,1,1,1]",): "divisible",
    ("net.nf=14",): "GroupNorm",
    ("net.nf=0",): "nf=0",
    ("net.num_res_blocks=-1",): "num_res_blocks=-1",
    ("net.num_classes=5",): "classes",
    ("net.num_classes=0",): "net.num_classes=0, but the data have 10 classes",
    ("net.num_classes=-1",): "num_classes=-1",
    ("seed=-1",): "seed=-1",
    ("seed=18446744073709551616",): "seed=18446744073709551616",
    ("seed=1.5",): "seed=1.5",
    ("seed=1,2",): "add -m",
    ("seed=1e3",): "for example 1000",
    ("seed.init=-1",): "seed.init=-1",
    ("seed.noise=0.5",): "seed.noise=0.5",
    ("seed.data=many",): "seed.data=many",
    ("seed.order=1",): "did you mean",
    ("net.attn_resolutions=[5]",): "attn_resolutions",
    ("net.nonlinearity=tanh",): "nonlinearity",
    ("net.nf=many",): "net",
    ("net.ch_mult=[1,1000000000000]",): "net.ch_mult=[1, 1000000000000] does not fit into memory",
    # What Hydra's parser refuses: quotes, brackets, numbers without end.
    ("seeds.data=~",): "seeds.data='~'",
    ("net.ch_mult=[1,2",): "close its brackets",
    ("model.data_range",): "type model.data_range=<value>",
    ("name=\x1b[2J",): "in quotes",
    ("trainer.max_steps=" + "1" * 5000,): "too many digits",
    ("++metric=pixel",): "type metric=<name>",
    ("sampler=",): "choose one of",
    ("logger=[[]]",): "choose one of",
    ("callbacks=.",): "names no configuration: choose one of",
    ("preview=heun",): "type sampler@preview=<name>",
    # What its parser of flags refuses.
    ("--cfg",): "expected one argument",
    ("--info=nothing",): "invalid choice",
    ("datamodule=",): "choose one of",
    ("net.dropout=2",): "dropout",
    ("sampler.corrector.snr=0",): "snr",
    ("sampler.corrector.snr=-0.1",): "snr",
    ("sampler.grid.steps=0",): "steps",
    ("sampler.grid.eps=1",): "eps",
    ("sampler.grid.eps=-1",): "eps",
    ("sampler=ode", "sampler.eps=2"): "eps",
    ("objective.time_sampler.eps=1.5",): "eps",
    ("objective.reduction=max",): "reduction",
    ("sde.sigma_min=9",): "sigma_min",
    ("sde=vp", "sde.beta_min=-1"): "beta_min",
    ("trainer=gpu", "trainer.devices=64"): "GPUs",
    ("trainer.devices=3", "trainer.strategy=ddp"): "global_batch_size",
    ("trainer.accumulate_grad_batches=5",): "global_batch_size",
    ("trainer.accumulate_grad_batches=0",): "accumulate_grad_batches",
    ("trainer.max_steps=0",): "max_steps",
    ("trainer.devices=0",): "devices",
    ("datamodule.data_range=bytes",): "data_range",
    ("callbacks.fid.num_samples=1",): "num_samples",
    ("metric=digits", "callbacks.fid.num_samples=3"): "at least",
    ("callbacks.fid.every_n_steps=0",): "every",
    ("callbacks.fid.quantize=floor",): "quantize",
    ("callbacks.last_checkpoint.keep=0",): "keep",
    ("callbacks.last_checkpoint.every_n_steps=0",): "at least 1",
    ("optimizer.lr=-1",): "optimizer",
    ("scheduler.steps=-1",): "scheduler",
    ("net.channels_last=perhaps",): "net.channels_last=perhaps: give true or false",
    ("net.compile=fast",): "net.compile=fast is unknown: give true, false or one of",
    ("datamodule.random_flip=maybe",): "datamodule.random_flip=maybe: give true or false",
    ("sampler.denoise=2",): "sampler.denoise=2: give true or false",
    ("trainer.precision=16-true",): "use 16-mixed",
    ("trainer.precision=bf16-true",): "use bf16-mixed",
    ("float32_matmul_precision=low",): "choose one of highest, high, medium",
    ("seed=word",): "seed",
    ("init_from=nowhere.ckpt",): "nowhere.ckpt is neither a file nor a folder",
    ("parametrization=null",): "choose one of ddpm",
}


# For sample.py and evaluate.py.
WRONG_FOR_BOTH = {
    ("metrics=[]",): "names no metric",
    ("num_sample=4",): "num_samples",
    ("sampler=pcc",): "pc",
    ("sampler.grid.step=4",): "steps",
    ("sampler=heun", "sampler.grid.wrong=1"): "wrong",
    ("sampler.corrector.snr=0",): "snr",
    ("sampler.corrector.snr=-1",): "snr",
    ("sampler.grid.steps=0",): "steps",
    ("sampler.grid.eps=1",): "eps",
    ("sampler.grid.eps=-1",): "eps",
    ("sampler=ode", "sampler.eps=2"): "eps",
    ("accelerator=gpu", "devices=64"): "devices",
    ("accelerator=quantum",): "accelerator",
    ("accelerator=tpu",): "accelerator",
    ("devices=0",): "devices",
    ("devices=word",): "devices",
    ("num_samples=0",): "num_samples",
    ("num_samples=-1",): "num_samples",
    ("num_samples=word",): "num_samples",
    ("metric=digits", "score=true", "num_samples=1"): "at least",
    ("metrics=7", "score=true"): "no metric 7",
    ("metrics=[nothing]",): "nothing",
    ("batch_size=0",): "batch_size",
    ("seed=word",): "seed",
    ("weights=ema:none",): "none",
    ("weights=average",): "average",
    ("labels=3",): "classes",
    ("quantize=floor",): "quantize",
    ("precision=64-true",): "precision",
    ("datamodule.data_range=bytes", "score=true"): "data_range",
    ("ckpt_path=nowhere.ckpt",): "nowhere.ckpt",
}
WRONG_FOR_SAMPLING = {
    ("format=jpg",): "format",
    ("temperature=-1",): "temperature",
    ("temperature=word",): "temperature",
    ("interpolate=[0,1]",): "interpolate",
    ("given_count=0", "control=inpainting", "control.mask=left"): "given_count",
    ("given=nowhere", "control=inpainting", "control.mask=left"): "nowhere",
    ("control=paint",): "inpainting",
    ("control=inpainting", "control.mask=nowhere.png"): "nowhere.png",
    ("guidance=classifier_free",): "classes",
    ("operator=super_resolution",): "guidance",
    ("guidance=dps",): "operator",
}
WRONG_FOR_EVALUATION = {
    ("mode=compare",): "mode",
    ("split=valid", "bits_per_dim=true"): "split",
    ("images=nowhere", "ckpt_path=null"): "nowhere",
    ("every=0",): "every",
    ("ema_length=0.08",): "ema",
    ("likelihood=guess",): "hutchinson",
    ("mode=pareto", "samplers=[pcc]"): "pc",
    ("mode=pareto", "steps=[0]"): "steps",
    ("limit=0", "loss=true"): "limit",
    ("logger=csvv",): "csv",
}
OF_SCRIPTS = {
    "sample.py": WRONG_FOR_BOTH | WRONG_FOR_SAMPLING,
    "evaluate.py": WRONG_FOR_BOTH | WRONG_FOR_EVALUATION,
}


# Whole commands, with FILE for a text file in place of a run, a checkpoint, data, or the folder of runs.
WRONG_ELSEWHERE = {
    ("src", "doctor"): "name data: ",
    ("src", "doctor", "datamodule"): "name data: ",
    ("src", "doctor", "datamodule.path=FILE"): "not a supported kind of file",
    ("src", "doctor", "datamodule=digits", "datamodule.image_size=[1"): "close its brackets",
    ("src", "doctor", "datamodule=digits", "datamodule.imagesize=8"): "did you mean datamodule.image_size?",
    ("src", "doctor", "datamodule=digit"): "there is no datamodule=digit, did you mean digits?",
    ("src", "report"): "type python -m src report RUN",
    ("src", "report", "FILE"): "is a file, not a folder",
    ("src", "export"): "ckpt_path, format, output missing",
    ("src", "export", "ckpt_path=FILE", "format=ckpt", "output=out"): "is not a checkpoint",
    ("src", "export", "ckpt_path=FILE/run", "format=ckpt", "output=out"): "is neither a file nor a folder",
    ("src", "export", "ckpt_path=last", "log_dir=FILE", "format=ckpt", "output=out"): "is a file, not a folder of runs",
    ("train.py", *TINY, "ckpt_path=FILE"): "is not a checkpoint",
    ("train.py", *TINY, "ckpt_path=last", "paths.log_dir=FILE"): "is a file, not a folder of runs",
    ("sample.py", "ckpt_path=last", "paths.log_dir=FILE"): "is a file, not a folder of runs",
    ("evaluate.py", "ckpt_path=FILE/run"): "is neither a file nor a folder",
}


def touched(*_: object, **__: object) -> None:
    raise AssertionError("the check came too late")


@pytest.mark.parametrize("wrong", WRONG, ids=" ".join)
def test_invalid_training_settings_are_refused_before_loading_data(
    wrong: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "open_data", touched)
    line = refusal(call(["train.py", *TINY, *in_folder(tmp_path), "logger=wandb", *wrong]))
    assert WRONG[wrong] in line


@pytest.mark.parametrize("setting", ["datamodule.train_split=valid", "datamodule.global_batch_size=1024"])
def test_settings_that_do_not_fit_the_data_give_one_line(setting: str, tmp_path: Path) -> None:
    # These are found only after loading the data.
    refusal(call(["train.py", *TINY, *in_folder(tmp_path), setting]))


def test_a_run_without_logger_and_with_a_numeric_name(tmp_path: Path) -> None:
    settings = ["name=2024", "~logger", "trainer.max_steps=1", "callbacks=minimal", "optimized_metric=train/loss"]
    for resume in ([], ["ckpt_path=last"]):
        ended = train(*TINY, *in_folder(tmp_path), *settings, *resume, folder=tmp_path)
        assert ended.code == 0, ended.err
    (checkpoint,) = tmp_path.rglob("*.ckpt")
    assert checkpoint.parts[-4] == "2024"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("run") / "step00000007.ckpt", *IMAGES)


@pytest.mark.parametrize(
    ("script", "wrong"),
    [(script, wrong) for script, all_wrong in OF_SCRIPTS.items() for wrong in all_wrong],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_other_scripts_refuse_invalid_settings_before_sampling(
    script: str, wrong: tuple[str, ...], checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SamplingRun, "generate", touched)
    monkeypatch.setattr(Evaluation, "run", touched)
    # Giving a key twice is another error.
    given = [] if any(setting.startswith("ckpt_path=") for setting in wrong) else [f"ckpt_path='{checkpoint}'"]
    places = [f"output_dir={tmp_path}/out", f"paths.log_dir={tmp_path}/logs"]
    line = refusal(call([script, *given, *places, *wrong]))
    assert OF_SCRIPTS[script][wrong] in line
    assert not (tmp_path / "out" / "images").exists()


@pytest.mark.parametrize("wrong", WRONG_ELSEWHERE, ids=lambda words: " ".join(w for w in words if w not in TINY))
def test_all_commands_refuse_wrong_words_and_files(wrong: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a text\n")
    line = refusal(call([word.replace("FILE", f"{tmp_path}/file") for word in wrong]))
    assert WRONG_ELSEWHERE[wrong] in line
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
