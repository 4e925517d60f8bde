"""Every alarm there is fits a text message: an operator's template takes no more, and a title cut in half says nothing."""

import pytest

from command_center.channels._sms_template import BANNED, fill
from command_center.wording import COLOUR
from rules.pack import load_packs

TITLE, LEVEL = 30, 20


@pytest.mark.parametrize(
    "rule", [rule for pack in load_packs() for rule in pack.rules], ids=lambda rule: rule.id
)
def test_its_chinese_title_goes_out_whole(rule):
    facts = {"title": rule.title.zh, "level": COLOUR["zh"][4]}
    assert fill({"title": TITLE, "level": LEVEL}, facts) == facts
    assert not set(rule.title.zh) & {chr(code) for code in BANNED}
