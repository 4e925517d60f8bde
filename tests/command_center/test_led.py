"""Texts on screens: approved templates only, and what does not belong on a screen is refused with its place."""

from datetime import date

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from command_center.led import Approval, Blank, Template, check, fill
from telemetry.errors import Refused
from telemetry.text import Text

OK = Approval("张三", date(2026, 5, 1))
WATER = Template(
    "water", Text("积水", "Water"), "前方{road}积水{depth}厘米 请绕行", OK, {"road": Blank(most=6), "depth": Blank("number", 3)}
)  # fmt: skip


def test_a_template_with_its_blanks_filled_is_what_the_screen_shows():
    assert fill(WATER, {"road": "东大街", "depth": "35"}) == "前方东大街积水35厘米 请绕行"


@pytest.mark.parametrize(
    ("road", "depth", "sentence"),
    [
        ("东街\x00", "3", "'road': character U+0000 at 3 is not for a screen"),
        ("东街\r\n", "3", "'road': character U+000D at 3 is not for a screen"),
        ("东\x1b[2J", "3", "'road': character U+001B at 2 is not for a screen"),
        ("东\u202e街", "3", "'road': character U+202E at 2 is not for a screen"),
        ("东\u200b街", "3", "'road': character U+200B at 2 is not for a screen"),
        ("东\u2028街", "3", "'road': character U+2028 at 2 is not for a screen"),
        ("东\ue000街", "3", "'road': character U+E000 at 2 is not for a screen"),
        ("<b>东</b>", "3", "'road': '<' at 1 is a mark that screen cards take for an order"),
        ("\\C1东街", "3", "'road': '\\' at 1 is a mark that screen cards take for an order"),
        ("{depth}", "3", "'road': '{' at 1 is a mark that screen cards take for an order"),
        ("&lt;", "3", "'road': '&' at 1 is a mark that screen cards take for an order"),
        ("东 街", "3", "'road': '东 街' is no word"),
        ("", "3", "'road': '' is no word"),
        ("东西南北中大街", "3", "'road': 7 characters are more than 6"),
        ("東🚗", "3", "'road': '東🚗' is no word"),
        ("東𠀀街", "3", "'𠀀' (U+20000) at 4 is not in gbk"),
        ("东街", "1e9", "'depth': '1e9' is no number"),
        ("东街", "3; 4", "'depth': 4 characters are more than 3"),
        ("东街", "٣", "'depth': '٣' is no number"),
    ],
)  # fmt: skip
def test_what_does_not_belong_on_a_screen_is_refused_with_its_place(road, depth, sentence):
    with pytest.raises(Refused) as raised:
        fill(WATER, {"road": road, "depth": depth})
    assert str(raised.value) == f"template 'water': {sentence}"


def test_blanks_left_open_or_unknown_are_refused():
    with pytest.raises(Refused, match="'depth' is not filled"):
        fill(WATER, {"road": "东街"})
    with pytest.raises(Refused, match="has no blank 'colour'"):
        fill(WATER, {"road": "东街", "depth": "3", "colour": "红"})


def test_the_length_counts_in_bytes_of_the_screens_encoding():
    small = Template("s", Text("甲", "A"), "限速{n}", OK, {"n": Blank("number", 3)}, most_bytes=6)
    assert fill(small, {"n": "60"}) == "限速60"
    with pytest.raises(Refused, match="7 bytes in gbk are more than 6"):
        fill(small, {"n": "120"})
    wide = Template(
        "w", Text("甲", "A"), "限速{n}", OK, {"n": Blank("number", 3)}, encoding="utf16", most_bytes=8
    )
    assert fill(wide, {"n": "60"}) == "限速60"
    with pytest.raises(Refused, match="10 bytes in utf16 are more than 8"):
        fill(wide, {"n": "120"})


@given(words=st.text(max_size=12))
@settings(max_examples=300, deadline=None)
def test_any_words_are_shown_exactly_or_refused(words):
    one = Template("t", Text("甲", "A"), "路：{w}", OK, {"w": Blank(most=8)}, most_bytes=20)
    try:
        text = fill(one, {"w": words})
    except Refused:
        return
    assert text == f"路：{words}"
    assert len(text.encode("gbk")) <= 20
    assert text.isprintable()
    check(text, one)
