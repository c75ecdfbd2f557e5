"""A SLURM cluster of one node on 127.0.0.1; its three daemons are children of this process and end with it."""

from __future__ import annotations

import ctypes
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

NEEDED = ("munged", "slurmctld", "slurmd", "sbatch")

# A requeued job waits until its credential expires (two minutes by default). Jobs share the cores.
CONFIGURATION = """
ClusterName=one
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SwitchType=switch/none
MpiDefault=none
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=1,batch_sched_delay=1
KillWait=20
NodeName={host} NodeAddr=127.0.0.1 CPUs=16 RealMemory=1000
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""

_PR_SET_PDEATHSIG = 1


class Cluster:
    """The cluster; a context manager that starts it and stops all its processes.

    Args:
        folder: folder for configuration, state and logs.

    Attributes:
        environment: variables with which SLURM programs find this cluster.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}
        self._daemons: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Cluster:
        for name in ("state", "spool"):
            (self.folder / name).mkdir(parents=True)
        # On SIGTERM clean up as after Ctrl-C.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        # munge refuses sockets in folders without access for others, and keys readable by others.
        self.folder.chmod(0o755)
        key = self.folder / "munge.key"
        key.touch(mode=0o600)
        key.write_bytes(secrets.token_bytes(128))
        host = socket.gethostname().partition(".")[0]
        ports = _free_ports(2)
        (self.folder / "slurm.conf").write_text(
            CONFIGURATION.format(host=host, folder=self.folder, controller_port=ports[0], node_port=ports[1])
        )
        places = [f"--{kind}-file={self.folder}/munge.{kind}" for kind in ("key", "pid", "log", "seed")]
        try:
            self._start("munged", "--foreground", "--force", f"--socket={self.folder}/munge.socket", *places)
            _wait_for((self.folder / "munge.socket").exists, "the socket of munged")
            for daemon in ("slurmctld", "slurmd"):
                self._start(daemon, "-D", "-f", self.environment["SLURM_CONF"])
            _wait_for(lambda: "idle" in self.ask("sinfo", "--noheader", "--format=%T"), "an idle node")
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop()

    def run(self, *command: str) -> str:
        """Run a SLURM program, which must succeed, and return its output."""
        ended = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    def submit(self, folder: Path, script: str, *options: str) -> Job:
        """Submit a job.

        Args:
            folder: folder of its script and output; created if missing.
            script: shell lines.
            options: options of sbatch.
        """
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / "job.sh"
        file.write_text(f"#!/bin/bash\n{script}\n")
        name = "%a.out" if any(option.startswith("--array") for option in options) else "0.out"
        output = f"--output={folder}/{name}"
        number = self.run("sbatch", "--parsable", "--open-mode=append", output, *options, str(file)).strip()
        return Job(self, number, folder / "0.out")

    def _start(self, program: str, *arguments: str) -> None:
        parent = os.getpid()

        def end_with_parent() -> None:
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
            if os.getppid() != parent:
                os._exit(1)

        with (self.folder / f"{program}.out").open("wb") as log:
            self._daemons.append(
                subprocess.Popen(
                    [str(shutil.which(program, path=_path())), *arguments],
                    stdout=log,
                    stderr=log,
                    stdin=subprocess.DEVNULL,
                    preexec_fn=end_with_parent,
                )
            )

    def ask(self, *command: str) -> str:
        """Return the output of a program that may fail because cluster or job has not started."""
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False).stdout

    def _stop(self) -> None:
        if len(self._daemons) == len(("munged", "slurmctld", "slurmd")):
            self.ask("scancel", "--signal=KILL", "--full", "--state=RUNNING", "--user=root")
            self.ask("scancel", "--user=root")
            _wait_for(lambda: not self.ask("squeue", "--noheader").strip(), "an empty queue", fail=False)
        for daemon in reversed(self._daemons):
            daemon.terminate()
        for daemon in self._daemons:
            try:
                daemon.wait(20)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        self._daemons.clear()


