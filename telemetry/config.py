"""Configuration files become structs, or an error that says which file, which field and what to do.

TOML is for programs, YAML for catalogues.  Unknown and repeated keys are refused.  A
:class:`~pathlib.Path` is taken relative to the file that names it; a :class:`Secret` is never
written in the file but named by it, as ``env:NAME`` or ``file:PATH``.
"""

from __future__ import annotations

import contextlib
import contextvars
import os
import re
import tomllib
import types
import typing
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import yaml

from telemetry.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterator

T = TypeVar("T")
_AT = re.compile(r"^(?P<problem>.*?)(?: - at (?:`key` in )?`(?P<path>\$.*)`)?$", re.DOTALL)
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+|\.\.\.)\]")
_ELSEWHERE = contextvars.ContextVar("secrets_lie_elsewhere", default=False)
_UNKNOWN = re.compile(r"unknown field `(.+?)`")


class Secret:
    """A value that does not show itself in logs, errors or tracebacks.

    >>> Secret("hunter2")
    ***
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the value itself, for the one call that needs it."""
        return self._value

    def __repr__(self) -> str:
        return "***"


def load_toml(path: Path | str, kind: type[T]) -> T:
    """Read a TOML file as ``kind``; raise :class:`ConfigError`."""
    return parse_toml(_read(Path(path)), kind, Path(path))


def parse_toml(text: str, kind: type[T], path: Path) -> T:
    """Read TOML as ``kind`` as if it stood in the file ``path``; raise :class:`ConfigError`."""
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(path, "$", f"not TOML: {error}") from None
    return convert(raw, kind, file=path)


def load_yaml(path: Path | str, kind: type[T]) -> T:
    """Read a YAML file as ``kind``; raise :class:`ConfigError`."""
    return parse_yaml(_read(Path(path)), kind, Path(path))


def parse_yaml(text: str, kind: type[T], path: Path) -> T:
    """Read YAML as ``kind`` as if it stood in the file ``path``; raise :class:`ConfigError`."""
    try:
        try:
            raw = yaml.load(text, Loader=_FastLoader)  # noqa: S506 - a SafeLoader below
        except yaml.YAMLError:
            raw = yaml.load(text, Loader=_OnceLoader)  # noqa: S506 - likewise
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = f"line {mark.line + 1}, column {mark.column + 1}" if mark else "$"
        raise ConfigError(path, line, f"not YAML: {error.problem}") from None
    except yaml.YAMLError as error:
        raise ConfigError(path, "$", f"not YAML: {error}") from None
    return convert(raw, kind, file=path)


def convert(raw: object, kind: type[T], *, file: Path, at: str = "$") -> T:
    """Turn plain data into ``kind``; ``at`` is where in ``file`` the data stands."""

    def hook(wanted: type, value: object) -> object:
        if wanted is Path and isinstance(value, str):
            return (file.parent / Path(value).expanduser()).resolve()
        if wanted is Secret and isinstance(value, str):
            return _secret(value, file)
        raise NotImplementedError(f"expected {wanted.__name__}, got {type(value).__name__}")

    try:
        return msgspec.convert(raw, kind, dec_hook=hook)
    except msgspec.ValidationError as error:
        found = _AT.match(str(error))
        problem, path = (found["problem"], found["path"] or "$") if found else (str(error), "$")
        path, spot = _locate(raw, kind, path, hook)
        hint = ""
        if unknown := _UNKNOWN.search(problem):
            hint = did_you_mean(unknown[1], _fields(spot))
            path, problem = f"{path}.{unknown[1]}", "unknown key"
        elif value := _value_at(raw, path):
            problem = f"{problem}, here {value}"
            if typing.get_origin(spot) is typing.Literal:
                problem = f"no {value}"
                hint = did_you_mean(value.strip("'"), map(str, typing.get_args(spot)))
        raise ConfigError(file, at + path[1:], problem, hint=hint) from None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(path, f"byte {error.start}", "not UTF-8", hint="save the file as UTF-8") from None
    except OSError as error:
        raise ConfigError(path, "$", f"cannot be read: {error.strerror}") from None


