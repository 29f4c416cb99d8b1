"""A real SLURM cluster of one node, on this machine, for the length of a ``with`` block.

Own configuration, own munge key and own state in one folder, ports on the loopback only, no systemd, no cgroups.
Four character devices stand in for GPUs, so that SLURM counts them, hands each to one job and says so in
``CUDA_VISIBLE_DEVICES``; nothing computes on them. The node claims more memory and cores than the machine has, so
that the real profile with its real requests can be run.
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import time
from pathlib import Path

import psutil

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol")
CONFIG = """
ClusterName=onenode
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.socket
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=2
JobAcctGatherParams=OverMemoryKill
SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=0
SchedulerTimeSlice=5
MinJobAge=300
KillWait=5
ReturnToService=2
SlurmdParameters=config_overrides
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory} Gres=gpu:4 State=UNKNOWN
PartitionName=all Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def missing() -> str:
    """Say why no cluster can be started here; empty when one can."""
    gone = [name for name in PROGRAMS if shutil.which(name, path=_path()) is None]
    if gone:
        return f"{gone[0]} is not installed (as root: tests/slurm/install.sh)"
    return "" if os.getuid() == 0 else "starting a SLURM cluster needs root"


def _path() -> str:
    return os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


class Cluster:
    """Start munge, slurmctld and slurmd in the foreground below ``folder``; stop them on the way out."""

    def __init__(self, folder: Path, cpus: int = 128, memory_mb: int = 1_000_000) -> None:
        self.folder, self.processes = folder, []
        self.host = socket.gethostname().split(".")[0]
        controller_port, node_port = _free_ports(2)
        self.environment = {**os.environ, "PATH": f"{folder}/bin:{_path()}", "SLURM_CONF": str(folder / "slurm.conf")}
        for name in ("state", "spool", "bin"):
            (folder / name).mkdir(parents=True)
        # Inside a job the plugin clears SLURM_CONF before it calls srun: a usual cluster keeps its file in /etc.
        srun = folder / "bin" / "srun"
        srun.write_text(f'#!/bin/sh\nSLURM_CONF={folder}/slurm.conf exec {shutil.which("srun", path=_path())} "$@"\n')
        srun.chmod(0o755)
        (folder / "munge.key").write_bytes(secrets.token_bytes(1024))
        (folder / "munge.key").chmod(0o400)
        devices = "/dev/null,/dev/zero,/dev/full,/dev/random"
        (folder / "gres.conf").write_text(f"NodeName={self.host} Name=gpu File={devices}\n")
        (folder / "slurm.conf").write_text(
            CONFIG.format(
                host=self.host,
                folder=folder,
                cpus=cpus,
                memory=memory_mb,
                controller_port=controller_port,
                node_port=node_port,
            )
        )

    def __enter__(self) -> Cluster:
        at = self.folder
        try:
            files = [f"--{name}-file={at}/munge.{name}" for name in ("key", "pid", "seed", "log")]
            self._start("munged", "--foreground", "--force", f"--socket={at}/munge.socket", *files)
            self._wait(lambda: (at / "munge.socket").exists(), "munge")
            self._start("slurmctld", "-D")
            self._start("slurmd", "-D", "-N", self.host)
            self._wait(lambda: "idle" in self.run("sinfo", "-h", "-o", "%T"), "the node")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if len(self.processes) > 1:
            self.run("scancel", "--quiet", "--full", "--user=root")
            self._end(lambda: not self.run("squeue", "--noheader", "--states=RUNNING,COMPLETING"))
        for process in reversed(self.processes):
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.processes.clear()
        for process in psutil.process_iter():  # steps and jobs that outlived their daemons know this folder
            try:
                if process.environ().get("SLURM_CONF") == self.environment["SLURM_CONF"] and process.pid != os.getpid():
                    process.kill()
            except psutil.Error:
                continue

    @staticmethod
    def _end(gone, seconds: float = 20.0) -> None:
        end = time.monotonic() + seconds
        while not gone() and time.monotonic() < end:
            time.sleep(0.3)

    def _start(self, *command: str) -> None:
        log = open(self.folder / f"{command[0]}.out", "wb")
        self.processes.append(subprocess.Popen(command, env=self.environment, stdout=log, stderr=subprocess.STDOUT))

    def _wait(self, ready, what: str, seconds: float = 30.0) -> None:
        end = time.monotonic() + seconds
        while not ready():
            dead = [process for process in self.processes if process.poll() is not None]
            if dead or time.monotonic() > end:
                logs = "".join(path.read_text(errors="replace")[-2000:] for path in sorted(self.folder.glob("*.log")))
                raise RuntimeError(f"{what} did not come up: {logs}")
            time.sleep(0.1)

    def run(self, *command: str) -> str:
        """Run a SLURM command against this cluster and return what it printed."""
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=60).stdout
