"""Real databases that a test starts and stops: InfluxDB 1.x, VictoriaMetrics and PostgreSQL."""

import contextlib
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

from ports import free_port


class Database:
    """A server process in a folder of its own, bound to 127.0.0.1; it can be frozen, killed and started again."""

    program = ""
    ready = "/ping"

    def __init__(self, folder):
        self.folder, self.port = folder, free_port()
        folder.mkdir(parents=True, exist_ok=True)
        self.url = f"http://127.0.0.1:{self.port}"
        self._process = None

    @classmethod
    def find(cls):
        return shutil.which(cls.program, path=os.environ.get("PATH", "") + ":/usr/sbin")

    def start(self):
        if self._answers():
            raise RuntimeError(f"another server answers at {self.url}")
        self._process = subprocess.Popen(
            self.command(), cwd=self.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 60
        while not self._answers():
            if self._process.poll() is not None:
                raise RuntimeError(f"{self.program} ended with {self._process.returncode}")
            if time.monotonic() > deadline:
                self.stop()
                raise TimeoutError(f"{self.program} did not answer in 60 s")
            time.sleep(0.05)
        return self

    def _answers(self):
        with contextlib.suppress(urllib.error.URLError, OSError):
            urllib.request.urlopen(self.url + self.ready, timeout=1).close()
            return True
        return False

    @property
    def pid(self):
        return self._process.pid

    def freeze(self):
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self):
        self._process.send_signal(signal.SIGCONT)

    def kill(self):
        self._process.kill()
        self._process.wait()

    def stop(self):
        if self._process is not None and self._process.poll() is None:
            self.thaw()
            self._process.terminate()
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()


class InfluxDB(Database):
    """InfluxDB 1.x."""

    program = "influxd"

    def command(self):
        config = self.folder / "influxdb.conf"
        config.write_text(
            f'reporting-disabled = true\nbind-address = "127.0.0.1:{free_port()}"\n'
            f'[meta]\ndir = "{self.folder}/meta"\n[data]\ndir = "{self.folder}/data"\nwal-dir = "{self.folder}/wal"\n'
            "query-log-enabled = false\n[monitor]\nstore-enabled = false\n[subscriber]\nenabled = false\n"
            f'[http]\nbind-address = "127.0.0.1:{self.port}"\nlog-enabled = false\n'
        )
        return [self.find(), "-config", str(config)]


class VictoriaMetrics(Database):
    """VictoriaMetrics, which takes InfluxDB's v2 writes."""

    program = "victoria-metrics"
    ready = "/health"

    def command(self):
        return [
            self.find(), "-httpListenAddr", f"127.0.0.1:{self.port}", "-storageDataPath", str(self.folder / "data"),
            "-retentionPeriod", "100y", "-loggerLevel", "ERROR", "-influxSkipSingleField=false",
        ]  # fmt: skip

    def export(self, match):
        """Return the series that match, as VictoriaMetrics tells them: metric name, labels, values, timestamps."""
        import json

        with urllib.request.urlopen(f"{self.url}/internal/force_flush", timeout=10):
            pass
        query = urllib.parse.quote(match)
        with urllib.request.urlopen(f"{self.url}/api/v1/export?match[]={query}", timeout=10) as answer:
            return [json.loads(line) for line in answer.read().splitlines()]


class PostgreSQL:
    """A PostgreSQL server of its own on 127.0.0.1; run by an unprivileged user where the tests run as root."""

    _counter = itertools.count(1)

    def __init__(self):
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="yemai-pg-"))
        self._as = {}
        if os.getuid() == 0:
            account = pwd.getpwnam("postgres")
            os.chown(self.folder, account.pw_uid, account.pw_gid)
            self._as = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        self._process = None

    @property
    def pid(self):
        return self._process.pid

    @staticmethod
    def find():
        """Return the folder of the newest server's programs, or None."""
        if path := shutil.which("initdb"):
            return Path(path).resolve().parent  # a link to it has no neighbours
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
        return found[-1].parent if found else None

    def start(self):
        programs = self.find()
        if not (self.folder / "data").exists():
            init = [
                programs / "initdb",
                "-D",
                self.folder / "data",
                "-A",
                "trust",
                "-U",
                "yemai",
                "-E",
                "UTF8",
                "--locale=C",
            ]
            subprocess.run(init, check=True, stdout=subprocess.DEVNULL, cwd=self.folder, **self._as)
        self._process = subprocess.Popen(
            [
                programs / "postgres", "-D", self.folder / "data", "-p", str(self.port), "-k", self.folder,
                "-c", "listen_addresses=127.0.0.1",
            ],
            cwd=self.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **self._as,
        )  # fmt: skip
        ready = [programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        deadline = time.monotonic() + 60
        while subprocess.run(ready, check=False, cwd=self.folder).returncode != 0:
            if time.monotonic() > deadline or self._process.poll() is not None:
                self.stop()
                raise TimeoutError("postgres did not answer in 60 s")
            time.sleep(0.05)
        return self

    def create(self):
        """Make a database of its own for one test; return its address without a scheme."""
        name = f"test_{os.getpid()}_{next(self._counter)}"
        create = [self.find() / "createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", "yemai", name]
        subprocess.run(create, check=True, cwd=self.folder)
        return f"yemai@127.0.0.1:{self.port}/{name}"

    def stop(self):
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGQUIT)  # at once: nobody wants what it holds
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def remove(self):
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
