"""Message vendors that do not exist: they answer as the real ones do, with HTTP 200 around their errors.

``python -m simulators.vendors --port 8700``; with ``--reports URL`` a text message is reported there as delivered,
as Aliyun's ``SmsReport`` does.  Each keeps its own limits and counts who went over them; what people
would have got stands in ``GET /told``.  ``POST /control`` ``{"vendor": "wecom_app", "fault": "invaliduser", "for": "u1"}``
makes one fail: a vendor's error code, ``garbage``, ``http500``, ``slow``, or none to mend it.

Written from the vendors' public pages, not from our channels: a thing checked against its own code proves nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import aiohttp
from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Callable

KEY, SECRET = "fake-key", "fake-secret"
ROBOTS = (KEY, "fake-key-2", "fake-key-3")
"""The keys of robots in one group, of which each has its own limits."""
LIMITS: dict[str, tuple[tuple[int, float], ...]] = {  # messages, seconds; as the vendors publish them
    "wecom_robot": ((20, 60),),
    "wecom_app": ((30, 60), (1000, 3600)),
    "dingtalk_robot": ((20, 60),),
    "dingtalk_work": ((500, 86_400),),
    "feishu_robot": ((5, 1), (100, 60)),
    "aliyun_sms": ((50, 86_400),),
    "aliyun_voice": ((1, 60), (5, 3600), (20, 86_400)),
}
_NETWORK_S = 0.5
_PER_ADDRESS = {"wecom_app", "dingtalk_work", "aliyun_sms", "aliyun_voice"}
_TOO_FAST: dict[str, dict[str, Any]] = {
    "wecom_robot": {"errcode": 45009, "errmsg": "api freq out of limit"},
    "dingtalk_robot": {"errcode": 130101, "errmsg": "send too fast, exceed 20 times per minute"},
    "dingtalk_work": {"errcode": 143105, "errmsg": "user received too many messages today"},
    "feishu_robot": {"code": 11232, "msg": "frequency limited psm[lark.oapi.app_platform_runtime]"},
    "aliyun_sms": {"Code": "isv.BUSINESS_LIMIT_CONTROL", "Message": "触发天级流控Permits:50"},
    "aliyun_voice": {"Code": "isv.BUSINESS_LIMIT_CONTROL", "Message": "触发业务流控"},
}


class Vendors:
    """All vendors at one address; ``now`` tells the time in seconds."""

    def __init__(self, now: Callable[[], float] = time.time, reports: str = "") -> None:
        self._now, self._reports = now, reports
        self._reporting: set[asyncio.Task[None]] = set()
        self.told: list[dict[str, Any]] = []
        self.over_limit: dict[str, int] = defaultdict(int)
        self.token_fetches: dict[str, int] = defaultdict(int)
        self.faults: dict[tuple[str, str], str] = {}
        self.repeated = 0
        """Messages that a vendor took and did not show, for it had shown them before."""
        self.token = "token-1"  # noqa: S105 - of a vendor that does not exist
        self._shown: dict[tuple[str, str], float] = {}
        self._times: dict[tuple[str, str], list[float]] = defaultdict(list)
        self._ids = 0

    def app(self) -> web.Application:
        """Return the application."""
        app = web.Application()
        routes = [
            web.post("/cgi-bin/webhook/send", self._wecom_robot), web.get("/cgi-bin/gettoken", self._wecom_token),
            web.post("/cgi-bin/message/send", self._wecom_app), web.post("/robot/send", self._dingtalk_robot),
            web.get("/gettoken", self._dingtalk_token),
            web.post("/topapi/message/corpconversation/{word}", self._dingtalk_work),
            web.post("/open-apis/bot/v2/hook/{token}", self._feishu_robot), web.post("/", self._aliyun),
            web.get("/told", self._told), web.post("/control", self._control),
        ]  # fmt: skip
        app.add_routes(routes)
        return app

    async def _told(self, _: web.Request) -> web.Response:
        return web.json_response({"told": self.told, "over_limit": self.over_limit})

    async def _control(self, request: web.Request) -> web.Response:
        wanted = await request.json()
        self.faults[wanted["vendor"], wanted.get("for", "")] = wanted.get("fault", "")
        return web.json_response({})

    def _next(self) -> int:
        self._ids += 1
        return self._ids

    async def _early(self, vendor: str, address: str, robot: str = "") -> web.Response | None:
        """Answer with a fault that was asked for, or because it is too much; None to go on."""
        fault = self.faults.get((vendor, robot or address)) or self.faults.get((vendor, ""))
        if fault == "slow":
            await asyncio.sleep(30)
        if fault == "garbage":
            return web.Response(text="<html>502 Bad Gateway</html>")
        if fault == "http500":
            return web.Response(status=500, text="oops")
        if fault and fault.lstrip("-").isdigit():
            key = "code" if vendor == "feishu_robot" else "errcode"
            return web.json_response({key: int(fault), "msg": "fault", "errmsg": "fault"})
        if fault and vendor.startswith("aliyun"):
            return web.json_response({"Code": fault, "Message": "fault", "RequestId": "r"}, status=400)
        now = self._now()
        times = self._times[vendor, address if vendor in _PER_ADDRESS else robot]
        times.append(now)
        if any(sum(at > now - seconds for at in times) > most for most, seconds in LIMITS[vendor]):
            self.over_limit[vendor] += 1
            if vendor == "wecom_app":  # drops in silence
                return web.json_response(
                    {"errcode": 0, "errmsg": "ok", "invaliduser": "", "msgid": "dropped"}
                )
            return web.json_response(_TOO_FAST[vendor])
        return None

    def _take(self, vendor: str, address: str, text: str, message_id: str = "") -> None:
        self.told.append(
            {"at": self._now(), "vendor": vendor, "address": address, "text": text, "id": message_id}
        )

    async def _wecom_robot(self, request: web.Request) -> web.Response:
        robot = request.query.get("key", "")
        if robot not in ROBOTS:
            return web.json_response({"errcode": 93000, "errmsg": "invalid webhook url"})
        content = (await request.json())["text"]["content"]
        if early := await self._early("wecom_robot", "", robot):
            return early
        if len(content.encode()) > 2048:
            return web.json_response({"errcode": 40058, "errmsg": "text.content exceed max length 2048"})
        self._take("wecom_robot", "", content)
        return web.json_response({"errcode": 0, "errmsg": "ok"})

    async def _wecom_token(self, request: web.Request) -> web.Response:
        self.token_fetches["wecom_app"] += 1
        if request.query.get("corpsecret") != SECRET:
            return web.json_response({"errcode": 40001, "errmsg": "invalid credential"})
        if ("wecom_app", "token") in self.faults and (early := await self._early("wecom_app", "token")):
            return early
        return web.json_response(
            {"errcode": 0, "errmsg": "ok", "access_token": self.token, "expires_in": 7200}
        )

    async def _wecom_app(self, request: web.Request) -> web.Response:
        if request.query.get("access_token") != self.token:
            return web.json_response({"errcode": 42001, "errmsg": "access_token expired"})
        body = await request.json()
        user = body["touser"]
        fault = self.faults.get(("wecom_app", user), "")
        if fault in {"invaliduser", "unlicenseduser"}:
            return web.json_response({"errcode": 0, "errmsg": "ok", fault: user, "msgid": "m"})
        if early := await self._early("wecom_app", user):
            return early
        content = body["text"]["content"]
        if body.get("enable_duplicate_check") and self._is_repeated(
            user, content, body.get("duplicate_check_interval", 1800)
        ):
            self.repeated += 1
        else:
            self._take("wecom_app", user, content)
        return web.json_response(
            {"errcode": 0, "errmsg": "ok", "invaliduser": "", "msgid": f"m{self._next()}"}
        )

    def _is_repeated(self, user: str, content: str, seconds: float) -> bool:
        now, before = self._now(), self._shown.get((user, content))
        self._shown[user, content] = now
        return before is not None and now - before < seconds

    async def _dingtalk_robot(self, request: web.Request) -> web.Response:
        stamp, given = request.query.get("timestamp", ""), request.query.get("sign", "")
        words = hmac.new(SECRET.encode(), f"{stamp}\n{SECRET}".encode(), hashlib.sha256).digest()
        if given != base64.b64encode(words).decode():
            return web.json_response({"errcode": 310000, "errmsg": "sign not match"})
        if early := await self._early("dingtalk_robot", "", request.query.get("access_token", "")):
            return early
        raw = await request.read()
        if len(raw) > 20_000:
            return web.json_response({"errcode": 460101, "errmsg": "message too long, exceed 20000 bytes"})
        self._take("dingtalk_robot", "", json.loads(raw)["text"]["content"])
        return web.json_response({"errcode": 0, "errmsg": "ok"})

    async def _dingtalk_token(self, request: web.Request) -> web.Response:
        self.token_fetches["dingtalk_work"] += 1
        if request.query.get("appsecret") != SECRET:
            return web.json_response({"errcode": 40089, "errmsg": "不合法的 appKey 或 appSecret"})
        return web.json_response(
            {"errcode": 0, "errmsg": "ok", "access_token": self.token, "expires_in": 7200}
        )

    async def _dingtalk_work(self, request: web.Request) -> web.Response:
        if request.query.get("access_token") != self.token:
            return web.json_response({"errcode": 40014, "errmsg": "不合法的access_token"})
        body = await request.json()
        if request.match_info["word"] == "getsendresult":
            if ("dingtalk_work", "result") in self.faults and (
                early := await self._early("dingtalk_work", "result")
            ):
                return early
            [user] = [one["address"] for one in self.told if one["id"] == str(body["task_id"])] or [""]
            lists: dict[str, list[str]] = defaultdict(list)
            lists[self.faults.get(("dingtalk_work", user)) or "read_user_id_list"].append(user)
            return web.json_response({"errcode": 0, "errmsg": "ok", "send_result": lists})
        user = body["userid_list"]
        if not (self.faults.get(("dingtalk_work", user)) or "").endswith("_list") and (
            early := await self._early("dingtalk_work", user)
        ):
            return early
        task = self._next()
        self._take("dingtalk_work", user, body["msg"]["text"]["content"], str(task))
        return web.json_response({"errcode": 0, "errmsg": "ok", "task_id": task})

    async def _feishu_robot(self, request: web.Request) -> web.Response:
        if request.match_info["token"] not in ROBOTS:
            return web.json_response(
                {"code": 19001, "msg": "param invalid: incoming webhook access token invalid"}
            )
        raw = await request.read()
        body = json.loads(raw)
        words = hmac.new(f"{body.get('timestamp')}\n{SECRET}".encode(), b"", hashlib.sha256).digest()
        if body.get("sign") != base64.b64encode(words).decode():
            return web.json_response(
                {"code": 19021, "msg": "sign match fail or timestamp is not within one hour"}
            )
        if early := await self._early("feishu_robot", "", request.match_info["token"]):
            return early
        if len(raw) > 20_480:
            return web.json_response({"code": 9499, "msg": "request body too large"})
        self._take("feishu_robot", "", body["content"]["text"])
        return web.json_response({"code": 0, "msg": "success", "data": {}})

    async def _aliyun(self, request: web.Request) -> web.Response:
        if not _aliyun_signed(request):
            return web.json_response({"Code": "SignatureDoesNotMatch", "Message": "signature"}, status=400)
        query, voice = request.query, request.headers["x-acs-action"] == "SingleCallByTts"
        vendor = "aliyun_voice" if voice else "aliyun_sms"
        number = query["CalledNumber" if voice else "PhoneNumbers"]
        parameters = json.loads(query["TtsParam" if voice else "TemplateParam"])
        if any(len(value) > 35 or set(value) & set("【】★→①") for value in parameters.values()):
            return web.json_response(
                {"Code": "isv.PARAM_LENGTH_LIMIT", "Message": "参数超出长度限制"}, status=400
            )
        if early := await self._early(vendor, number):
            return early
        provider = f"{'call' if voice else 'biz'}-{self._next()}"
        self._take(vendor, number, json.dumps(parameters, ensure_ascii=False), provider)
        if self._reports and not voice:
            task = asyncio.ensure_future(self._report(number, provider, query.get("OutId", "")))
            self._reporting.add(task)
            task.add_done_callback(self._reporting.discard)
        return web.json_response(
            {"Code": "OK", "Message": "OK", "CallId" if voice else "BizId": provider, "RequestId": "r"}
        )

    async def _report(self, number: str, provider: str, out_id: str) -> None:
        """Say that a text message has arrived, as the vendor does once the operator's network has said so."""
        await asyncio.sleep(_NETWORK_S)
        at = time.strftime("%Y-%m-%d %H:%M:%S")
        told = {
            "phone_number": number, "send_time": at, "report_time": at, "success": True, "err_code": "DELIVERED",
            "err_msg": "用户接收成功", "sms_size": "1", "biz_id": provider, "out_id": out_id,
        }  # fmt: skip
        for _ in range(3):
            try:
                async with (
                    aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as http,
                    http.post(self._reports, json=[told]) as answer,
                ):
                    if answer.status == 200:
                        return
            except (aiohttp.ClientError, TimeoutError):
                pass
            await asyncio.sleep(_NETWORK_S)


def _aliyun_signed(request: web.Request) -> bool:
    """Check ACS3-HMAC-SHA256 from what arrived."""
    fields = dict(part.split("=", 1) for part in request.headers["Authorization"].split(" ", 1)[1].split(","))
    names = fields["SignedHeaders"].split(";")
    lines = "".join(f"{name}:{request.headers[name].strip()}\n" for name in names)
    line = request.raw_path.partition("?")[2]
    content = request.headers["x-acs-content-sha256"]
    canonical = f"POST\n/\n{line}\n{lines}\n{';'.join(names)}\n{content}"
    words = f"ACS3-HMAC-SHA256\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    return hmac.new(SECRET.encode(), words.encode(), hashlib.sha256).hexdigest() == fields["Signature"]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Message vendors that do not exist")
    parser.add_argument("--port", type=int, default=8700)
    parser.add_argument("--reports", default="", help="where text messages are reported as delivered")
    asked = parser.parse_args()
    web.run_app(Vendors(reports=asked.reports).app(), host="127.0.0.1", port=asked.port, print=None)
