"""Where in a YAML file a piece of the rule language stands, to point at what is wrong with it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

import yaml

from telemetry.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from rules.language.tokens import LanguageError

_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]")


class Written(NamedTuple):
    """A place in a file, like ``$.rules[3]``."""

    file: Path
    at: str

    def below(self, step: str) -> Written:
        """Return a place within."""
        return Written(self.file, self.at + step)

    def fault(self, text: str, error: LanguageError) -> ConfigError:
        """Return the error with line and column in the file, and the text with a mark under the fault.

        In a text of several lines, the line is where it begins.
        """
        line, column = self._mark(error.at)
        shown, at = _line(text, error.at)
        length = min(error.end, error.at + len(shown) - at) - error.at
        picture = (
            f"\n    {shown}\n    {' ' * _width(shown[:at])}{'^' * max(1, _width(shown[at : at + length]))}"
        )
        where = f"{self.at}: line {line}, column {column}" if line else self.at
        return ConfigError(self.file, where, error.problem, hint=(error.hint or "see below") + picture)

    def _mark(self, offset: int) -> tuple[int, int]:
        try:
            node: yaml.Node | None = yaml.compose(
                self.file.read_text(encoding="utf-8"), Loader=yaml.SafeLoader
            )
        except (
            OSError,
            UnicodeDecodeError,
            yaml.YAMLError,
        ):  # it was read before; it is the marks alone that miss
            return 0, 0
        for name, index in _STEP.findall(self.at):
            node = _child(node, name, index)
        if not isinstance(node, yaml.ScalarNode):
            return 0, 0
        quoted = 1 if node.style in ("'", '"') else 0
        single = node.start_mark.line == node.end_mark.line
        return node.start_mark.line + 1, node.start_mark.column + 1 + (quoted + offset if single else 0)


def _child(node: yaml.Node | None, name: str, index: str) -> yaml.Node | None:
    if isinstance(node, yaml.MappingNode) and name:
        return next((value for key, value in node.value if key.value == name), None)
    if isinstance(node, yaml.SequenceNode) and index and int(index) < len(node.value):
        found: yaml.Node = node.value[int(index)]
        return found
    return None


def _line(text: str, at: int) -> tuple[str, int]:
    begins = text.rfind("\n", 0, at) + 1
    ends = text.find("\n", at)
    return text[begins : len(text) if ends < 0 else ends], at - begins


def _width(text: str) -> int:
    return sum(2 if ord(letter) > 0x2E80 else 1 for letter in text)  # as a terminal shows Chinese
