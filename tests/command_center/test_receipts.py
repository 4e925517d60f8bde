"""Every vendor's answer, as bytes: HTTP 200 is not delivery, and what is not understood is tried again."""

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import given

from command_center.channel import answer_of, cut
from command_center.channels import (
    _sms_template,
    aliyun_sms,
    aliyun_voice,
    dingtalk_robot,
    dingtalk_work,
    email,
    feishu_robot,
    webhook,
    wecom_app,
    wecom_robot,
)

GOLDEN = [
    # vendor's body, who reads it, outcome, code
    ('{"errcode":0,"errmsg":"ok"}', wecom_robot.receipt, "accepted", "0"),
    ('{"errcode":45009,"errmsg":"api freq out of limit"}', wecom_robot.receipt, "failed_temp", "45009"),
    ('{"errcode":93000,"errmsg":"invalid webhook url"}', wecom_robot.receipt, "failed_perm", "93000"),
    ('{"errcode":40058,"errmsg":"text.content exceed max length"}', wecom_robot.receipt, "failed_perm", "40058"),
    ('{"errcode":-1,"errmsg":"system busy"}', wecom_robot.receipt, "failed_temp", "-1"),
    ('{"errcode":0,"errmsg":"ok","invaliduser":"","msgid":"m1"}', lambda a: wecom_app.receipt(a, "wang"), "accepted", "0"),
    ('{"errcode":0,"errmsg":"ok","invaliduser":"li|Wang"}', lambda a: wecom_app.receipt(a, "wang"), "failed_perm", "invaliduser"),
    ('{"errcode":0,"invaliduser":"li"}', lambda a: wecom_app.receipt(a, "wang"), "accepted", "0"),
    ('{"errcode":0,"unlicenseduser":"wang"}', lambda a: wecom_app.receipt(a, "wang"), "failed_perm", "unlicenseduser"),
    ('{"errcode":81013,"errmsg":"all invalid"}', lambda a: wecom_app.receipt(a, "wang"), "failed_perm", "81013"),
    ('{"errcode":40014,"errmsg":"invalid access_token"}', lambda a: wecom_app.receipt(a, "wang"), "failed_temp", "40014"),
    ('{"errcode":42001,"errmsg":"access_token expired"}', lambda a: wecom_app.receipt(a, "wang"), "failed_temp", "42001"),
    ('{"errcode":0,"errmsg":"ok"}', dingtalk_robot.receipt, "accepted", "0"),
    ('{"errcode":130101,"errmsg":"send too fast"}', dingtalk_robot.receipt, "failed_temp", "130101"),
    ('{"errcode":310000,"errmsg":"sign not match"}', dingtalk_robot.receipt, "failed_perm", "310000"),
    ('{"errcode":460101,"errmsg":"message too long"}', dingtalk_robot.receipt, "failed_perm", "460101"),
    ('{"errcode":0,"task_id":256271667526}', dingtalk_work.receipt, "accepted", "0"),
    ('{"errcode":0}', dingtalk_work.receipt, "failed_temp", "0"),
    ('{"errcode":40014}', dingtalk_work.receipt, "failed_temp", "40014"),
    ('{"errcode":143105,"errmsg":"too many"}', dingtalk_work.receipt, "failed_perm", "143105"),
    ('{"errcode":0,"send_result":{"read_user_id_list":["wang"]}}', lambda a: dingtalk_work.result(a, "wang"), "read", "0"),
    ('{"errcode":0,"send_result":{"unread_user_id_list":["wang"]}}', lambda a: dingtalk_work.result(a, "wang"), "delivered", "0"),
    ('{"errcode":0,"send_result":{"forbidden_user_id_list":["wang"]}}', lambda a: dingtalk_work.result(a, "wang"), "failed_perm", "forbidden_user_id_list"),
    ('{"errcode":0,"send_result":{"failed_user_id_list":["wang"]}}', lambda a: dingtalk_work.result(a, "wang"), "failed_perm", "failed_user_id_list"),
    ('{"code":0,"msg":"success"}', feishu_robot.receipt, "accepted", "0"),
    ('{"code":9499,"msg":"too many requests"}', feishu_robot.receipt, "failed_temp", "9499"),
    ('{"code":11232,"msg":"frequency limited"}', feishu_robot.receipt, "failed_temp", "11232"),
    ('{"code":19002,"msg":"params error"}', feishu_robot.receipt, "failed_perm", "19002"),
    ('{"code":19021,"msg":"sign match fail"}', feishu_robot.receipt, "failed_perm", "19021"),
    ('{"code":19022,"msg":"ip not allowed"}', feishu_robot.receipt, "failed_perm", "19022"),
    ('{"code":19024,"msg":"key words not found"}', feishu_robot.receipt, "failed_perm", "19024"),
    ('{"Code":"OK","BizId":"9006"}', aliyun_sms.receipt, "accepted", "OK"),
    ('{"Code":"isv.BUSINESS_LIMIT_CONTROL","Message":"触发天级流控"}', aliyun_sms.receipt, "failed_temp", "isv.BUSINESS_LIMIT_CONTROL"),
    ('{"Code":"isv.MOBILE_NUMBER_ILLEGAL"}', aliyun_sms.receipt, "failed_perm", "isv.MOBILE_NUMBER_ILLEGAL"),
    ('{"Code":"isv.SMS_TEMPLATE_ILLEGAL"}', aliyun_sms.receipt, "failed_perm", "isv.SMS_TEMPLATE_ILLEGAL"),
    ('{"Code":"SignatureDoesNotMatch"}', aliyun_sms.receipt, "failed_perm", "SignatureDoesNotMatch"),
    ('{"Code":"OK","CallId":"c1"}', aliyun_voice.receipt, "accepted", "OK"),
    ('{"Code":"isp.SYSTEM_ERROR"}', aliyun_voice.receipt, "failed_temp", "isp.SYSTEM_ERROR"),
]  # fmt: skip
READERS = [
    wecom_robot.receipt, dingtalk_robot.receipt, dingtalk_work.receipt, feishu_robot.receipt, aliyun_sms.receipt,
    aliyun_voice.receipt, lambda answer: wecom_app.receipt(answer, "wang"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "read", "outcome", "code"), GOLDEN)
