"""Effect of a signal on a command: end it at once with one line or, if there is something to save, record the signal.

Handled signals: SIGINT (Ctrl-C), SIGTERM, SIGHUP (treated as SIGTERM), SIGUSR1 (the time limit of a SLURM job is near;
the job is requeued) and SIGUSR2 (the same from submitit, which requeues the job itself).
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)

# Seconds that a worker process of a data loader outlives the SIGTERM of its group, so that the step can finish.
_GRACE = 20


class Stopped(BaseException):
    """Raised to end the command at once because of a signal.

    Not an Exception, so that no library catches it.

    Args:
        number: the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


class _State:
    """Signal state of this process.

    Attributes:
        owner: the process that installed the handlers; worker processes inherit them.
        received: the first signal; None if there was none.
        only_recorded: whether signals are only recorded instead of ending the command.
        forward: forwards a signal to the processes that this one started.
    """

    owner = 0
    received: int | None = None
    only_recorded = False
    forward: Callable[[int], None] | None = None


def install() -> None:
    """Install the handlers in this process; call it again after a library has replaced them. Does nothing in another
    thread.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    if _State.owner != os.getpid():
        _State.owner, _State.received, _State.only_recorded, _State.forward = os.getpid(), None, False, None
    for number in SIGNALS:
        # nohup and background shells make a process ignore a signal on purpose.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _receive)


def forward_to(send: Callable[[int], None] | None) -> None:
    """Forward signals with ``send`` to the processes that this one started; None stops that."""
    _State.forward = send


def received() -> int | None:
    """Return the signal that asked this command to end, None if there was none."""
    return _State.received


def record_only(only: bool) -> None:
    """Choose whether signals are only recorded, for ``received``, or end the command at once.

    Raises:
        Stopped: a signal was received and nothing is left to save.
    """
    _State.only_recorded = only
    if not only and _State.received is not None:
        raise Stopped(_State.received)


@contextmanager
def stop_immediately() -> Iterator[None]:
    """Inside the context a signal raises ``Stopped`` at once, even while signals are only recorded."""
    before = _State.only_recorded
    record_only(False)
    try:
        yield
    finally:
        _State.only_recorded = before


def requeue() -> str:
    """Requeue this SLURM job, if there is one; return a sentence about it, or an empty string."""
    variables = os.environ
    if "SLURM_JOB_ID" not in variables or int(variables.get("SLURM_PROCID") or 0) > 0:
        return ""
    array, task = variables.get("SLURM_ARRAY_JOB_ID"), variables.get("SLURM_ARRAY_TASK_ID")
    job = f"{array}_{task}" if array and task else variables["SLURM_JOB_ID"]
    try:
        subprocess.run(["scontrol", "requeue", job], check=True, capture_output=True, text=True)
    except OSError as error:
        return f"job {job} could not be requeued ({error.strerror}); "
    except subprocess.CalledProcessError as error:
        return f"job {job} could not be requeued ({' '.join(error.stderr.split())}); "
    return f"job {job} is requeued; "


def _receive(number: int, frame: FrameType | None) -> None:
    if os.getpid() != _State.owner:
        # In a worker process: the process that started it decides, and needs its data until then.
        if number == signal.SIGTERM:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(_GRACE)
        return
    again = _State.received is not None
    number = signal.SIGTERM if number == signal.SIGHUP else number
    if not again:
        _State.received = number
    if _State.forward is not None:
        _State.forward(number)
    if not _State.only_recorded or (again and number == signal.SIGINT):
        # Only once: cleaning up on the way out is not interrupted.
        _State.only_recorded = True
        raise Stopped(_State.received if _State.received is not None else number)
    # A requeued job receives SIGTERM too: one line is enough.
    if not again:
        _say(f"{signal.Signals(number).name}: the checkpoint of this step is written, then training ends\n")


def _say(text: str) -> None:
    """Write to standard output without its buffer, because the handler may have interrupted a write."""
    if int(os.environ.get("RANK") or os.environ.get("SLURM_PROCID") or os.environ.get("LOCAL_RANK") or 0) == 0:
        try:
            os.write(1, text.encode())
        except OSError:
            return
