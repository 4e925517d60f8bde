"""No cell of any CSV is a formula, and what was guarded comes back as it was."""

import csv
import io

import hypothesis.strategies as st
from hypothesis import given

from telemetry.cells import as_csv, guarded, plain

TEXTS = st.text(alphabet=st.sampled_from("=+-@\t\r\n'＝＋－＠a1,\" 甲"), max_size=8) | st.text(max_size=20)


@given(TEXTS)
def test_no_text_begins_a_formula_and_each_comes_back(text):
    cell = guarded(text)
    assert not cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠"))
    assert plain(cell) == text.replace("\0", "")


@given(st.lists(st.lists(TEXTS, min_size=2, max_size=2), max_size=5))
def test_a_table_has_as_many_rows_and_cells_as_it_was_given(rows):
    read = list(csv.reader(io.StringIO(as_csv(("a", "b"), rows).decode("utf-8-sig"), newline="")))
    assert [[plain(cell) for cell in row] for row in read[1:]] == [
        [cell.replace("\0", "") for cell in row] for row in rows
    ]


def test_numbers_stay_numbers():
    assert as_csv(("a",), [[-5.0], [None], ["-5"]]).decode("utf-8-sig") == 'a\r\n-5.0\r\n""\r\n\'-5\r\n'
