"""How the API answers: JSON by msgspec, errors in both languages."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from telemetry.errors import Refused, Unavailable

if TYPE_CHECKING:
    from fastapi import FastAPI


class Missing(Exception):
    """What was asked for is not there; ``str`` of it is English, ``zh`` Chinese."""

    def __init__(self, zh: str, en: str) -> None:
        super().__init__(en)
        self.zh = zh


class Denied(Exception):
    """Who asks may not: 401 not known, 403 not allowed, 429 not yet; ``reason`` is for the page."""

    def __init__(self, status: int, zh: str, en: str, *, reason: str = "", after_s: int = 0) -> None:
        super().__init__(en)
        self.status, self.zh, self.reason, self.after_s = status, zh, reason, after_s


def as_json(content: object, status: int = 200) -> Response:
    """Answer with JSON."""
    return Response(msgspec.json.encode(content), status, media_type="application/json")


def as_error(status: int, zh: str, en: str) -> Response:
    """Answer with an error that a person can read."""
    return as_json({"error": {"zh": zh, "en": en}}, status)


def map_errors(api: FastAPI) -> None:
    """Give every error that may cross the seam its status."""

    @api.exception_handler(Unavailable)
    async def unavailable(_: Request, error: Exception) -> Response:
        if str(error).startswith("desk:"):
            return as_error(
                503,
                "告警台数据库暂时不可用，操作未执行",
                f"the desk's database is away, nothing was done: {error}",
            )
        return as_error(502, "数据服务暂时不可用", f"the data service is away: {error}")

    @api.exception_handler(Denied)
    async def denied(_: Request, error: Exception) -> Response:
        assert isinstance(error, Denied)
        reason = {"reason": error.reason} if error.reason else {}
        answer = as_json({"error": {"zh": error.zh, "en": str(error), **reason}}, error.status)
        if error.status == 401:
            answer.headers["WWW-Authenticate"] = "Bearer"
        if error.after_s:
            answer.headers["Retry-After"] = str(error.after_s)
        return answer

    @api.exception_handler(Refused)
    async def refused(_: Request, error: Exception) -> Response:
        return as_error(409, refusal_zh(str(error)), str(error))

    @api.exception_handler(Missing)
    async def missing(_: Request, error: Exception) -> Response:
        return as_error(404, getattr(error, "zh", ""), str(error))

    @api.exception_handler(HTTPException)
    async def refused_by_http(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        zh = _HTTP_ZH.get(error.status_code, "请求无法处理")
        answer = as_error(error.status_code, zh, str(error.detail))
        answer.headers.update(error.headers or {})
        return answer

    @api.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: Exception) -> Response:
        first = error.errors()[0] if isinstance(error, RequestValidationError) else {}
        field = ".".join(str(part) for part in first.get("loc", ())[1:]) or "?"
        return as_error(422, f"“{field}”填写有误", f"'{field}': {first.get('msg', 'invalid')}")


_HTTP_ZH = {400: "请求正文无法读取", 404: "没有这个地址", 405: "这个地址不接受这种请求"}
_ZH = {
    "already acknowledged by ": "该告警已由{}确认",
    "it came from late data": "补报数据的告警已结束，无需确认",
    "nobody has acknowledged it": "该告警尚未确认",
    "it has turned worse since": "告警已升级，请重新查看后再确认",
    "it is closed": "该告警已关闭",
    "to whom?": "请填写责任人",
    "a comment has words": "请填写备注",
    "already shelved by ": "该告警已由{}搁置",
    "it is not shelved": "该告警未被搁置",
    "already taken out of service by ": "该设备已由{}停用",
    "it is in service": "该设备未停用",
    "it still stands": "告警条件仍然成立，不能复位",
    "it is not latched": "该告警未锁存，无需复位",
    "acknowledge it first": "请先确认，再复位",
    "it does not wait": "该动作不在等待批准",
    "there is nothing to undo": "没有可撤销的动作",
    "this action has no reverse": "该动作没有反向动作",
    "already done by ": "已由{}完成",
    "a reason is needed": "请填写原因",
    "it would end before it begins": "结束时间早于开始时间",
    "at most ": "超过允许的最长时间",
    "it has changed since": "该告警已有变化，请刷新后再操作",
    "the link is not good any more": "链接已失效：已被使用、已过期或已停用",
    "code: wrong": "动态码不正确，请核对手机时间",
    "password: at least ": "密码太短，至少 10 个字符",
    "password: too few kinds": "密码须包含大写字母、小写字母、数字、其他字符中的至少三类",
    "password: the new one": "新密码不能与原密码相同",
    "password: at most ": "密码太长，至多 128 个字符",
    "password: too easy to guess": "密码太容易猜到，请换一个更长的",
    "login: ": "登录名须为 2 至 32 个小写字母、数字或 . _ -，以字母开头",
    "name: ": "姓名须为 1 至 64 个字符，不含冒号",
    "taken: ": "登录名或姓名已被占用",
    "roles: ": "角色有误：至少一个；审计员不能兼任安全管理员",
    "yourself: ": "不能更改自己的权限，须由另一位安全管理员操作",
    "not again: ": "该消息未失败，无需重发",
    "wait: a code was sent": "刚发送过验证码，请一分钟后再试",
    "no code is good now": "验证码已失效，请重新发送",
    "code: not the one": "验证码不正确",
    "nobody is told here": "没有配置 notify.yaml，无人可通知",
    "the last security admin stays": "必须保留至少一位安全管理员",
}


def refusal_zh(words: str) -> str:
    """Return a refusal in Chinese; its English stands where none is known."""
    for begin, zh in _ZH.items():
        if words.startswith(begin):
            return zh.format(words[len(begin) :])
    if "has approved it already" in words:
        return "同一人不能批准两次，需要另一人"
    return f"操作被拒绝：{words}"
