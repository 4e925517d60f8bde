"""A real mosquitto that a test starts, kills and starts again."""

from __future__ import annotations

import asyncio
import getpass
import json
import os
import shutil
import sysconfig
from pathlib import Path

import aiomqtt
from waiting import wait_until

RIGHTS = Path("/usr/lib", sysconfig.get_config_var("MULTIARCH") or "", "mosquitto_dynamic_security.so")
_CONTROL = "$CONTROL/dynamic-security/v1"


class Mosquitto:
    """Bound to 127.0.0.1; keeps nothing on disk, so that a kill loses all that delivery must not lean on."""

    def __init__(self, folder, port):
        folder.mkdir(parents=True, exist_ok=True)
        self.port = port
        self._config = folder / "mosquitto.conf"
        self._config.write_text(
            f"listener {port} 127.0.0.1\nallow_anonymous true\nuser {getpass.getuser()}\nmax_queued_messages 10000\n"
        )
        self._process = None

    def refuse_subscriptions(self):
        """Let nobody subscribe, from the next start on until :meth:`grant_subscriptions`."""
        rights = self._config.with_name("rights.json")
        admin = {"acltype": "publishClientSend", "topic": _CONTROL, "allow": True}
        told = {
            "defaultACLAccess": {"publishClientSend": True, "publishClientReceive": True, "subscribe": False},
            "anonymousGroup": "all",
            "groups": [{"groupname": "all", "roles": [{"rolename": "admin"}]}],
            "roles": [{"rolename": "admin", "acls": [admin]}],
        }
        rights.write_text(json.dumps(told))
        with self._config.open("a") as config:
            config.write(f"plugin {RIGHTS}\nplugin_opt_config_file {rights}\n")

    async def grant_subscriptions(self):
        """Change the rights while everybody stays connected."""
        async with aiomqtt.Client("127.0.0.1", self.port) as admin:
            wish = {"command": "setDefaultACLAccess", "acls": [{"acltype": "subscribe", "allow": True}]}
            await admin.publish(_CONTROL, json.dumps({"commands": [wish]}), 1)

    @staticmethod
    def find():
        return shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin")

    async def start(self):
        if await self._answers():
            raise RuntimeError(f"another server answers at port {self.port}")
        self._process = await asyncio.create_subprocess_exec(
            self.find(),
            "-c",
            str(self._config),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            await wait_until(self._answers, 60, "mosquitto to answer")
        except BaseException:
            await self.stop()
            raise

    async def kill(self):
        self._process.kill()
        await self._process.wait()

    async def stop(self):
        if self._process.returncode is None:
            self._process.terminate()
            await self._process.wait()

    async def _answers(self):
        try:
            async with aiomqtt.Client("127.0.0.1", self.port, timeout=1):
                return True
        except aiomqtt.MqttError:
            return False
