CREATE TABLE accounts (
    agent TEXT, hour_ms INTEGER, account TEXT, samples INTEGER NOT NULL, PRIMARY KEY (agent, hour_ms, account)
) WITHOUT ROWID;
CREATE TABLE actions (
    id TEXT, step TEXT, agent TEXT NOT NULL, device TEXT NOT NULL, at_ms INTEGER NOT NULL, body TEXT NOT NULL,
    PRIMARY KEY (id, step)
) WITHOUT ROWID;
CREATE TABLE clocks (agent TEXT PRIMARY KEY, shift_ms INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE committed (
    agent TEXT, boot TEXT, ranges TEXT NOT NULL, used INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (agent, boot)
) WITHOUT ROWID;
CREATE TABLE frames (
    id INTEGER PRIMARY KEY AUTOINCREMENT, class TEXT NOT NULL, at_ms INTEGER NOT NULL,
    frame BLOB NOT NULL, uploads BLOB NOT NULL, counts BLOB NOT NULL
);
CREATE TABLE gaps (agent TEXT, cause TEXT, samples INTEGER, start INTEGER, "end" INTEGER, at_ms INTEGER);
CREATE TABLE quarantine (
    id INTEGER PRIMARY KEY AUTOINCREMENT, at_ms INTEGER NOT NULL, agent TEXT NOT NULL, origin TEXT NOT NULL,
    reason TEXT NOT NULL, detail TEXT NOT NULL, samples INTEGER NOT NULL, payload BLOB NOT NULL,
    made_ms INTEGER NOT NULL, again INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE rule_state (class TEXT PRIMARY KEY, upto INTEGER NOT NULL, data BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE rule_state_aside (class TEXT PRIMARY KEY, data BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE stored (one INTEGER PRIMARY KEY CHECK (one = 1), upto INTEGER NOT NULL);
CREATE TABLE writing (one INTEGER PRIMARY KEY CHECK (one = 1), upto INTEGER NOT NULL, replaces BLOB NOT NULL);
CREATE INDEX actions_order ON actions (at_ms);
CREATE INDEX quarantine_again ON quarantine (again) WHERE again;
