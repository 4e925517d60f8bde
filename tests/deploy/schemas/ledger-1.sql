BEGIN TRANSACTION;
CREATE TABLE accounts (
    agent TEXT, hour_ms INTEGER, account TEXT, samples INTEGER NOT NULL, PRIMARY KEY (agent, hour_ms, account)
) WITHOUT ROWID;
INSERT INTO "accounts" VALUES('edge-01',1763996400000,'received',4);
CREATE TABLE clocks (agent TEXT PRIMARY KEY, shift_ms INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO "clocks" VALUES('edge-02',3600000);
CREATE TABLE committed (agent TEXT, boot TEXT, ranges TEXT NOT NULL, PRIMARY KEY (agent, boot)) WITHOUT ROWID;
INSERT INTO "committed" VALUES('edge-01','b','[[1,3],[5,5]]');
CREATE TABLE frames (
    id INTEGER PRIMARY KEY AUTOINCREMENT, class TEXT NOT NULL, at_ms INTEGER NOT NULL,
    frame BLOB NOT NULL, uploads BLOB NOT NULL, counts BLOB NOT NULL
);
CREATE TABLE gaps (agent TEXT, cause TEXT, samples INTEGER, start INTEGER, "end" INTEGER, at_ms INTEGER);
CREATE TABLE outbox (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    priority INTEGER NOT NULL, samples INTEGER NOT NULL, put_ms INTEGER NOT NULL,
    payload BLOB NOT NULL, gap BLOB
);
INSERT INTO "outbox" VALUES(1,1,0,1795574593735,X'616C61726D2031',NULL);
CREATE TABLE outbox_meta (key TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID;
INSERT INTO "outbox_meta" VALUES('boot','df8208876b9c');
INSERT INTO "outbox_meta" VALUES('made',0);
CREATE TABLE quarantine (
    id INTEGER PRIMARY KEY AUTOINCREMENT, at_ms INTEGER NOT NULL, agent TEXT NOT NULL, origin TEXT NOT NULL,
    reason TEXT NOT NULL, detail TEXT NOT NULL, samples INTEGER NOT NULL, payload BLOB NOT NULL,
    made_ms INTEGER NOT NULL, again INTEGER NOT NULL DEFAULT 0
);
INSERT INTO "quarantine" VALUES(1,1764000000000,'edge-01','upload','unknown_device','no ''x''',2,X'7B22646576696365223A2278227D',1764000000000,0);
CREATE TABLE rule_state (class TEXT PRIMARY KEY, upto INTEGER NOT NULL, data BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE stored (one INTEGER PRIMARY KEY CHECK (one = 1), upto INTEGER NOT NULL);
INSERT INTO "stored" VALUES(1,0);
CREATE INDEX quarantine_again ON quarantine (again) WHERE again;
CREATE INDEX outbox_order ON outbox (priority DESC, seq);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('quarantine',1);
INSERT INTO "sqlite_sequence" VALUES('outbox',1);
COMMIT;
