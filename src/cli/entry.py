"""From the command line to a job: Hydra around a function, and every foreseeable mistake as one line.

Only the standard library is imported before signals are handled, and only Hydra before the command line is known, so
that Ctrl-C, ``--help`` and a mistyped key respond at once.
"""

from __future__ import annotations

import functools
import logging
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from ..config.location import CONFIG_DIR, IS_INSTALLED
from ..errors import UserError
from ..runtime.command import ENDINGS, ending, start
from .command_line import prepare_arguments
from .completion import keys
from .help import help_text
from .run_log import RunLog

if TYPE_CHECKING:
    from omegaconf import DictConfig

    Main = Callable[[DictConfig], float | None]
    # arguments(command line, configuration folder) -> arguments that Hydra accepts.
    Arguments = Callable[[Sequence[str], Path], list[str]]

run_log = RunLog()
"""Log of this command; a task opens it in its own folder."""


def entry(config_name: str, arguments: Arguments | None = None) -> Callable[[Main], Callable[[], None]]:
    """Make a function the command ``config_name``, configured by ``conf/<config_name>.yaml``.

    User mistakes end the process with one line on standard error and a non-zero exit code. Anything else is a
    programming error and shows its traceback. In a sweep every job is a separate process.

    Args:
        config_name: name of the command, of its configuration and of its script.
        arguments: rewrites the command line before Hydra reads it.
    """

    def decorate(job: Main) -> Callable[[], None]:
        @functools.wraps(job)
        def command() -> None:
            try:
                start()
                # Without this, Hydra prints errors itself, over several lines.
                os.environ.setdefault("HYDRA_FULL_ERROR", "1")
                if {"-h", "--help"} & set(sys.argv[1:]):
                    sys.stdout.write(help_text(config_name))
                    return
                sys.argv[1:] = prepare_arguments(sys.argv[1:], _setting_names(config_name))
                if arguments is not None:
                    sys.argv[1:] = arguments(sys.argv[1:], CONFIG_DIR)
                _run(job, config_name)
            except ENDINGS as error:
                _exit_with_message(error, config_name)
                raise
            finally:
                _remove_unused_folders()

        return command

    return decorate


def _setting_names(config_name: str) -> list[str]:
    """Return the top-level settings of a command: the unindented keys of its configuration file."""
    return keys(CONFIG_DIR / f"{config_name}.yaml")


def _program(name: str) -> list[str]:
    """Return the arguments of ``python`` that run the command ``name`` in a separate process, from any folder."""
    if IS_INSTALLED:
        return ["-m", f"{__name__.partition('.')[0]}.commands.{name}"]
    return [str(CONFIG_DIR.parent / f"{name}.py")]


def _run(job: Main, config_name: str) -> None:
    import hydra

    from . import sweeps
    from .run_dir import register_resolvers

    _check_flags()
    register_resolvers()
    with sweeps.reported():
        hydra.main(version_base="1.3", config_path=str(CONFIG_DIR), config_name=config_name)(_task(job, config_name))()


def _check_flags() -> None:
    """Raise UserError for flags that Hydra refuses: it would print the usage of all its flags."""
    from hydra._internal.utils import get_args_parser

    def refuse(message: str) -> NoReturn:
        raise UserError(f"{message}: see --help for the settings of this command")

    parser = get_args_parser()
    parser.error = refuse  # type: ignore[method-assign] # argparse offers no other way to keep its usage quiet
    parser.parse_args()


def _task(job: Main, config_name: str) -> Main:
    """The function that Hydra calls; cluster launchers pickle it."""

    def task(cfg: DictConfig) -> float | None:
        # Only this is kept: a pickled local function includes all names it uses, and `run_log` cannot be pickled.
        return _job(job, config_name, cfg)

    return task


def _job(job: Main, config_name: str, cfg: DictConfig) -> float | None:
    """Run ``job`` or, in a sweep, start it in a separate process."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    from . import sweeps
    from .allocator import keep_freed_memory
    from .setting_types import check_types, names_as_text

    # Hydra has just configured logging again.
    logging.getLogger().addHandler(run_log)
    try:
        if HydraConfig.get().mode == RunMode.MULTIRUN:
            return sweeps.run_in_fresh_process(_program(config_name))
        _quiet_all_but_rank_zero()
        # Lightning prints this on every machine of a cluster, in every run.
        warnings.filterwarnings("ignore", message=r"The `srun` command is available")
        # Pillow and zarr warn about every unusual tag of a file.
        warnings.filterwarnings("ignore", module=r"(PIL|zarr)\.")
        keep_freed_memory()
        names_as_text(cfg)
        check_types(cfg, CONFIG_DIR / f"{config_name}.yaml")
        return job(cfg)
    except ENDINGS as error:
        # Handled here and not further out: Hydra would print its own line and start the next job of a sweep.
        _exit_with_message(error, config_name)
        raise


def _exit_with_message(error: BaseException, config_name: str) -> None:
    """End the process with one line if ``error`` is a user mistake; return if it is a programming error."""
    found = ending(error, functools.partial(_line, config_name=config_name))
    if found is not None:
        _fail(*found, show=_rank() == 0 if isinstance(error, ENDINGS[:2]) else _should_report(error))


def _line(error: BaseException, config_name: str) -> str | None:
    # Imported here because messages need Hydra.
    from .messages import one_line

    return one_line(error, config_name)


def _should_report(error: BaseException) -> bool:
    """Return whether this process shows ``error``: an error that all processes raise is shown by the first."""
    from .messages import lost_peer, raised_on_all_ranks

    # If a peer is lost, it may be the first process.
    if _rank() == 0 or lost_peer(error):
        return True
    # Launchers that start all processes at once let them all make the same mistakes until they first communicate. A
    # process that rank 0 starts is different: rank 0 passed all checks before.
    alike = not _process_group_exists() and ("TORCHELASTIC_RUN_ID" in os.environ or "SLURM_PROCID" in os.environ)
    return not alike and not raised_on_all_ranks(error)


def _process_group_exists() -> bool:
    distributed = sys.modules.get("torch.distributed")
    return distributed is not None and distributed.is_available() and distributed.is_initialized()


def _fail(message: str, code: int, show: bool) -> NoReturn:
    if show:
        sys.stdout.flush()
        sys.stderr.write(f"error: {message}\n")
    sys.exit(code)


def _rank() -> int:
    return int(os.environ.get("RANK") or os.environ.get("SLURM_PROCID") or os.environ.get("LOCAL_RANK") or 0)


def _quiet_all_but_rank_zero() -> None:
    if _rank() > 0:
        logging.getLogger().setLevel(logging.ERROR)


def _remove_unused_folders() -> None:
    # Imported by then, unless no folder was locked.
    run_dir = sys.modules.get(f"{__package__}.run_dir")
    if run_dir is not None:
        run_dir.remove_unused()
