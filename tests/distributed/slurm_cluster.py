"""A real SLURM on one machine: munge, a controller and two nodes, daemons of Debian's ``slurm-wlm`` on loopback."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "squeue", "scancel")


def missing() -> str | None:
    """Why no cluster can be started here; None where one can."""
    absent = [p for p in PROGRAMS if shutil.which(p) is None and not Path("/usr/sbin", p).exists()]
    if absent:
        return f"SLURM is not installed ({', '.join(absent)}; Debian: slurm-wlm and munge)"
    return None if os.geteuid() == 0 else "the SLURM daemons of this test need root"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class LocalCluster:
    """Starts on entering, ends on leaving; ``SLURM_CONF`` is set in between.

    Args:
        folder: of configuration, spool and logs.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.conf = folder, folder / "slurm.conf"
        self._munge_started = False

    def __enter__(self) -> LocalCluster:
        for name in ("spool", "state", "log"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        self._start_munge()
        self.conf.write_text(self._configuration())
        os.environ["SLURM_CONF"] = str(self.conf)
        path = f"{os.environ['PATH']}:/usr/sbin"
        for words in (["slurmctld", "-c"], ["slurmd", "-N", "n0"], ["slurmd", "-N", "n1"]):
            subprocess.run(words, check=True, env={**os.environ, "PATH": path})
        deadline = time.time() + 60
        while self.run("sinfo", "-h", "-o", "%D %t") != "2 idle":
            if time.time() > deadline:
                raise RuntimeError(f"the nodes did not come up: {self.run('sinfo')}\n{self.logs()}")
            time.sleep(0.5)
        return self

    def __exit__(self, *_: object) -> None:
        subprocess.run(["scancel", "--user=root"], check=False, capture_output=True)
        deadline = time.time() + 30
        while self.run("squeue", "-h") and time.time() < deadline:  # a node waits for its jobs before it ends
            time.sleep(0.5)
        files = [self.folder / name for name in ("slurmd-n0.pid", "slurmd-n1.pid", "slurmctld.pid")]
        pids = [int(f.read_text()) for f in files if f.is_file()]
        for pid in pids:
            os.kill(pid, signal.SIGTERM)
        while any(Path(f"/proc/{pid}").exists() for pid in pids) and time.time() < deadline + 15:
            time.sleep(0.2)
        for pid in pids:
            if Path(f"/proc/{pid}").exists():
                os.kill(pid, signal.SIGKILL)
        if self._munge_started:
            os.kill(int(Path("/run/munge/munged.pid").read_text()), signal.SIGTERM)
        os.environ.pop("SLURM_CONF", None)

    def run(self, *words: str, **env: str) -> str:
        """Output of a SLURM command."""
        done = subprocess.run(words, capture_output=True, text=True, check=False, env={**os.environ, **env})
        return (done.stdout + done.stderr).strip()

    def state(self, job: str) -> str:
        """``PENDING``, ``RUNNING``, ``COMPLETED``, ...; empty once it is forgotten."""
        shown = self.run("scontrol", "show", "job", job)
        return shown.split("JobState=")[1].split()[0] if "JobState=" in shown else ""

    def logs(self) -> str:
        return "\n".join(p.read_text()[-1500:] for p in sorted((self.folder / "log").iterdir()))

    def _start_munge(self) -> None:
        if subprocess.run("munge -n | unmunge", shell=True, capture_output=True, check=False).returncode == 0:
            return
        for folder in ("/var/log/munge", "/var/lib/munge", "/run/munge", "/etc/munge"):
            Path(folder).mkdir(parents=True, exist_ok=True)
            shutil.chown(folder, "munge", "munge")
        subprocess.run(["runuser", "-u", "munge", "--", "/usr/sbin/munged", "--force"], check=True, capture_output=True)
        self._munge_started = True

    def _configuration(self) -> str:
        at = self.folder
        return f"""ClusterName=local
SlurmctldHost=localhost
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,bf_interval=2
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
JobRequeue=1
KillWait=5
SlurmctldPidFile={at}/slurmctld.pid
SlurmdPidFile={at}/slurmd-%n.pid
SlurmdSpoolDir={at}/spool/%n
StateSaveLocation={at}/state
SlurmctldLogFile={at}/log/slurmctld.log
SlurmdLogFile={at}/log/slurmd-%n.log
SlurmctldPort={free_port()}
NodeName=n0 NodeHostname=localhost NodeAddr=127.0.0.1 Port={free_port()} CPUs=1 RealMemory=2000 State=UNKNOWN
NodeName=n1 NodeHostname=localhost NodeAddr=127.0.0.1 Port={free_port()} CPUs=1 RealMemory=2000 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
