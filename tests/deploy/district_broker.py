"""The shipped broker configuration under Debian's mosquitto, with certificates of a fresh authority."""

import asyncio
import contextlib
import getpass
import re
import shutil
import ssl
from pathlib import Path

import aiomqtt
from brokers import Mosquitto
from waiting import wait_until

from yemai.pki.acl import acl
from yemai.pki.authority import Authority

DEPLOY = Path(__file__).parents[2] / "deploy"
AREA = "yeji"
SERVICES = ("ingest-1", "center", "doctor")


class Broker:
    """Everything but paths, port and user is as shipped."""

    def __init__(self, folder, port):
        self.folder, self.port, self.pki = folder, port, folder / "pki"
        self.authority = Authority.create(self.pki, "Test CA")
        self.authority.issue("broker", "service", hosts=["localhost", "127.0.0.1"])
        for name in SERVICES:
            self.authority.issue(name, "service")
        self.here = folder / "etc"
        self.here.mkdir()
        (folder / "data").mkdir()
        self.config = self.here / "mosquitto.conf"
        self._process = None
        self.install()

    def install(self):
        """Copy to the broker's place what an administrator copies."""
        for source, name in (("ca.crt", "ca.crt"), ("crl.pem", "crl.pem"), ("issued/broker.crt", "broker.crt"), ("issued/broker.key", "broker.key")):  # fmt: skip
            shutil.copy(self.pki / source, self.here / name)
        (self.here / "acl").write_text(acl(AREA))
        (self.here / "acl").chmod(0o600)
        text = (DEPLOY / "mosquitto" / "mosquitto.conf").read_text()
        text = text.replace("/etc/mosquitto/yemai/", f"{self.here}/")
        text = text.replace("/var/lib/mosquitto/", f"{self.folder}/data/")
        text = re.sub(r"^listener 8883$", f"listener {self.port} 127.0.0.1", text, flags=re.MULTILINE)
        self.config.write_text(f"{text}user {getpass.getuser()}\n")

    async def start(self):
        self._process = await asyncio.create_subprocess_exec(
            Mosquitto.find(), "-c", str(self.config), stderr=asyncio.subprocess.DEVNULL
        )
        await wait_until(self._answers, 10, "mosquitto to answer")
        return self

    async def stop(self):
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()
            await self._process.wait()

    async def restart(self):
        await self.stop()
        await self.start()

    def tls(self, name, authority=None):
        pki = (authority or self.authority).folder
        context = ssl.create_default_context(cafile=str(self.pki / "ca.crt"))
        context.load_cert_chain(pki / "issued" / f"{name}.crt", pki / "issued" / f"{name}.key")
        return context

    def client(self, name, identifier=None, authority=None, **more):
        return aiomqtt.Client(
            "127.0.0.1",
            self.port,
            identifier=identifier or name,
            tls_context=self.tls(name, authority),
            timeout=3,
            **more,
        )

    async def _answers(self):
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
            writer.close()
            await writer.wait_closed()
            return True
        return False
