"""What differs between a board in Grafana and the one that is to replace it, in the words of a person who looks at it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_GRAFANAS = frozenset({"id", "version", "iteration"})  # kept by Grafana, not ours to compare


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Return a line for each difference; none when both are the same board."""
    found = list(_parts("panel", _panels(before), _panels(after)))
    found += _parts("variable", _variables(before), _variables(after))
    for key in sorted((before.keys() | after.keys()) - _GRAFANAS - {"panels", "templating"}):
        if _worth(before.get(key)) != _worth(after.get(key)):
            found.append(f"~ {key}")
    return found


def _parts(kind: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    for name in before.keys() - after.keys():
        yield f"- {kind} '{name}'"
    for name, part in after.items():
        if name not in before:
            yield f"+ {kind} '{name}'"
            continue
        keys = [
            key for key in sorted(part.keys() | before[name].keys())
            if _worth(part.get(key)) != _worth(before[name].get(key))
        ]  # fmt: skip
        if keys:
            yield f"~ {kind} '{name}': {', '.join(keys)}"


def _panels(board: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for panel in board.get("panels") or ():
        for each in (panel, *(panel.get("panels") or ())):
            name = each.get("title") or f"#{each.get('id')}"
            while name in found:
                name += "'"
            found[name] = {key: value for key, value in each.items() if key != "panels"}
    return found


def _variables(board: Mapping[str, Any]) -> dict[str, Any]:
    return {each["name"]: each for each in (board.get("templating") or {}).get("list") or ()}


def _worth(value: object) -> object:
    """Empty is as good as absent: Grafana leaves out some of it, and puts some of it in."""
    return value or None
