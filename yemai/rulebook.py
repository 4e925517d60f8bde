"""Checks and tests of rule packs, as the command line shows them."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import track

from device_profiles.vocabulary import load_classes, load_platform
from rules.lint import lint
from rules.pack import FOLDER, SHADOW, load_pack
from rules.proof import prove
from telemetry.errors import ConfigError, did_you_mean
from yemai.words import pick, say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rules.pack import RulePack


def check(paths: Sequence[Path]) -> int:
    """Print mistakes and findings; return 1 where something should not go live."""
    console, errors, wrong = Console(), Console(stderr=True), 0
    packs: list[RulePack] = []
    for path in _files(paths):
        try:
            packs.append(load_pack(path))
        except ConfigError as error:
            wrong += 1
            errors.print(str(error), style="red", markup=False, highlight=False, soft_wrap=True)
    own = {pack.device_class for pack in packs} & set(load_platform())
    classes = {**load_classes(), **{name: load_platform()[name] for name in own}}
    findings = lint(packs, classes, dt.datetime.now(dt.UTC).year)
    if paths:  # of some packs: what the others do not cover is no fault of theirs
        named = {pack.device_class for pack in packs}
        findings = [f for f in findings if f.where.partition(".")[0] in named]
    for finding in findings:
        mark, style = ("✗", "red") if finding.grave else ("·", "dim")
        console.print(
            f"{mark} {finding.where}: {pick(finding.text)}",
            style=style,
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
    rules = sum(len(pack.rules) for pack in packs)
    grave = sum(finding.grave for finding in findings) + wrong
    console.print(
        say(
            f"{len(packs)} 个规则包, {rules} 条规则, {grave} 处须改",
            f"{len(packs)} packs, {rules} rules, {grave} to mend",
        )
    )
    return 1 if grave else 0


def test(paths: Sequence[Path]) -> int:
    """Run the packs' own tests; return 1 where one fails."""
    console, failed, count = Console(), 0, 0
    classes = {**load_classes(), **load_platform()}
    packs = [load_pack(path) for path in _files(paths)]
    for pack in track(packs, say("测试", "testing"), console=Console(stderr=True), transient=True):
        for failure in prove(pack, classes):
            failed += 1
            console.print(f"✗ {failure.test}", style="red", markup=False, highlight=False)
            console.print(
                say("    应为 ", "    expected ") + f"{failure.expected}", markup=False, highlight=False
            )
            console.print(
                say("    实为 ", "    came     ") + f"{failure.found}", markup=False, highlight=False
            )
        count += len(pack.tests)
    console.print(say(f"{count} 个测试, {failed} 个失败", f"{count} tests, {failed} failed"))
    return 1 if failed else 0


def find_pack(name: str) -> RulePack:
    """Return the pack that a file or a class names; raise :class:`ConfigError`."""
    return load_pack(_one(name))


def _one(name: str) -> Path:
    if name.endswith(".yaml"):
        return Path(name)
    shipped = {path.stem: path for path in FOLDER.glob("*.yaml")}
    if name not in shipped:
        hint = did_you_mean(name, shipped)
        raise ConfigError(name, "$", "is neither a file nor a class with a shipped pack", hint=hint)
    return shipped[name]


def _files(paths: Sequence[Path]) -> list[Path]:
    found: list[Path] = []
    for path in paths or [FOLDER]:
        if path.is_dir():
            found += sorted(path.glob("*.yaml"))
        elif path.suffix == ".yaml":
            found.append(path)
        else:
            found.append(_one(str(path)))
    if not found:
        hint = f"name files like 'ev_charger.yaml' or 'ev_charger{SHADOW}.yaml'"
        raise ConfigError(paths[0], "$", "holds no rule pack", hint=hint)
    return found
