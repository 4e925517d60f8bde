"""Remote configuration in two phases, which a site survives whatever is sent.

::

    wanted ──checks──▶ tried on the buses ──▶ trial, under a dead man's timer ──uplink is back──▶ active
       └──▶ refused ◀──────┘                    └──▶ rolled back: no uplink in time, or it crashes again and again

The site's own ``edge.toml`` is never touched; ``active.toml`` stands in its place where there is one.  Each step is
a file that is renamed into place, so that a power cut leaves one step or the next.  What was refused or rolled back
is remembered by its digest and not tried again when the broker hands out the retained message once more.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from typing import TYPE_CHECKING, Literal, TypeVar

import msgspec
import structlog

from edge_agent.config import AgentConfig, load_config
from telemetry import codecs
from telemetry.errors import ConfigError, Malformed, Unavailable
from telemetry.readings import ConfigState, DesiredConfig

if TYPE_CHECKING:
    from pathlib import Path

MOST_BYTES = 512 * 1024
MOST_STARTS = 3
"""Starts of a trial without the uplink coming back, until it is rolled back: a crash loop ends by itself."""
_FIXED = ("agent", "area", "outbox.path", "socket")
T = TypeVar("T")
log = structlog.get_logger()


class Version(msgspec.Struct, frozen=True):
    """A configuration that came from the cloud; its text lies beside it."""

    version: str
    digest: str
    confirm_s: float = 300.0
    starts: int = 0


class Verdict(msgspec.Struct, frozen=True):
    """Why a version is not in force."""

    version: str
    digest: str
    state: Literal["refused", "rolled_back"]
    error: str


class Chosen(msgspec.Struct, frozen=True):
    """What to run now; ``trial`` is set while the dead man's timer runs."""

    config: AgentConfig
    state: ConfigState
    trial: Version | None = None


class Wanted(msgspec.Struct, frozen=True):
    """A configuration that has passed the checks and waits to be tried on the buses."""

    version: Version
    text: str
    config: AgentConfig
    force: bool


