"""NB-IoT modems on a pseudo-terminal: BC28, BC26 and SIM7020 as their manuals' transcripts show them, with bad habits.

Datagrams are real: the modem sends and receives them from a UDP socket of its own, and its MQTT speaks to a real broker.  Bad habits are switched on:
unsolicited codes between a command's lines, buffers that are full, a network that is lost, sleep.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

from simulators.modbus import Pty
from simulators.modem_mqtt import ModemMqtt

if TYPE_CHECKING:
    from pathlib import Path

DIALECTS = ("bc28", "bc26", "sim7020")
_CHATTER = (b"\r\n+CSCON: 1\r\n", b"\r\n+CEREG: 1\r\n", b"\r\n+NPING: 1\r\n")
_CHUNK = 7  # bytes written at once: lines arrive torn


class _Air(asyncio.DatagramProtocol):
    def __init__(self, modem: ModemSim) -> None:
        self._modem = modem

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._modem.downlink(data, addr)


class ModemSim:
    """One modem; its port is named ``link``."""

    def __init__(self, link: Path, dialect: str) -> None:
        self._link, self._dialect = link, dialect
        self.attached = True
        self.chatters = False
        self.full = 0  # sends that are still refused
        self.asleep = False
        self.sent: list[int] = []  # sizes of the datagrams
        self.commands: list[str] = []
        self._inbox: list[bytes] = []
        self._open = False
        self._awaits = 0  # raw bytes that follow a prompt
        self._peer = ("127.0.0.1", 0)
        self._turn = 0
        self._unsaid: list[str] = []  # arrived while it slept
        self.mqtt = ModemMqtt(dialect, self._when_awake)

    async def serve(self) -> None:
        """Answer until cancelled."""
        loop = asyncio.get_running_loop()
        self._air, _ = await loop.create_datagram_endpoint(lambda: _Air(self), local_addr=("127.0.0.1", 0))
        self._line = Pty(self._link)
        mqtt = asyncio.ensure_future(self.mqtt.run())
        buffer = b""
        try:
            while True:
                buffer += await self._line.read()
                if self.asleep:  # what wakes it is lost
                    self.asleep, buffer = False, b""
                    self._say(*self._unsaid)
                    self._unsaid.clear()
                    continue
                while (taken := self._take(buffer)) is not None:
                    buffer = taken
        finally:
            mqtt.cancel()
            await asyncio.wait({mqtt})
            self._line.close()
            self._air.close()

    def lose_network(self) -> None:
        """Drop out of the network, and say so."""
        self.attached = self._open = False
        self._say("+CEREG: 2")

    def sleep(self) -> None:
        """Enter power saving mode, and say so."""
        self.asleep = True
        self._say(
            {"bc28": "+NPSMR: 1", "bc26": '+QNBIOTEVENT: "ENTER PSM"', "sim7020": '+CPSMSTATUS: "ENTER PSM"'}[
                self._dialect
            ]
        )

    def downlink(self, data: bytes, addr: tuple[str, int]) -> None:
        """Tell of a datagram; one that comes while the modem sleeps or has no network is lost, as it is on the air."""
        if self.asleep or not self.attached or not self._open:
            return
        self._peer = addr
        if self._dialect == "bc28":
            self._inbox.append(data)
            self._say(f"+NSONMI: 1,{len(data)}")
        elif self._dialect == "bc26":
            self._say(f'+QIURC: "recv",0,{len(data)},"{data.hex().upper()}"')
        else:
            self._say(f"+CSONMI: 0,{2 * len(data)},{data.hex()}")

    def _take(self, buffer: bytes) -> bytes | None:
        if self._awaits:
            if len(buffer) < self._awaits:
                return None
            data, rest = buffer[: self._awaits], buffer[self._awaits :]
            self._awaits = 0
            self._sendto(data)
            self._say("OK", "SEND OK")
            return rest
        line, end, rest = buffer.partition(b"\r")
        if not end:
            return None
        text = line.decode("latin-1").strip()
        if text:
            self.commands.append(text)
            self._line.write(line + b"\r")  # echo
            self._answer(text)
        return rest

    def _answer(self, text: str) -> None:
        common = {
            "AT": ["OK"], "AT+CEREG?": [f"+CEREG: 1,{1 if self.attached else 2}", "OK"], "AT+CSQ": ["+CSQ: 20,99", "OK"],
        }  # fmt: skip
        if text in common:
            self._say(*common[text])
        elif text.startswith(("AT+CFUN=", "AT+CEREG=")):
            self._say("OK")
        elif text.startswith(("AT+QMTPUB=", "AT+CMQPUB=")) and not self._may_publish():
            self._say("ERROR")
        elif not self.mqtt.take(text):
            self._say(
                *{"bc28": self._bc28, "bc26": self._bc26, "sim7020": self._sim7020}[self._dialect](text)
            )

    def _bc28(self, text: str) -> list[str]:
        if text == "AT+NUESTATS":
            return ["Signal power:-842", "Total power:-780", "ECL:1", "SNR:57", "RSRQ:-108", "OK"]
        if text.startswith("AT+NSOCR=DGRAM,17,"):
            return ["1", "OK"] if self._opened() else ["ERROR"]
        if found := re.fullmatch(r"AT\+NSOST=1,([\d.]+),(\d+),(\d+),([0-9A-F]+)", text):
            data = bytes.fromhex(found[4])
            if len(data) != int(found[3]) or not self._may_send():
                return ["+CME ERROR: 513"]
            self._peer = (found[1], int(found[2]))
            self._sendto(data)
            return [f"1,{len(data)}", "OK"]
        if text.startswith("AT+NSORF=1,"):
            if not self._inbox:
                return ["OK"]
            data, left = self._inbox.pop(0), sum(map(len, self._inbox))
            return [f"1,{self._peer[0]},{self._peer[1]},{len(data)},{data.hex().upper()},{left}", "OK"]
        if text == "AT+NSOCL=1":
            was, self._open = self._open, False
            return ["OK"] if was else ["ERROR"]
        return ["OK"] if text.startswith(("AT+NCONFIG", "AT+CGATT", "AT+NSONMI", "AT+NPSMR")) else ["ERROR"]

    def _bc26(self, text: str) -> list[str]:
        if text == "AT+CESQ":
            return ["+CESQ: 99,99,255,255,20,55", "OK"]
        if found := re.fullmatch(r'AT\+QIOPEN=1,0,"UDP","([\d.]+)",(\d+),0,1', text):
            self._peer = (found[1], int(found[2]))
            return ["OK", f"+QIOPEN: 0,{0 if self._opened() else 566}"]
        if found := re.fullmatch(r"AT\+QISEND=0,(\d+)", text):
            if not self._may_send():
                return ["ERROR"]
            self._awaits = int(found[1])
            self._write(b"\r\n> ")
            return []
        if text == "AT+QICLOSE=0":
            was, self._open = self._open, False
            return ["OK", "CLOSE OK"] if was else ["ERROR"]
        return ["OK"] if text.startswith("AT+QICFG") else ["ERROR"]

    def _sim7020(self, text: str) -> list[str]:
        if text == "AT+CSOC=1,2,1":
            return ["+CSOC: 0", "OK"]
        if found := re.fullmatch(r'AT\+CSOCON=0,(\d+),"([\d.]+)"', text):
            self._peer = (found[2], int(found[1]))
            return ["OK"] if self._opened() else ["ERROR"]
        if found := re.fullmatch(r"AT\+CSOSEND=0,(\d+),([0-9a-f]+)", text):
            if len(found[2]) != int(found[1]) or not self._may_send():
                return ["ERROR"]
            self._sendto(bytes.fromhex(found[2]))
            return ["OK"]
        if text == "AT+CSOCL=0":
            was, self._open = self._open, False
            return ["OK"] if was else ["ERROR"]
        return ["ERROR"]

    def _opened(self) -> bool:
        """Open the one socket; one that was left open is in the way."""
        was, self._open = self._open, self.attached
        return self._open and not was

    def _may_send(self) -> bool:
        return self._may_publish() and self._open

    def _may_publish(self) -> bool:
        if self.full:
            self.full -= 1
            return False
        return self.attached

    def _when_awake(self, *lines: str) -> None:
        if self.asleep:
            self._unsaid += lines
        else:
            self._say(*lines)

    def _sendto(self, data: bytes) -> None:
        self.sent.append(len(data))
        self._air.sendto(data, self._peer)

    def _say(self, *lines: str) -> None:
        for line in lines:
            if self.chatters:
                self._turn += 1
                self._write(_CHATTER[self._turn % len(_CHATTER)])
            self._write(f"\r\n{line}\r\n".encode())

    def _write(self, data: bytes) -> None:
        for at in range(0, len(data), _CHUNK if self.chatters else len(data)):
            self._line.write(data[at : at + (_CHUNK if self.chatters else len(data))])
