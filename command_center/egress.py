"""Where the centre may connect to on somebody's word: named hosts, over TLS, at public addresses."""

from __future__ import annotations

import ipaddress
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver

from telemetry.errors import Refused, Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable


def is_public(address: str) -> bool:
    """Return whether an address lies in the open Internet, also when it is wrapped in IPv6.

    >>> [is_public(a) for a in ("8.8.8.8", "10.0.0.1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "100.64.0.1")]
    [True, False, False, False, False]
    """
    ip = ipaddress.ip_address(address.split("%", maxsplit=1)[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if inner is None and ip in ipaddress.ip_network("64:ff9b::/96"):
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
        if ip in ipaddress.ip_network("64:ff9b:1::/48") or int(ip) >> 32 == 0:
            return False
    return ip.is_global and not ip.is_multicast


class Gate:
    """Lets a URL through, or raises :class:`Refused` with the reason."""

    def __init__(self, hosts: Iterable[str], *, private: bool = False) -> None:
        self._hosts, self._private = frozenset(host.lower() for host in hosts), private

    def check(self, url: str) -> str:
        """Return the host of a URL that may be called."""
        if url != url.strip() or any(ord(c) < 33 or c == "\\" for c in url):
            raise Refused("the address holds characters that no address has")
        try:
            parts = urlsplit(url)
            host, _ = parts.hostname, parts.port
        except ValueError:
            raise Refused("the address cannot be read") from None
        if parts.scheme != "https":
            raise Refused("only https is called")
        if parts.username is not None or parts.password is not None:
            raise Refused("an address holds no user")
        if not host or host.lower() not in self._hosts:
            raise Refused("the host is not among those allowed")
        return host

    @asynccontextmanager
    async def session(self, url: str) -> AsyncIterator[aiohttp.ClientSession]:
        """Open a session that can reach this URL's host alone, at the address that was checked."""
        host = self.check(url)
        connector = aiohttp.TCPConnector(resolver=_Checked(host, private=self._private), use_dns_cache=False)
        try:
            self._literal(host)
            async with aiohttp.ClientSession(connector=connector, trust_env=False) as http:
                yield http
        finally:
            await connector.close()

    def _literal(self, host: str) -> None:
        """A host that is an address is not resolved, so it is checked here."""
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return
        if not self._private and not is_public(str(address)):
            raise Refused("the address is not a public one")


class _Checked(AbstractResolver):
    """Resolves one host, and gives only addresses that may be connected to."""

    def __init__(self, host: str, *, private: bool) -> None:
        self._host, self._private = host, private

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[Any]:
        """Resolve; raise rather than give an address within."""
        import asyncio  # noqa: PLC0415

        if host != self._host:
            raise Refused("the host is not the one that was checked")
        try:
            found = await asyncio.get_running_loop().getaddrinfo(
                host, port, type=socket.SOCK_STREAM, family=family
            )
        except OSError:
            raise Unavailable("the host's name is not known now") from None
        addresses = [(family_, where[0]) for family_, _, _, _, where in found]
        if not addresses or (not self._private and not all(is_public(str(a)) for _, a in addresses)):
            raise Refused("the host's name leads to an address that is not public")
        return [
            {
                "hostname": host,
                "host": a,
                "port": port,
                "family": f,
                "proto": 0,
                "flags": socket.AI_NUMERICHOST,
            }
            for f, a in addresses
        ]

    async def close(self) -> None:
        """Nothing is held."""
