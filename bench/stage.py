"""The stage: a real broker, a real store and ingest as a process, on ports of their own."""

from __future__ import annotations

import contextlib
import shutil
import socket
import statistics
import subprocess
import sys
import threading
import time
import urllib.request
from typing import TYPE_CHECKING, Any, Self

import psutil

from bench.district import AREA

if TYPE_CHECKING:
    from pathlib import Path

    from bench.district import District

_ANSWERS_S = 120.0
_DATABASES = {
    "influxdb16": ("influxd", "/ping", 0),
    "victoriametrics": ("victoria-metrics", "/health", 2),
}


def stores() -> list[str]:
    """Return the stores that can be measured here."""
    return ["duckdb", *(name for name, (program, _, _) in _DATABASES.items() if shutil.which(program))]


class Stage:
    """Everything that ingest needs; ``with Stage(...) as stage`` starts broker and store, not ingest."""

    def __init__(self, folder: Path, district: District, store: str) -> None:
        self.folder, self._store = folder, store
        folder.mkdir(parents=True)
        district.write_registry(folder)
        self.broker_port, self.api_port, self._db_port = (_free_port() for _ in range(3))
        self._processes = contextlib.ExitStack()
        self._ingest: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        config = self.folder / "mosquitto.conf"
        config.write_text(
            f"listener {self.broker_port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\n"
            "user root\nmax_packet_size 17000000\nset_tcp_nodelay true\n"
        )
        program = (
            shutil.which("mosquitto", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin") or "mosquitto"
        )
        self._run([program, "-c", str(config)])
        store = f'kind = "duckdb"\npath = "{self.folder}/samples.duckdb"\nmemory_limit = "1GB"'
        if self._store in _DATABASES:
            _, ready, version = _DATABASES[self._store]
            self._run(self._database())
            _wait(lambda: _answers(f"http://127.0.0.1:{self._db_port}{ready}"))
            url = f"http://127.0.0.1:{self._db_port}"
            store = (
                f'kind = "influxdb"\nurl = "{url}"\ndatabase = "bench"\nversion = {version}\norg = "bench"'
            )
        (self.folder / "ingest.toml").write_text(
            f'area = "{AREA}"\nproducer = "ingest-1"\nbroker = {{ host = "127.0.0.1", port = {self.broker_port} }}\n'
            'ledger = { path = "ledger.db" }\nregistry = { devices = "devices.csv", sites = "sites.csv" }\n'
            f"api = {{ port = {self.api_port} }}\n[store]\n{store}\n"
        )
        return self

    def __exit__(self, *_: object) -> None:
        self.stop_ingest()
        self._processes.close()

    @property
    def store_url(self) -> str:
        """Where the store answers, for one that is a server."""
        return f"http://127.0.0.1:{self._db_port}"

    def start_ingest(self) -> psutil.Process:
        """Start ingest and wait until it is ready."""
        command = [sys.executable, "-m", "cloud_ingest", "--config", str(self.folder / "ingest.toml")]
        with (self.folder / "ingest.log").open("ab") as log:
            self._ingest = subprocess.Popen(command, stderr=log)
        _wait(lambda: _answers(f"http://127.0.0.1:{self.api_port}/api/health/live"))
        return psutil.Process(self._ingest.pid)

    def stop_ingest(self) -> None:
        """Stop it in order."""
        if self._ingest is not None and self._ingest.poll() is None:
            self._ingest.terminate()
            self._ingest.wait(30)

    def kill_ingest(self) -> None:
        """Stop it as a power cut would."""
        if self._ingest is not None:
            self._ingest.kill()
            self._ingest.wait()

    def figure(self, name: str) -> float:
        """Return one of ingest's own figures from ``/metrics``."""
        return self._figures().get(f"yemai_ingest_{name}", 0.0)

    def _figures(self) -> dict[str, float]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.api_port}/metrics", timeout=60) as answer:
            lines = answer.read().decode().splitlines()
        return {
            name: float(value)
            for name, _, value in (line.rpartition(" ") for line in lines if not line.startswith("#"))
        }

    def _database(self) -> list[str]:
        if self._store == "victoriametrics":
            return [
                "victoria-metrics", "-httpListenAddr", f"127.0.0.1:{self._db_port}", "-loggerLevel", "ERROR",
                "-storageDataPath", str(self.folder / "vm"), "-retentionPeriod", "100y",
            ]  # fmt: skip
        config = self.folder / "influxdb.conf"
        config.write_text(
            f'reporting-disabled = true\nbind-address = "127.0.0.1:{_free_port()}"\n'
            f'[meta]\ndir = "{self.folder}/meta"\n[data]\ndir = "{self.folder}/data"\nwal-dir = "{self.folder}/wal"\n'
            f'index-version = "tsi1"\nquery-log-enabled = false\n[monitor]\nstore-enabled = false\n'
            f'[http]\nbind-address = "127.0.0.1:{self._db_port}"\nlog-enabled = false\n'
        )
        return ["influxd", "-config", str(config)]

    def _run(self, command: list[str]) -> None:
        process = subprocess.Popen(
            command, cwd=self.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

        def end() -> None:
            process.terminate()
            process.wait(30)

        self._processes.callback(end)


class Memory:
    """How much memory a process has while this is entered, looked at each second."""

    def __init__(self, process: psutil.Process) -> None:
        self._process, self._end = process, threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self.rss: list[int] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    @property
    def most_mb(self) -> float:
        """The most it ever had."""
        return round(max(self.rss) / 1e6, 1)

    @property
    def growth_mb(self) -> float:
        """The middle of the last quarter less the middle of the second: what has not levelled off."""
        quarter = max(1, len(self.rss) // 4)
        last, second = self.rss[-quarter:], self.rss[quarter : 2 * quarter] or self.rss[:1]
        return round((statistics.median(last) - statistics.median(second)) / 1e6, 1)

    def _look(self) -> None:
        while True:
            self.rss.append(self._process.memory_info().rss)
            if self._end.wait(1.0):
                return


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _answers(url: str) -> bool:
    with contextlib.suppress(OSError):
        urllib.request.urlopen(url, timeout=2).close()
        return True
    return False


def _wait(holds: Any) -> None:
    deadline = time.monotonic() + _ANSWERS_S
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError("a server did not answer")
        time.sleep(0.05)
