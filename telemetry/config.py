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
import typing
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import yaml

from telemetry.config_gaps import bare, fields_of, gaps, misfits, table_of
from telemetry.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterator

T = TypeVar("T")
_AT = re.compile(r"^(?P<problem>.*?)(?: - at (?:`key` in )?`(?P<path>\$.*)`)?$", re.DOTALL)
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+|\.\.\.)\]")
_STEP_NAME = r"\.([^.\[\]]+)"
_ELSEWHERE = contextvars.ContextVar("secrets_lie_elsewhere", default=False)
_UNKNOWN = re.compile(r"unknown field `(.+?)`")
_MISSING = re.compile(r"missing required field `(.+?)`")
_NUMBER_AS_TEXT = re.compile(
    r"Expected `(int|float)( \| null)?`, got `str`, here '[\d.]+(?P<unit> ?[A-Za-z]+)?'"
)
_TOML_PLACE = re.compile(r"(?P<problem>.*) \(at line (?P<line>\d+), column (?P<column>\d+)\)$", re.DOTALL)
_SECRETIVE = re.compile(r"\w*(password|secret|token|key)\b")
_DECIMAL_COMMA = re.compile(r"=\s*\d+,\d+$")
_TYPED_IN_CHINESE = re.compile("[\u201c\u201d\u2018\u2019\uff1d\uff0c\uff08\uff09\u3010\u3011\u3000]")


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
        raise _not_toml(path, text, str(error)) from None
    except (ValueError, RecursionError) as error:  # a number of 5,000 digits, brackets in brackets
        raise ConfigError(path, "$", f"not TOML that can be read: {error}") from None
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
    except (ValueError, RecursionError) as error:  # as in TOML; a date that there is not
        raise ConfigError(path, "$", f"not YAML that can be read: {error}") from None
    return convert(raw, kind, file=path)


def convert(raw: object, kind: type[T], *, file: Path, at: str = "$") -> T:
    """Turn plain data into ``kind``; ``at`` is where in ``file`` the data stands."""

    def hook(wanted: type, value: object) -> object:
        if wanted is Path and isinstance(value, str):
            return (file.parent / Path(value).expanduser()).resolve()
        if wanted is Secret:
            return _secret(value, file)
        raise ValueError(f"expected {wanted.__name__}, got {type(value).__name__}")

    try:
        return msgspec.convert(raw, kind, dec_hook=hook)
    except msgspec.ValidationError as error:
        first = _told(raw, kind, error, hook, file, at)
    mistakes = {
        place: ConfigError(file, place, what, hint=way_out)
        for place, what, way_out in gaps(raw, kind, at, toml=file.suffix == ".toml")
    }
    if first.path not in mistakes:
        mistakes = {first.path: first} | mistakes
    for value, wanted, place in misfits(raw, kind, at, lambda value, wanted: _fits(value, wanted, hook)):
        try:
            msgspec.convert(value, wanted, dec_hook=hook)
        except msgspec.ValidationError as error:
            one = _told(value, wanted, error, hook, file, place)
            mistakes.setdefault(one.path, one)
    raise ConfigError.together(list(mistakes.values()))


def _told(raw: object, kind: Any, error: Exception, hook: Any, file: Path, at: str) -> ConfigError:
    """Return what msgspec says of ``raw``, which stands ``at`` a place, with the value and a way out."""
    found = _AT.match(str(error))
    problem, path = (found["problem"], found["path"] or "$") if found else (str(error), "$")
    path, spot = _locate(raw, kind, path, hook)
    value, path, hint = _value_at(raw, path), at + path[1:], ""
    if isinstance(error.__cause__, _NoSecretError):  # whose value is not shown
        hint = error.__cause__.hint
    elif missing := _MISSING.search(problem):
        path, problem = f"{path}.{missing[1]}", "missing"
    elif unknown := _UNKNOWN.search(problem):
        hint = did_you_mean(unknown[1], fields_of(spot))
        path, problem = f"{path}.{unknown[1]}", "unknown key"
    elif value:
        problem = f"{problem}, here {value}"
        if number := _NUMBER_AS_TEXT.match(problem):
            hint = f"a number is written without quotes{' and without a unit' if number['unit'] else ''}"
        if file.suffix == ".toml" and (fields_of(spot) or typing.get_origin(spot) is dict):
            hint = f"write {path.rpartition('.')[2]} = {table_of(spot)}"
        if typing.get_origin(spot) is typing.Literal:
            problem = f"no {value}"
            hint = did_you_mean(value.strip("'"), map(str, typing.get_args(spot)))
    elif problem == "Expected `array`, got `object`":
        hint = (
            f"two pairs of brackets where there may be several: [[{'.'.join(re.findall(_STEP_NAME, path))}]]"
        )
    return ConfigError(file, path, problem, hint=hint)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")  # editors on Windows begin a file with a mark
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ConfigError(path, f"line {line}", "not UTF-8", hint="save the file as UTF-8") from None
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


def _not_toml(path: Path, text: str, problem: str) -> ConfigError:
    """Return the error with the line that it is about, and what is wrong with it as far as that can be seen."""
    found = _TOML_PLACE.match(problem)
    if found is None or not text.strip():
        return ConfigError(path, "$", f"not TOML: {problem}")
    line = text.splitlines()[int(found["line"]) - 1].strip()
    if _SECRETIVE.match(line):
        line = line.partition("=")[0] + "= …"
    hint = f"look at: {line}"
    if odd := _TYPED_IN_CHINESE.search(line):
        hint += f"   ('{odd[0]}' is not the ASCII character: switch the input method and write it anew)"
    elif _DECIMAL_COMMA.search(line):
        hint += "   (a decimal point, not a comma)"
    elif line.count('"') % 2:
        hint += "   (a text ends with the quote that it begins with)"
    return ConfigError(
        path, f"line {found['line']}, column {found['column']}", f"not TOML: {found['problem']}", hint=hint
    )


class _NoSecretError(ValueError):
    def __init__(self, problem: str, hint: str = "") -> None:
        super().__init__(problem)
        self.hint = hint


def _secret(value: object, file: Path) -> Secret:
    """Return what is named; msgspec adds the place to the ValueError that says why it cannot be."""
    source, _, name = value.partition(":") if isinstance(value, str) else ("", "", "")
    if source not in ("env", "file") or not name:
        raise _NoSecretError("a secret is not written here", "name it as 'env:NAME' or 'file:PATH'")
    if _ELSEWHERE.get():
        return Secret("")
    if source == "env":
        if name not in os.environ:
            raise _NoSecretError(f"secret: no environment variable {name}", f"export {name}=…")
        return Secret(os.environ[name])
    try:
        return Secret((file.parent / name).read_text("utf-8").strip())
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8"
        raise _NoSecretError(f"secret: {file.parent / name}: cannot be read: {reason}") from None


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
        kind = bare(kind)
        if name:
            kind = typing.get_type_hints(kind).get(_python_name(kind, name)) if fields_of(kind) else None
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
    return named, bare(kind)


def _fits(value: object, kind: Any, hook: Any) -> bool:
    try:
        msgspec.convert(value, kind, dec_hook=hook)
    except msgspec.ValidationError:
        return False
    return True


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
