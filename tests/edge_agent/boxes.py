"""A box on a pole as far as one machine can be one: the agent installed alone, run by a systemd of its own.

systemd is the first process of a PID namespace, with mounts of its own: what it writes to /etc, /opt, /run and /var is
gone with it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import psutil
from waiting import wait_until

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "deploy" / "systemd" / "yemai-edge.service"
SYSTEMD = Path("/lib/systemd/systemd")
_TARGET = "[Unit]\nDefaultDependencies=no\nWants=yemai-edge.service\n"
_INSIDE = """
set -e
mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs {over}
for name in etc var opt; do
    mkdir {over}/$name {over}/$name.work
    mount -t overlay overlay -o lowerdir=/$name,upperdir={over}/$name,workdir={over}/$name.work /$name
done
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/systemd/system/yemai-edge.service.d /opt/yemai /etc/yemai
mount --bind {venv} /opt/yemai
useradd --system --home-dir /var/lib/yemai --groups dialout yemai
install -m 640 -g yemai {folder}/edge.toml /etc/yemai/edge.toml
cp {unit} {folder}/box.target /run/systemd/system/
cp {folder}/drop-in.conf /run/systemd/system/yemai-edge.service.d/
exec env -i container=yemai PATH=/usr/sbin:/usr/bin:/sbin:/bin {systemd} --system --unit=box.target --log-target=null
"""


def install(venv):
    """Install the agent as its page says, with the machine's own Python where that will do."""
    own = Path("/usr/bin/python3")
    good = (
        own.exists()
        and b"ok"
        in subprocess.run(
            [own, "-c", "import sys, venv, ensurepip; print('ok' * (sys.version_info >= (3, 11)))"],
            capture_output=True,
            check=False,
        ).stdout
    )
    subprocess.run([own if good else sys.executable, "-m", "venv", venv], check=True)
    subprocess.run(
        [venv / "bin" / "pip", "install", "-q", "-c", ROOT / "constraints.txt", f"{ROOT}[edge]"],
        check=True,
        cwd=venv,
    )
    return venv


def why_not():
    """Return why no systemd can be run here; empty where it can."""
    if os.geteuid() != 0:
        return "needs mounts of its own: run as root"
    lacks = [name for name in ("unshare", "nsenter", "systemctl", "useradd") if not shutil.which(name)]
    return f"{lacks} are not installed (apt install systemd)" if lacks or not SYSTEMD.exists() else ""


class Box:
    """What is going on under the box's systemd."""

    def __init__(self, systemd):
        self._enter = ["nsenter", "-t", str(systemd), "-m", "-p"]

    def run(self, *command):
        """Run a command in the box; return what it says."""
        return subprocess.run(
            [*self._enter, *command], capture_output=True, text=True, check=False, timeout=60
        ).stdout

    def told(self, name):
        """Return a property of the agent's unit."""
        return self.run("systemctl", "show", "--value", "-p", name, "yemai-edge").strip()


@contextlib.asynccontextmanager
async def box(folder, venv, config, settings):
    """Run the unit as it is shipped, with ``settings`` of ``[Service]`` changed; yield the :class:`Box`."""
    (folder / "over").mkdir()
    (folder / "edge.toml").write_text(config)
    (folder / "box.target").write_text(_TARGET)
    (folder / "drop-in.conf").write_text(
        "[Unit]\nDefaultDependencies=no\n[Service]\nStandardOutput=append:/run/edge.log\n"
        f"StandardError=append:/run/edge.log\n{settings}\n"
    )
    script = _INSIDE.format(over=folder / "over", venv=venv, folder=folder, unit=UNIT, systemd=SYSTEMD)
    outer = subprocess.Popen(  # noqa: ASYNC220 - returns at once
        ["unshare", "--mount", "--pid", "--uts", "--ipc", "--cgroup", "--fork", "--mount-proc", "--kill-child",
         "bash", "-c", script],
    )  # fmt: skip
    try:
        inner = await wait_until(lambda: psutil.Process(outer.pid).children(), 10)
        yield Box(inner[0].pid)
    finally:
        for process in psutil.Process(outer.pid).children(recursive=True):
            process.kill()
        outer.wait()