class Remote:
    """The versions of one agent; ``path`` is the site's own file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._own = load_config(path)
        box = self._own.outbox.path
        self._folder = box.with_name(box.name + ".config")

    def choose(self) -> Chosen:
        """Return what to run with now: the trial, the active version, or the site's own file."""
        if (trial := self._read("trial.json", Version)) is not None:
            if trial.starts >= MOST_STARTS:
                self.roll_back(f"started {trial.starts} times and the uplink never came back")
            else:
                trial = msgspec.structs.replace(trial, starts=trial.starts + 1)
                try:
                    self._write("trial.json", msgspec.json.encode(trial))
                    config = load_config(self._path, self._text("trial.toml"))
                except (ConfigError, Unavailable, OSError) as error:
                    self.roll_back(str(error))
                else:
                    running = self._running()
                    return Chosen(config, ConfigState(running, trial.version, "trying"), trial)
        return self._settled()

    def in_force(self) -> AgentConfig:
        """Return the configuration that the site runs with, or would; a trial is none."""
        return self._settled().config

    def judge(self, payload: bytes) -> Wanted | ConfigState | None:
        """Return what to try, or what is wrong with it; None where nothing has changed."""
        if not payload:
            return None  # the retained message was taken away
        try:
            desired = codecs.decode(payload, DesiredConfig, max_bytes=MOST_BYTES)
        except Malformed as error:
            return self._refuse(Version("?", _digest(payload)), str(error))
        try:
            text = desired.text or self._path.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            return self._refuse(Version(desired.version, _digest(payload)), f"{self._path}: {error}")
        version = Version(desired.version, _digest(f"{desired.version}\0{text}".encode()), desired.confirm_s)
        known = [self._read("active.json", Version), self._read("trial.json", Version)]
        if version.digest in {v.digest for v in known if v} or self._is_condemned(version):
            return None
        try:
            config = load_config(self._path, text)
        except ConfigError as error:
            return self._refuse(version, str(error))
        except Exception as error:
            # an agent that ends over what is retained for it ends at each start, and nobody can send it another
            log.exception("configuration_cannot_be_judged", version=version.version)
            return self._refuse(version, f"cannot be judged: {error!r}")
        if problem := self._moved(config):
            return self._refuse(version, problem)
        return Wanted(version, text, config, desired.force)

    def begin_trial(self, wanted: Wanted) -> None:
        """Let the next :meth:`choose` return it; raise :class:`Unavailable` when the disk does not take it."""
        self._write("trial.toml", wanted.text.encode())
        self._write("trial.json", msgspec.json.encode(wanted.version))
        log.info("configuration_trial", version=wanted.version.version, confirm_s=wanted.version.confirm_s)

    def refuse(self, wanted: Wanted, error: str) -> ConfigState:
        """Remember that the buses did not bear it."""
        return self._refuse(wanted.version, error)

    def confirm(self) -> ConfigState:
        """Make the trial the active version; raise :class:`Unavailable` when the disk does not take it."""
        trial = self._read("trial.json", Version)
        assert trial is not None, "only a trial is confirmed"
        self._write("active.toml", self._text("trial.toml").encode())
        self._write("active.json", msgspec.json.encode(trial))
        self._end_trial()
        (self._folder / "verdict.json").unlink(missing_ok=True)
        log.info("configuration_in_force", version=trial.version)
        return ConfigState(trial.version, trial.version)

    def roll_back(self, why: str) -> None:
        """Give the trial up; what ran before runs again."""
        trial = self._read("trial.json", Version)
        if trial is not None:
            verdict = Verdict(trial.version, trial.digest, "rolled_back", why)
            self._remember(verdict)
            log.error("configuration_rolled_back", version=trial.version, problem=why)
        self._end_trial()

    def _settled(self) -> Chosen:
        active, config = self._read("active.json", Version), self._own
        if active is not None:
            try:
                config = load_config(self._path, self._text("active.toml"))
            except (ConfigError, OSError) as error:  # a profile may have gone with an upgrade
                log.error("active_configuration_no_longer_fits", version=active.version, problem=str(error))
                state = ConfigState("", active.version, "rolled_back", str(error))
                return Chosen(self._own, state)
        running = active.version if active is not None else ""
        if (verdict := self._read("verdict.json", Verdict)) is not None:
            return Chosen(config, ConfigState(running, verdict.version, verdict.state, verdict.error))
        return Chosen(config, ConfigState(running, running))

    def _refuse(self, version: Version, error: str) -> ConfigState:
        verdict = Verdict(version.version, version.digest, "refused", error)
        self._remember(verdict)
        log.error("configuration_refused", version=version.version, problem=error)
        return ConfigState(self._running(), version.version, "refused", error)

    def _remember(self, verdict: Verdict) -> None:
        with contextlib.suppress(Unavailable):  # a full disk: it will be judged again, and alike
            self._write("verdict.json", msgspec.json.encode(verdict))

    def _running(self) -> str:
        active = self._read("active.json", Version)
        return active.version if active is not None else ""

    def _is_condemned(self, version: Version) -> bool:
        verdict = self._read("verdict.json", Verdict)
        return verdict is not None and verdict.digest == version.digest

    def _moved(self, config: AgentConfig) -> str:
        for name in _FIXED:
            new, own = _field(config, name), _field(self._own, name)
            if new != own:
                return f"$.{name}: '{new}' is not this agent's '{own}'; a site is given another name or place on the site"
        return ""

    def _end_trial(self) -> None:
        try:
            for name in ("trial.json", "trial.toml"):
                (self._folder / name).unlink(missing_ok=True)
            if self._folder.exists():
                _sync(self._folder)
        except OSError as error:  # a read-only disk: it ends anew at each start, and what ran before runs
            log.error("trial_not_ended_on_disk", problem=str(error), way_out="mend the disk")

    def _text(self, name: str) -> str:
        return (self._folder / name).read_text(encoding="utf-8")

    def _read(self, name: str, kind: type[T]) -> T | None:
        try:
            return msgspec.json.decode((self._folder / name).read_bytes(), type=kind)
        except (OSError, msgspec.DecodeError):  # not there, or cut short: as if it were not
            return None

    def _write(self, name: str, data: bytes) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            new = self._folder / f"{name}.new"
            with new.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            new.replace(self._folder / name)
            _sync(self._folder)
        except OSError as error:
            raise Unavailable(f"{self._folder / name}: {error.strerror}") from None


def _field(config: AgentConfig, name: str) -> object:
    value: object = config
    for part in name.split("."):
        value = getattr(value, part)
    return value


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def _sync(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
