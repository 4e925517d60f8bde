"""The page's files: sizes, syntax, words in both languages, contrast, and vendored releases as recorded."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from itertools import product
from pathlib import Path

import pytest

WEB = Path(__file__).parents[2] / "command_center" / "web"
OWN = sorted(path for path in WEB.iterdir() if path.suffix in {".js", ".css", ".html"})
SCRIPTS = [path for path in OWN if path.suffix == ".js"]
INKS = ["text", "soft", "old", "red", "orange", "yellow", "blue"]


def tokens() -> dict[str, str]:
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", (WEB / "tokens.css").read_text("utf-8")))


def luminance(colour: str) -> float:
    """Relative luminance, WCAG 2.2."""
    parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("path", OWN, ids=lambda path: path.name)
def test_every_module_is_small_and_says_what_it_is_for(path):
    content = path.read_text("utf-8")
    assert content.count("\n") < 400
    assert "/*" in content[:4] or "<!--" in content[:120]


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_every_script_parses(path):
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    checked = subprocess.run(
        [node, "--input-type=module", "--check"],
        input=path.read_bytes(),
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert checked.returncode == 0, checked.stderr.decode()


def test_every_word_asked_for_is_there_in_both_languages():
    words = dict(
        re.findall(
            r"^  '([\w.]+)': \[(.*?)\],$",
            "".join(path.read_text("utf-8") for path in sorted(WEB.glob("i18n*.js"))),
            re.MULTILINE | re.DOTALL,
        )
    )
    assert len(words) > 100
    for key, pair in words.items():
        zh, en = re.findall(r"'((?:[^'\\]|\\.)+)'", pair)
        assert sorted(re.findall(r"\{\d\}", zh)) == sorted(re.findall(r"\{\d\}", en)), key
    asked = {key for path in SCRIPTS for key in re.findall(r"\bt\('([\w.]+)'", path.read_text("utf-8"))}
    assert asked <= words.keys()


@pytest.mark.parametrize(("ink", "ground"), list(product(INKS, ["ground", "panel", "raised"])))
def test_every_ink_reads_on_every_ground(ink, ground):
    colours = tokens()
    assert contrast(colours[ink], colours[ground]) >= 4.5


def test_the_levels_have_the_same_colour_in_script_and_style():
    script = (WEB / "severity.js").read_text("utf-8")
    for word, colour, ink in re.findall(r"(\w+): \{ level: .*? color: '(#\w{6})', ink: '(#\w{6})'", script):
        assert tokens()[word] == colour
        assert contrast(colour, ink) >= 4.5


def test_nothing_points_to_another_origin():
    for path in OWN:
        addresses = [
            found
            for found in re.findall(r"https?://[^\s'\"`)]+", path.read_text("utf-8"))
            if "www.w3.org" not in found
        ]
        assert addresses == [], path.name


def test_vendored_files_are_the_releases_that_the_readme_records():
    rows = re.findall(
        r"^\| `([^`]+)` \|.*`([0-9a-f]{64})` \|$",
        (WEB / "vendor" / "README.md").read_text("utf-8"),
        re.MULTILINE,
    )
    recorded = dict(rows)
    present = {
        str(path.relative_to(WEB / "vendor"))
        for path in (WEB / "vendor").rglob("*.*")
        if path.suffix in {".js", ".mjs", ".css"}
    }
    assert recorded.keys() == present
    for name, digest in recorded.items():
        assert hashlib.sha256((WEB / "vendor" / name).read_bytes()).hexdigest() == digest, name