@contextlib.contextmanager
def without_secrets() -> Iterator[None]:
    """Check files whose secrets lie on another machine: within, each reads as empty."""
    token = _ELSEWHERE.set(True)
    try:
        yield
    finally:
        _ELSEWHERE.reset(token)


def _secret(value: str, file: Path) -> Secret:
    source, _, name = value.partition(":")
    if _ELSEWHERE.get() and source in ("env", "file") and name:
        return Secret("")
    if source == "env" and name:
        if name not in os.environ:
            raise ConfigError(file, "$", f"secret: no environment variable {name}", hint=f"export {name}=…")
        return Secret(os.environ[name])
    if source == "file" and name:
        return Secret(_read(file.parent / name).strip())
    raise ConfigError(file, "$", "a secret is not written here", hint="name it as 'env:NAME' or 'file:PATH'")


def _once(loader: Any, node: yaml.MappingNode) -> dict[Any, Any]:
    """Construct a mapping, refusing a key given twice, where YAML would silently keep the last."""
    seen = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if key in seen:
            raise yaml.constructor.ConstructorError(
                None, None, f"key '{key}' given twice", key_node.start_mark
            )
        seen.add(key)
    found: dict[Any, Any] = loader.construct_mapping(node, deep=True)
    return found


class _OnceLoader(yaml.SafeLoader):
    """The loader in Python, whose messages are the better ones."""


class _FastLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """libyaml where it is there: a catalogue of profiles is read in a tenth of the time."""


for _loader in (_OnceLoader, _FastLoader):
    _loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _once)


def _locate(raw: object, kind: Any, path: str, hook: Any) -> tuple[str, Any]:
    """Name the mapping keys that msgspec abbreviates to ``[...]``; return the type found there too."""
    named = "$"
    for name, index in _STEP.findall(path):
        kind = _bare(kind)
        if name:
            kind = typing.get_type_hints(kind).get(_python_name(kind, name)) if _fields(kind) else None
            raw = raw.get(name) if isinstance(raw, dict) else None
            named += f".{name}"
        elif index == "..." and isinstance(raw, dict):
            kind = (typing.get_args(kind) or (None, None))[1]
            key = next((k for k, v in raw.items() if not _fits(v, kind, hook)), None)
            if key is None:
                return named, None
            raw, named = raw[key], f"{named}.{key}"
        else:
            position = int(index) if index.isdigit() else 0
            kind = (typing.get_args(kind) or (None,))[0]
            raw = raw[position] if isinstance(raw, list) and position < len(raw) else None
            named += f"[{index}]"
    return named, _bare(kind)


def _fits(value: object, kind: Any, hook: Any) -> bool:
    try:
        msgspec.convert(value, kind, dec_hook=hook)
    except msgspec.ValidationError:
        return False
    return True


def _bare(kind: Any) -> Any:
    """Strip Annotated and Optional."""
    if typing.get_origin(kind) is typing.Annotated:
        return _bare(typing.get_args(kind)[0])
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        kinds = [k for k in typing.get_args(kind) if k is not type(None)]
        return _bare(next((k for k in kinds if _fields(k)), kinds[0]))
    return kind


def _fields(kind: Any) -> tuple[str, ...]:
    return tuple(getattr(kind, "__struct_encode_fields__", ()))


def _python_name(kind: Any, encoded: str) -> str:
    return dict(zip(kind.__struct_encode_fields__, kind.__struct_fields__, strict=True)).get(encoded, encoded)  # type: ignore[no-any-return]


def _value_at(raw: object, path: str) -> str:
    for name, index in _STEP.findall(path):
        if name and isinstance(raw, dict) and name in raw:
            raw = raw[name]
        elif name and isinstance(raw, dict) and name.isdigit() and int(name) in raw:
            raw = raw[int(name)]
        elif index.isdigit() and isinstance(raw, list):
            raw = raw[int(index)]
        else:
            return ""
    return "" if isinstance(raw, dict | list) else repr(raw)
