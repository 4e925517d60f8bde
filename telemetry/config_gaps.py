"""Keys that are missing from a configuration, or that nobody knows, all of them at once."""

from __future__ import annotations

import re
import types
import typing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from telemetry.errors import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def gaps(raw: object, kind: Any, at: str = "$", *, toml: bool = False) -> Iterator[tuple[str, str, str]]:
    """Yield the place, the problem and the way out of each key that is missing or unknown, from the top down.

    What to add is said in TOML, or not at all.
    """
    if sum(bool(fields_of(one)) for one in typing.get_args(kind)) > 1:
        return  # which of several structs was meant nobody knows
    kind = bare(kind)
    if isinstance(raw, dict) and fields_of(kind):
        known = {field.encode_name: field for field in msgspec.structs.fields(kind)}
        meant = {
            name: did_you_mean(name, known) for name in raw if isinstance(name, str) and name not in known
        }
        for name, field in known.items():
            if field.required and name not in raw and f"did you mean '{name}'?" not in meant.values():
                yield f"{at}.{name}", "missing", _to_add(at, name, field.type) if toml else ""
        for name, value in raw.items():
            if name in known:
                yield from gaps(value, known[name].type, f"{at}.{name}", toml=toml)
            elif kind.__struct_config__.forbid_unknown_fields and name in meant:
                yield f"{at}.{name}", "unknown key", meant[name]
    elif isinstance(raw, list) and typing.get_origin(kind) in (list, tuple):
        for place, value in enumerate(raw):
            yield from gaps(value, (typing.get_args(kind) or (None,))[0], f"{at}[{place}]", toml=toml)
    elif isinstance(raw, dict) and typing.get_origin(kind) is dict:
        for name, value in raw.items():
            yield from gaps(value, typing.get_args(kind)[1], f"{at}.{name}", toml=toml)


def misfits(
    raw: object, kind: Any, at: str, fits: Callable[[object, Any], bool]
) -> Iterator[tuple[object, Any, str]]:
    """Yield each value, its type and its place, that is not what it should be: the innermost, from the top down.

    Where only a key is missing or unknown nothing is yielded: :func:`gaps` tells of that.
    """
    if fits(raw, kind):
        return
    inner = [one for part in _parts(raw, kind, at) for one in misfits(*part, fits)]
    yield from inner
    if not inner and not any(gaps(raw, kind, at)):
        yield raw, kind, at


def _parts(raw: object, kind: Any, at: str) -> list[tuple[object, Any, str]]:
    """Return the values within a value, each with its type and place."""
    if sum(bool(fields_of(one)) for one in typing.get_args(kind)) > 1:
        return []
    kind = bare(kind)
    inner = typing.get_args(kind) or (None,)
    if isinstance(raw, dict) and fields_of(kind):
        known = {field.encode_name: field.type for field in msgspec.structs.fields(kind)}
        return [(value, known[name], f"{at}.{name}") for name, value in raw.items() if name in known]
    if isinstance(raw, list) and typing.get_origin(kind) in (list, tuple):
        return [(value, inner[0], f"{at}[{place}]") for place, value in enumerate(raw)]
    if isinstance(raw, dict) and typing.get_origin(kind) is dict:
        return [(value, inner[1], f"{at}.{name}") for name, value in raw.items()]
    return []


def _to_add(at: str, name: str, kind: Any) -> str:
    kind = bare(kind)
    inner = bare((typing.get_args(kind) or (None,))[0])
    if typing.get_origin(kind) in (list, tuple) and fields_of(inner):
        header = ".".join([*re.findall(r"\.([^.\[]+)", at), name])
        return f"add [[{header}]] with {', '.join(_required(inner))}"
    value = '"…"' if kind in (str, Path) else "…"
    if fields_of(kind) or typing.get_origin(kind) is dict:
        value = table_of(kind)
    where = " above the first [table]" if at == "$" else ""
    return f"add {name} = {value}{where}"


def table_of(kind: Any) -> str:
    """Return how a struct is written in a line of TOML, with the keys that it must have."""
    return f"{{ {', '.join(f'{one} = …' for one in _required(bare(kind))) or '…'} }}"


def _required(kind: Any) -> list[str]:
    return (
        [field.encode_name for field in msgspec.structs.fields(kind) if field.required]
        if fields_of(kind)
        else []
    )


def bare(kind: Any) -> Any:
    """Strip Annotated and Optional; take the first struct of several."""
    if typing.get_origin(kind) is typing.Annotated:
        return bare(typing.get_args(kind)[0])
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        kinds = [k for k in typing.get_args(kind) if k is not type(None)]
        return bare(next((k for k in kinds if fields_of(k)), kinds[0]))
    return kind


def fields_of(kind: Any) -> tuple[str, ...]:
    """Return the names of a struct's fields as they are written; none for anything else."""
    return tuple(getattr(kind, "__struct_encode_fields__", ()))
