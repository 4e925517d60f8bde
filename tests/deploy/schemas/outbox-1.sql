CREATE TABLE outbox (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    priority INTEGER NOT NULL, samples INTEGER NOT NULL, put_ms INTEGER NOT NULL,
    payload BLOB NOT NULL, gap BLOB
);
CREATE TABLE outbox_meta (key TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID;
CREATE INDEX outbox_order ON outbox (priority DESC, seq);
