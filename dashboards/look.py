"""How boards are to look and where they lead: language, data sources, the command centre's address."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from telemetry.errors import Refused

if TYPE_CHECKING:
    from telemetry.text import Text

Language = Literal["zh", "en"]
LANGUAGES: tuple[Language, ...] = ("zh", "en")
MOST_UID = 40  # characters that Grafana allows
MARK = "yemai"


class Look(msgspec.Struct, frozen=True):
    """``influx`` and ``prometheus`` are uids of Grafana's data sources; ``center`` is where operators see the page."""

    language: Language = "zh"
    center: str = "http://127.0.0.1:8686"
    influx: str = "yemai-influxdb"
    prometheus: str = "yemai-prometheus"

    def say(self, zh: str, en: str) -> str:
        """Return the half that this board's readers read."""
        return zh if self.language == "zh" else en

    def pick(self, text: Text) -> str:
        """Return this board's half of a text."""
        return self.say(text.zh, text.en)

    def uid(self, *parts: str) -> str:
        """Return the board's name for ever; :class:`Refused` when Grafana would not take it.

        >>> Look("en").uid("device", "ev_charger")
        'yemai-en-device-ev_charger'
        """
        uid = "-".join((MARK, self.language, *parts))
        if len(uid) > MOST_UID:
            raise Refused(
                f"board '{uid}' has a name of {len(uid)} characters, Grafana takes {MOST_UID}; shorten the class's name"
            )
        return uid

    @property
    def tag(self) -> str:
        """What marks our boards of this language in Grafana."""
        return f"{MARK}-{self.language}"

    @property
    def folder(self) -> tuple[str, str]:
        """Uid and title of the folder that holds them."""
        return f"{MARK}-{self.language}", self.say("叶脉", "Yemai")
