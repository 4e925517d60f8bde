"""The desk's tables, for SQLite and PostgreSQL alike; times are UTC milliseconds, bodies are JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from sqlalchemy.ext.asyncio import AsyncConnection

metadata = sa.MetaData()
_Counter = sa.BigInteger().with_variant(sa.Integer, "sqlite")

alarms = sa.Table(
    "alarms",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("device", sa.String(64), nullable=False),
    sa.Column("rule", sa.String(128), nullable=False),
    sa.Column("is_active", sa.Boolean, nullable=False),
    sa.Column("is_open", sa.Boolean, nullable=False),
    sa.Column("received_ms", sa.BigInteger, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    # what the list is filtered and sorted by, as the body has it; see ``listing.py``
    sa.Column("severity", sa.Integer, nullable=False, server_default=sa.text("0")),
    sa.Column("category", sa.String(32), nullable=False, server_default=sa.text("''")),
    sa.Column("class", sa.String(64), nullable=False, server_default=sa.text("''")),
    sa.Column("asks", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Index("alarms_listed", "is_open", "received_ms", "severity", "category", "class", "asks", "rule"),
    sa.Index("alarms_worst", "is_open", "severity", "received_ms"),
    sa.Index("alarms_received", "received_ms"),
    sa.Index("alarms_of", "device", "rule", "is_active"),
)
sa.Index(  # the database itself keeps two alarms of one rule on one device from standing at once
    "alarms_one_active",
    alarms.c.device,
    alarms.c.rule,
    unique=True,
    sqlite_where=alarms.c.is_active,
    postgresql_where=alarms.c.is_active,
)

events = sa.Table(  # append-only: what the feed said and what people did
    "alarm_events",
    metadata,
    sa.Column("id", sa.String(128), primary_key=True),  # a transition's id, or <alarm>#<version>
    sa.Column("alarm", sa.String(64), nullable=False, index=True),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
    sa.Column("kind", sa.String(32), nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
)

quarantine = sa.Table(
    "feed_quarantine",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("payload", sa.LargeBinary, nullable=False),
)

holds = sa.Table(  # what is shelved or out of service: a rule on a device, or a whole device (rule '')
    "holds",
    metadata,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("device", sa.String(64), nullable=False),
    sa.Column("rule", sa.String(128), nullable=False),
    sa.Column("since_ms", sa.BigInteger, nullable=False),
    sa.Column("until_ms", sa.BigInteger, nullable=False),
    sa.Column("is_applied", sa.Boolean, nullable=False),
    sa.Column("over_ms", sa.BigInteger),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Index("holds_of", "device", "over_ms"),
    sa.Index("holds_until", "over_ms", "until_ms"),
)

audit = sa.Table(
    "audit",
    metadata,
    sa.Column("seq", _Counter, primary_key=True, autoincrement=False),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
    sa.Column("who", sa.String(64), nullable=False),
    sa.Column("what", sa.String(64), nullable=False),
    sa.Column("target", sa.String(128), nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Column("hash", sa.LargeBinary, nullable=False),
)

steps = sa.Table(  # when whom to tell about an alarm: one row a step of its policy
    "notice_steps",
    metadata,
    sa.Column("id", sa.String(96), primary_key=True),  # <alarm>/<round>.<step>
    sa.Column("alarm", sa.String(64), nullable=False, index=True),
    sa.Column("due_ms", sa.BigInteger, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Index("steps_due", "state", "due_ms"),
)

notices = sa.Table(  # one message to one person by one channel; its id is the idempotency key
    "notices",
    metadata,
    sa.Column("id", sa.String(160), primary_key=True),
    sa.Column("alarm", sa.String(64), nullable=False, index=True),
    sa.Column("person", sa.String(64), nullable=False),
    sa.Column("channel", sa.String(64), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("urgent", sa.Boolean, nullable=False),
    sa.Column("rank", sa.Integer, nullable=False),
    sa.Column("due_ms", sa.BigInteger, nullable=False),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    sa.Column("sent_ms", sa.BigInteger),
    sa.Column("done_ms", sa.BigInteger),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("provider_id", sa.String(128)),
    sa.Column("bundle", sa.String(160)),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Index("notices_due", "channel", "state", "due_ms"),
    sa.Index("notices_sent", "channel", "sent_ms"),
    sa.Index("notices_provider", "channel", "provider_id"),
)

kept = sa.Table(  # what ingest last told of devices and sites
    "registry_kept",
    metadata,
    sa.Column("name", sa.String(16), primary_key=True),
    sa.Column("body", sa.LargeBinary, nullable=False),
)

runs = sa.Table(  # one plan at work on one alarm, or a drill of it
    "plan_runs",
    metadata,
    sa.Column("id", sa.String(96), primary_key=True),  # the alarm's id, or drill/…
    sa.Column("plan", sa.String(64), nullable=False),
    sa.Column("mode", sa.String(16), nullable=False),
    sa.Column("began_ms", sa.BigInteger, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
)

actions = sa.Table(  # one order to one device; its id is good for one execution
    "plan_actions",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("run", sa.String(96), nullable=False, index=True),
    sa.Column("plan", sa.String(64), nullable=False),
    sa.Column("device", sa.String(64), nullable=False),
    sa.Column("metric", sa.String(64), nullable=False),
    sa.Column("mode", sa.String(16), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    sa.Column("not_after", sa.BigInteger, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Index("actions_of", "state", "not_after"),
    sa.Index("actions_made", "plan", "created_ms"),
)

incidents = sa.Table(  # alarms that are one business
    "incidents",
    metadata,
    sa.Column("id", sa.String(80), primary_key=True),  # inc-<its first alarm>
    sa.Column("state", sa.String(16), nullable=False),  # open, closed, merged
    sa.Column("opened_ms", sa.BigInteger, nullable=False),
    sa.Column("closed_ms", sa.BigInteger),
    sa.Column("worst", sa.Integer, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Index("incidents_by_state", "state", "opened_ms"),
)

incident_alarms = sa.Table(  # which alarm is whose, and why
    "incident_alarms",
    metadata,
    sa.Column("alarm", sa.String(64), primary_key=True),
    sa.Column("incident", sa.String(80), nullable=False, index=True),
    sa.Column("device", sa.String(64), nullable=False),
    sa.Column("rule", sa.String(128), nullable=False),
    sa.Column("site", sa.String(64), nullable=False),
    sa.Column("began_ms", sa.BigInteger, nullable=False),
    sa.Column("joined_ms", sa.BigInteger, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
)

incident_events = sa.Table(  # append-only: what became of an incident beyond what its alarms and plans tell
    "incident_events",
    metadata,
    sa.Column("id", _Counter, primary_key=True, autoincrement=True),
    sa.Column("incident", sa.String(80), nullable=False, index=True),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
    sa.Column("kind", sa.String(32), nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
)

warnings = sa.Table(  # CAP messages that we issued, as they went out
    "warnings",
    metadata,
    sa.Column("id", sa.String(128), primary_key=True),  # CAP's identifier
    sa.Column("about", sa.String(96), nullable=False, index=True),  # the incident, or drill/…
    sa.Column("kind", sa.String(16), nullable=False),  # CAP's msgType
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("scope", sa.String(16), nullable=False),
    sa.Column("sent_ms", sa.BigInteger, nullable=False, index=True),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Column("xml", sa.LargeBinary, nullable=False),
)

warnings_in = sa.Table(  # CAP messages from outside, as they came
    "warnings_in",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),  # of sender, identifier and sent
    sa.Column("at_ms", sa.BigInteger, nullable=False, index=True),
    sa.Column("until_ms", sa.BigInteger, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Column("xml", sa.LargeBinary, nullable=False),
)

users = sa.Table(  # never deleted: the audit trail names them
    "users",
    metadata,
    sa.Column("login", sa.String(64), primary_key=True),
    sa.Column("name", sa.String(64), nullable=False, unique=True),
    sa.Column("body", sa.LargeBinary, nullable=False),
)

sessions = sa.Table(  # of a person or a wall; what the browser holds is only known by its hash
    "sessions",
    metadata,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("key", sa.String(64), nullable=False, unique=True),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("login", sa.String(64), nullable=False, index=True),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    sa.Column("seen_ms", sa.BigInteger, nullable=False),
    sa.Column("ends_ms", sa.BigInteger, nullable=False),
    sa.Column("over_ms", sa.BigInteger),
    sa.Column("address", sa.String(64), nullable=False),
    sa.Column("browser", sa.String(200), nullable=False),
)

links = sa.Table(  # good once; only the hash of what stands in the address is kept
    "links",
    metadata,
    sa.Column("key", sa.String(64), primary_key=True),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("login", sa.String(64), nullable=False),
    sa.Column("ends_ms", sa.BigInteger, nullable=False),
    sa.Column("used_ms", sa.BigInteger),
    sa.Column("totp", sa.String(128), nullable=False),  # sealed
)

failures = sa.Table(  # how often signing in failed in a row, for an account or an address
    "login_failures",
    metadata,
    sa.Column("key", sa.String(96), primary_key=True),
    sa.Column("times", sa.Integer, nullable=False),
    sa.Column("last_ms", sa.BigInteger, nullable=False),
    sa.Column("until_ms", sa.BigInteger, nullable=False),
)

contacts = (
    sa.Table(  # how a person is reached: proven by a code or by somebody's word, for the address it then had
        "contacts",
        metadata,
        sa.Column("key", sa.String(64), primary_key=True),  # hash of person, channel and address
        sa.Column("person", sa.String(64), nullable=False),
        sa.Column("channel", sa.String(64), nullable=False),
        sa.Column(
            "code", sa.String(64), nullable=False
        ),  # hash of the code that was sent; '' when none is good
        sa.Column("sent_ms", sa.BigInteger, nullable=False),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("proven_ms", sa.BigInteger),
        sa.Column("by", sa.String(64), nullable=False),
        sa.Column("reason", sa.String(200), nullable=False),  # of who vouched; '' for a code
    )
)

answer_links = (
    sa.Table(  # one in a message: acknowledges one alarm as one person, once; only its hash is kept
        "answer_links",
        metadata,
        sa.Column("key", sa.String(64), primary_key=True),
        sa.Column("notice", sa.String(160), nullable=False, index=True),
        sa.Column("alarm", sa.String(64), nullable=False),
        sa.Column("person", sa.String(64), nullable=False),
        sa.Column("channel", sa.String(64), nullable=False),
        sa.Column("ends_ms", sa.BigInteger, nullable=False, index=True),
        sa.Column("used_ms", sa.BigInteger),
    )
)


def among(db: AsyncConnection, column: sa.Column[Any], values: Iterable[str]) -> sa.ColumnElement[bool]:
    """Return that a column is one of any number of values: one parameter, where a database takes so many and no more."""
    wanted = sorted(values)
    if db.dialect.name == "sqlite":
        each = sa.func.json_each(json.dumps(wanted))
    else:
        each = sa.func.jsonb_array_elements_text(sa.cast(wanted, JSONB))
    return column.in_(sa.select(each.table_valued("value").c.value))
