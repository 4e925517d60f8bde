"""Real time-series databases that a test starts and stops: InfluxDB 1.x and VictoriaMetrics."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


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
        self._process = subprocess.Popen(
            self.command(), cwd=self.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            with contextlib.suppress(urllib.error.URLError, OSError):
                urllib.request.urlopen(self.url + self.ready, timeout=1).close()
                return self
            time.sleep(0.05)
        self.stop()
        raise TimeoutError(f"{self.program} did not answer in 30 s")

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
