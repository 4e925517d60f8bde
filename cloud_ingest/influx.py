"""An InfluxDB server as ingest needs it: write lines, ask InfluxQL, map every failure.

========  ===========================  =============================================
version   write                        read
========  ===========================  =============================================
1.x       ``POST /write``              ``GET /query``, InfluxQL
2.x 3.x   ``influxdb-client``          the same, through its database–bucket mapping
========  ===========================  =============================================
"""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import msgspec
import urllib3
from influxdb_client.client.influxdb_client import InfluxDBClient
from influxdb_client.client.write_api import SYNCHRONOUS
from influxdb_client.domain.write_precision import WritePrecision
from influxdb_client.rest import ApiException

from telemetry.config import Secret
from telemetry.errors import Refused, Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

_PAGE = 10_000  # rows of one answer
_LOCAL = ("localhost", "127.0.0.1", "::1")
_NOT_INFLUXQL = (400, 404, 405, 501)
_THE_POINTS_ARE_WRONG = (400, 413, 422)
_WAYS_OUT = {
    401: "; check token, or username and password",
    403: "; check what the token may write",
    404: "; make the database or bucket",
}


class Link(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The ``[store]`` table beside ``kind``.

    ``database`` is the database of 1.x and the bucket of newer versions; there ``org`` and ``token`` are needed.
    ``version`` 0 asks the server.  On 1.x a missing database is made, keeping samples ``keep_days`` days (0: for ever).
    """

    url: str = "http://127.0.0.1:8086"
    database: str = "yemai"
    org: str = ""
    token: Secret | None = None
    username: str = ""
    password: Secret | None = None
    version: int = 0
    keep_days: int = 0
    timeout_s: float = 10.0


class Series(msgspec.Struct):
    """One series of an answer."""

    columns: list[str]
    values: list[list[Any]]
    tags: dict[str, str] = {}


class _Result(msgspec.Struct):
    series: list[Series] = []
    error: str = ""


class _Answer(msgspec.Struct):
    results: list[_Result]


class Server:
    """One InfluxDB and one database in it.  Raises :class:`Unavailable` while it cannot be used."""

    def __init__(self, link: Link) -> None:
        self._link, self._url = link, link.url.rstrip("/")
        self._http = urllib3.PoolManager(
            maxsize=8, timeout=urllib3.Timeout(link.timeout_s), retries=False, headers=self._headers()
        )
        self._gzip = urllib3.util.parse_url(link.url).host not in _LOCAL  # the loopback is faster than gzip
        self._version = 0
        self._no_influxql = f"influxdb {self._url} answers no InfluxQL; read it by its own API"
        self._client: InfluxDBClient | None = None

    def open(self) -> None:
        """Make sure that it answers, learn its version, and make the database where that is ours to do."""
        answer = self._ask("GET", "/ping")
        if answer.status >= 300:
            raise self._trouble(answer.status, answer.data)
        told = answer.headers.get("X-Influxdb-Version", "").lstrip("v")
        self._version = self._link.version or (int(told[0]) if told[:1].isdigit() else 2)
        if self._version == 1:
            kept = f' WITH DURATION {self._link.keep_days}d NAME "raw"' if self._link.keep_days else ""
            self._query("POST", f"CREATE DATABASE {identifier(self._link.database)}{kept}")

    def write(self, body: bytes) -> str:
        """Write lines; return why the server refuses them for what they are, ``""`` when it took them."""
        if not self._version:
            self.open()
        status, told = self._write_1(body) if self._version == 1 else self._write_2(body)
        if status < 300:
            return ""
        if status in _THE_POINTS_ARE_WRONG:
            return told[:500].decode("utf-8", "replace").strip() or str(status)
        if status == 404:
            self._version = 0  # somebody dropped the database: open again
        raise self._trouble(status, told)

    def select(self, query: str) -> list[Series]:
        """Return the series that an InfluxQL query answers; :class:`Refused` when the server knows no InfluxQL."""
        if not self._version:
            self.open()
        found = self._query("GET", query)
        if any(
            "time" not in series.columns for series in found
        ):  # VictoriaMetrics names its database, whatever it is asked
            raise Refused(self._no_influxql)
        return found

    def rows(self, query: str) -> Iterator[dict[str, Any]]:
        """Return the rows of a query over one series, asked for page by page."""
        offset = 0
        while True:
            page = 0
            for series in self.select(f"{query} LIMIT {_PAGE} OFFSET {offset}"):
                page += len(series.values)
                for row in series.values:
                    yield dict(zip(series.columns, row, strict=True))
            if page < _PAGE:
                return
            offset += page

    def close(self) -> None:
        """Let the connections go."""
        self._http.clear()
        if self._client is not None:
            self._client.close()  # type: ignore[no-untyped-call]

    # -- inside ----------------------------------------------------------------------------------------

    def _query(self, method: str, query: str) -> list[Series]:
        fields = {"db": self._link.database, "q": query, "epoch": "ms"}
        answer = self._ask(method, "/query", fields=fields)
        if answer.status in _NOT_INFLUXQL:
            raise Refused(
                f"{self._no_influxql} ({answer.status} {answer.data[:200].decode('utf-8', 'replace')})"
            )
        if answer.status >= 300:
            raise self._trouble(answer.status, answer.data)
        try:
            results = msgspec.json.decode(answer.data, type=_Answer).results
        except msgspec.DecodeError:
            raise Refused(self._no_influxql) from None
        for result in results:
            if result.error:
                if result.error.startswith("database not found"):
                    self._version = 0  # open again
                raise Unavailable(f"influxdb {self._url}: {result.error}")
        return [series for result in results for series in result.series]

    def _write_1(self, body: bytes) -> tuple[int, bytes]:
        headers = {**self._headers(), "Content-Type": "text/plain; charset=utf-8"}
        if self._gzip:
            body, headers["Content-Encoding"] = gzip.compress(body, 1), "gzip"
        where = f"/write?{urlencode({'db': self._link.database, 'precision': 'ms'})}"
        answer = self._ask("POST", where, body=body, headers=headers)
        return answer.status, answer.data

    def _write_2(self, body: bytes) -> tuple[int, bytes]:
        link = self._link
        if self._client is None:
            self._client = InfluxDBClient(
                link.url, link.token.reveal() if link.token else "", org=link.org or "-",
                timeout=int(link.timeout_s * 1000), enable_gzip=self._gzip, retries=False,
            )  # fmt: skip
        try:
            with self._client.write_api(write_options=SYNCHRONOUS) as api:
                api.write(link.database, record=body, write_precision=WritePrecision.MS)
        except ApiException as error:
            told = error.body or error.reason or ""
            return int(error.status or 500), told if isinstance(told, bytes) else str(told).encode()
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise Unavailable(f"influxdb {self._url}: {error}") from error
        return 204, b""

    def _ask(self, method: str, path: str, **what: Any) -> urllib3.BaseHTTPResponse:
        try:
            if "fields" in what:
                return self._http.request_encode_url(method, self._url + path, **what)
            return self._http.request(method, self._url + path, **what)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise Unavailable(f"influxdb {self._url}: {error}") from error

    def _trouble(self, status: int, told: bytes) -> Unavailable:
        text = told[:300].decode("utf-8", "replace").strip()
        return Unavailable(f"influxdb {self._url}: {status} {text}{_WAYS_OUT.get(status, '')}")

    def _headers(self) -> dict[str, str]:
        link = self._link
        if link.token is not None:
            return {"Authorization": f"Token {link.token.reveal()}"}
        if link.username:
            told = f"{link.username}:{link.password.reveal() if link.password else ''}"
            return dict(urllib3.util.make_headers(basic_auth=told))
        return {}


def text(value: str) -> str:
    r"""Return an InfluxQL string.

    >>> print(text("O'Neill"))
    'O\'Neill'
    """
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def identifier(name: str) -> str:
    r"""Return an InfluxQL identifier.

    >>> identifier("pm2_5")
    '"pm2_5"'
    """
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