@dataclass(frozen=True)
class Job:
    """A job in the queue.

    Args:
        cluster: the cluster.
        number: its id; ``<array>_<task>`` for a task of an array.
        file: its output file.
    """

    cluster: Cluster
    number: str
    file: Path

    @property
    def folder(self) -> Path:
        """Folder of its script and output."""
        return self.file.parent

    def task(self, index: int) -> Job:
        """One task of an array."""
        return Job(self.cluster, f"{self.number}_{index}", self.folder / f"{index}.out")

    @property
    def output(self) -> str:
        """Output of all its starts."""
        return self.file.read_text() if self.file.exists() else ""

    def facts(self) -> dict[str, str]:
        """Return what SLURM reports about the job."""
        shown = self.cluster.run("scontrol", "--oneliner", "show", "job", self.number)
        return dict(re.findall(r"(\w+)=(\S*)", shown))

    def wait_for_text(self, pattern: str, times: int = 1, seconds: float = 300) -> None:
        """Wait until the output contains ``pattern``."""
        _wait_for(lambda: len(re.findall(pattern, self.output)) >= times, f"{pattern!r}", seconds, lambda: self.output)

    def wait(self, seconds: float = 400) -> dict[str, str]:
        """Wait until the job has ended (a requeued job has not) and return its facts."""
        states = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY")
        over = lambda: self.facts()["JobState"] in states  # noqa: E731
        _wait_for(over, f"the end of job {self.number}", seconds, lambda: self.output)
        return self.facts()

    def end_its_time(self) -> None:
        """Move the time limit to this minute: SLURM sends the requested signal and kills the job later."""
        self._set_limit(int(self.facts()["RunTime"].split(":")[1]) + 2)

    def wait_for_restart(self, count: int = 1) -> None:
        """Wait until the job is requeued; give it time to finish."""
        back = lambda: int(self.facts()["Restarts"]) >= count  # noqa: E731
        _wait_for(back, f"job {self.number} to be put back", 180, lambda: self.output)
        self._set_limit(60)

    def _set_limit(self, minutes: int) -> None:
        self.cluster.run("scontrol", "update", f"JobId={self.number}", f"TimeLimit={minutes}")

    def signal(self, name: str, *options: str) -> None:
        """Send a signal through SLURM."""
        self.cluster.run("scancel", f"--signal={name}", *options, self.number)

    def processes(self) -> list[int]:
        """Return the ids of its Python processes that have installed signal handlers."""
        listed = self.cluster.ask("scontrol", "listpids", self.number).splitlines()[1:]
        return [pid for pid in (int(line.split()[0]) for line in listed) if _handles_signals(pid)]

    def wait_for_processes(self) -> None:
        """Wait until the job can receive signals."""
        _wait_for(lambda: bool(self.processes()), f"a process of job {self.number}", 300, lambda: self.output)


def missing_programs() -> list[str]:
    """Return the missing SLURM and munge programs."""
    return [program for program in NEEDED if shutil.which(program, path=_path()) is None]


def _path() -> str:
    return f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"


def _handles_signals(pid: int) -> bool:
    """Return whether a process is Python and handles SIGUSR1; without a handler the signal ends it."""
    try:
        program = Path(f"/proc/{pid}/cmdline").read_bytes().partition(b"\0")[0]
        caught = re.search(r"SigCgt:\s*(\w+)", Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return False
    return program.endswith(b"python") and bool(caught and int(caught[1], 16) >> (signal.SIGUSR1 - 1) & 1)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def _wait_for(
    happened: Callable[[], bool],
    what: str,
    seconds: float = 60,
    context: Callable[[], str] = lambda: "",
    fail: bool = True,
) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > deadline:
            assert not fail, f"waited {seconds:.0f} s for {what}:\n{context()}"
            return
        time.sleep(0.5)


if __name__ == "__main__":
    if missing := missing_programs():
        raise SystemExit(f"not installed: {', '.join(missing)}")
