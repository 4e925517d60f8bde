"""Can ingest run as it is configured?  Each part is asked for itself."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

from cloud_ingest.judging import Packs
from cloud_ingest.registry.keeper import Keeper
from device_profiles.vocabulary import load_classes
from telemetry.clock import SystemClock
from telemetry.errors import YemaiError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cloud_ingest.config import IngestConfig

_TIMEOUT_S = 5.0


def check_all(config: IngestConfig) -> Iterator[tuple[str, str]]:
    """Return each part with its problem, ``""`` where there is none.  Nothing is changed but what a start changes too."""
    for part, ask in (
        ("rules", _rules),
        ("ledger", _ledger),
        ("registry", _registry),
        ("store", _store),
        ("broker", _broker),
    ):
        yield part, _problem(config, ask)


def _problem(config: IngestConfig, ask: Callable[[IngestConfig], None]) -> str:
    try:
        ask(config)
    except (YemaiError, OSError) as error:
        return str(error)
    return ""


def _rules(config: IngestConfig) -> None:
    Packs(config.rules.folder, load_classes()).engine()


def _ledger(config: IngestConfig) -> None:
    folder = config.ledger.path.parent
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(config.ledger.path if config.ledger.path.exists() else folder, os.W_OK):
        raise PermissionError(f"{config.ledger.path} cannot be written by this user")


def _registry(config: IngestConfig) -> None:
    keeper = Keeper(config.registry, config.producer, SystemClock())
    try:
        keeper.open()
    finally:
        keeper.close()


def _store(config: IngestConfig) -> None:
    store = config.store.module.Store(config.store.config, load_classes(), lambda _: {})
    try:
        store.check()
    finally:
        store.close()


def _broker(config: IngestConfig) -> None:
    where = (config.broker.host, config.broker.port)
    try:
        socket.create_connection(where, _TIMEOUT_S).close()
    except OSError as error:
        raise OSError(f"no broker at {where[0]}:{where[1]}: {error}") from None
