"""The MQTT of a simulated modem: what it is told by AT commands it does with a real broker."""

from __future__ import annotations

import asyncio
import contextlib
import re
from typing import TYPE_CHECKING

import aiomqtt

if TYPE_CHECKING:
    from collections.abc import Callable

_ANSWER_S = 5.0
_QMT = {
    "open": re.compile(r'AT\+QMTOPEN=0,"([\d.]+)",(\d+)'),
    "connect": re.compile(r'AT\+QMTCONN=0,"([^"]+)"(?:,"([^"]*)","([^"]*)")?'),
    "subscribe": re.compile(r'AT\+QMTSUB=0,(\d+),"([^"]+)",1'),
    "publish": re.compile(r'AT\+QMTPUB=0,(\d+),1,([01]),"([^"]+)","([0-9A-F]*)"'),
    "close": re.compile(r"AT\+QMT(DISC|CLOSE)=0"),
}
_CMQ = {
    "open": re.compile(r'AT\+CMQNEW="([\d.]+)","(\d+)",\d+,1024'),
    "connect": re.compile(r'AT\+CMQCON=0,3,"([^"]+)",\d+,1,0(?:,"([^"]*)","([^"]*)")?'),
    "subscribe": re.compile(r'AT\+CMQSUB=0,"([^"]+)",1'),
    "publish": re.compile(r'AT\+CMQPUB=0,"([^"]+)",1,([01]),0,(\d+),"([0-9a-f]*)"'),
    "close": re.compile(r"AT\+CMQDISCON=0"),
}


class ModemMqtt:
    """``say`` writes lines; commands are carried out in their order by :meth:`run`."""

    def __init__(self, dialect: str, say: Callable[..., None]) -> None:
        self._is_sim, self._say = dialect == "sim7020", say
        self._jobs: asyncio.Queue[tuple[str, tuple[str, ...]]] = asyncio.Queue()
        self._client: aiomqtt.Client | None = None
        self._reading: asyncio.Task[None] | None = None
        self._where = ("", 0)
        self.published: list[int] = []
        self.retransmits = False
        """Whether the broker's first acknowledgement is late, so that the modem tells of a retransmission."""

    def take(self, text: str) -> bool:
        """Take a command; return whether it was one of MQTT."""
        if text.startswith("AT+QMTCFG=") and not self._is_sim:
            self._say("OK")
            return True
        for what, pattern in (_CMQ if self._is_sim else _QMT).items():
            if found := pattern.fullmatch(text):
                self._jobs.put_nowait((what, tuple(word or "" for word in found.groups())))
                return True
        return False

    async def run(self) -> None:
        """Carry out, until cancelled."""
        try:
            while True:
                what, words = await self._jobs.get()
                try:
                    await getattr(self, f"_{what}")(*words)
                except (aiomqtt.MqttError, OSError, TimeoutError):
                    self._fail(what, words)
        finally:
            await self._end()

    async def lose(self) -> None:
        """Lose the session as a modem does, and say so."""
        if self._client is not None:
            await self._end()
            self._say("+CMQDISCON: 0" if self._is_sim else "+QMTSTAT: 0,1")

    async def _open(self, host: str, port: str) -> None:
        self._where = (host, int(port))
        _, writer = await asyncio.open_connection(host, int(port))
        writer.close()
        self._say(*(("+CMQNEW: 0", "OK") if self._is_sim else ("OK", "+QMTOPEN: 0,0")))

    async def _connect(self, client: str, user: str, password: str) -> None:
        host, port = self._where
        self._client = aiomqtt.Client(
            host, port, identifier=client, username=user or None, password=password or None, timeout=_ANSWER_S
        )
        await self._client.__aenter__()
        self._reading = asyncio.ensure_future(self._read(self._client))
        self._say(*(("OK",) if self._is_sim else ("OK", "+QMTCONN: 0,0,0")))

    async def _subscribe(self, *words: str) -> None:
        assert self._client is not None
        await self._client.subscribe(words[-1], 1)
        self._say(*(("OK",) if self._is_sim else ("OK", f"+QMTSUB: 0,{words[0]},0,1")))

    async def _publish(self, *words: str) -> None:
        topic, retain, data = (
            (words[0], words[1], words[3]) if self._is_sim else (words[2], words[1], words[3])
        )
        if self._client is None or (self._is_sim and len(data) != int(words[2])):
            self._say("ERROR")
            return
        await self._client.publish(topic, bytes.fromhex(data), 1, retain=retain == "1")
        self.published.append(len(data) // 2)
        if self._is_sim:
            self._say("OK")
        else:
            again = (f"+QMTPUB: 0,{words[0]},1,1",) if self.retransmits else ()
            self._say("OK", *again, f"+QMTPUB: 0,{words[0]},0")

    async def _close(self, *_: str) -> None:
        had = self._client is not None
        await self._end()
        self._say("OK" if had else "ERROR")

    def _fail(self, what: str, words: tuple[str, ...]) -> None:
        code = {"open": "+QMTOPEN: 0,3", "connect": "+QMTCONN: 0,2"}.get(
            what, f"+QMT{what[:3].upper()}: 0,{words[0]},2"
        )
        self._say(*(("ERROR",) if self._is_sim else ("OK", code)))

    async def _read(self, client: aiomqtt.Client) -> None:
        try:
            async for message in client.messages:
                topic, data = str(message.topic), bytes(message.payload).hex()
                if self._is_sim:
                    self._say(f'+CMQPUB: 0,"{topic}",1,0,0,{len(data)},"{data}"')
                else:
                    self._say(f'+QMTRECV: 0,{message.mid},"{topic}","{data.upper()}"')
        except aiomqtt.MqttError:
            self._client = None
            self._say("+CMQDISCON: 0" if self._is_sim else "+QMTSTAT: 0,1")

    async def _end(self) -> None:
        client, self._client = self._client, None
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait({self._reading})
            self._reading = None
        if client is not None:
            with contextlib.suppress(aiomqtt.MqttError):
                await client.__aexit__(None, None, None)