def test_the_vendors_code_decides_and_not_the_http_status(body, read, outcome, code):
    for status in (200, 400):
        receipt = read(answer_of(status, body.encode()))
        assert (receipt.outcome, receipt.code) == (outcome, code)
        assert len(receipt.digest) == 16


@pytest.mark.parametrize("read", READERS)
@given(raw=st.one_of(st.binary(max_size=200), st.recursive(st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["errcode", "code", "Code", "x"]), inner), max_leaves=6).map(msgspec.json.encode)))  # fmt: skip
def test_an_answer_of_any_bytes_is_a_receipt_and_accepted_only_by_the_vendors_own_word(read, raw):
    receipt = read(answer_of(200, raw))
    if receipt.outcome == "accepted":
        body = msgspec.json.decode(raw)
        assert body.get("errcode") == 0 or body.get("code") == 0 or body.get("Code") == "OK"


@given(text=st.text(alphabet=st.characters(codec="utf-8"), max_size=300), most=st.integers(0, 400))
def test_cutting_never_splits_a_character_nor_exceeds_the_bytes(text, most):
    short = cut(text, most)
    assert not most or len(short.encode()) <= most
    assert short == text or text.startswith(short.removesuffix("…"))


@pytest.mark.parametrize("limit", [2048, 4096, 20_000, 20_480])
def test_emoji_and_chinese_are_cut_at_the_vendors_bytes(limit):
    for character in ("警", "🚨", "a"):
        short = cut(character * limit, limit)
        assert limit - 7 <= len(short.encode()) <= limit


@given(st.dictionaries(st.sampled_from(["level", "title", "device"]), st.text(max_size=80)))
def test_a_templates_variables_are_what_operators_take(facts):
    filled = _sms_template.fill({"level": 20, "title": 99, "device": 6}, facts)
    assert filled.keys() == {"level", "title", "device"}
    for name, value in filled.items():
        assert 1 <= len(value) <= {"level": 20, "title": 35, "device": 6}[name]
        assert not set(value) & set("【】★→①\r\n\0")


def test_an_sms_report_of_failure_and_a_voice_report_with_a_key_are_read():
    body = [
        {"biz_id": "b1", "success": True, "err_code": "DELIVERED"},
        {"biz_id": "b2", "success": False, "err_code": "MN:0001"},
        7,
    ]
    assert [(r.provider_id, r.outcome, r.code) for r in aliyun_sms.reports(body)] == [
        ("b1", "delivered", "DELIVERED"),
        ("b2", "failed_perm", "MN:0001"),
    ]
    calls = [
        {"call_id": "c1", "status_code": "200000", "dtmf": "1"},
        {"call_id": "c2", "status_code": "200010"},
    ]
    assert [(r.outcome, r.pressed) for r in aliyun_voice.reports(calls)] == [
        ("delivered", "1"),
        ("failed_perm", ""),
    ]
    assert aliyun_voice.reports({"x": 1}) == aliyun_sms.reports(None) == []


@pytest.mark.parametrize(("status", "outcome"), [(200, "accepted"), (204, "accepted"), (302, "failed_perm"), (410, "failed_perm"), (429, "failed_temp"), (503, "failed_temp")])  # fmt: skip
def test_a_webhook_is_judged_by_its_status(status, outcome):
    assert webhook.receipt(answer_of(status, b"")).outcome == outcome


def test_smtp_codes_that_may_pass_and_that_will_not():
    assert email.refusal(451, b"try later").outcome == "failed_temp"
    assert email.refusal(550, b"no such user").outcome == "failed_perm"
