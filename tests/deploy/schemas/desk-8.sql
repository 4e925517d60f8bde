CREATE TABLE alarm_events (
	id VARCHAR(128) NOT NULL, 
	alarm VARCHAR(64) NOT NULL, 
	at_ms BIGINT NOT NULL, 
	kind VARCHAR(32) NOT NULL, 
	body BLOB NOT NULL, 
	PRIMARY KEY (id)
);
CREATE TABLE alarms (
	id VARCHAR(64) NOT NULL, 
	device VARCHAR(64) NOT NULL, 
	rule VARCHAR(128) NOT NULL, 
	is_active BOOLEAN NOT NULL, 
	is_open BOOLEAN NOT NULL, 
	received_ms BIGINT NOT NULL, 
	body BLOB NOT NULL, 
	severity INTEGER DEFAULT 0 NOT NULL, 
	category VARCHAR(32) DEFAULT '' NOT NULL, 
	class VARCHAR(64) DEFAULT '' NOT NULL, 
	asks BOOLEAN DEFAULT 0 NOT NULL, 
	PRIMARY KEY (id)
);
CREATE TABLE answer_links (
	"key" VARCHAR(64) NOT NULL, 
	notice VARCHAR(160) NOT NULL, 
	alarm VARCHAR(64) NOT NULL, 
	person VARCHAR(64) NOT NULL, 
	channel VARCHAR(64) NOT NULL, 
	ends_ms BIGINT NOT NULL, 
	used_ms BIGINT, 
	PRIMARY KEY ("key")
);
CREATE TABLE audit (
	seq INTEGER NOT NULL, 
	at_ms BIGINT NOT NULL, 
	who VARCHAR(64) NOT NULL, 
	what VARCHAR(64) NOT NULL, 
	target VARCHAR(128) NOT NULL, 
	body BLOB NOT NULL, 
	hash BLOB NOT NULL, 
	PRIMARY KEY (seq)
);
CREATE TABLE contacts (
	"key" VARCHAR(64) NOT NULL, 
	person VARCHAR(64) NOT NULL, 
	channel VARCHAR(64) NOT NULL, 
	code VARCHAR(64) NOT NULL, 
	sent_ms BIGINT NOT NULL, 
	tries INTEGER NOT NULL, 
	proven_ms BIGINT, 
	"by" VARCHAR(64) NOT NULL, 
	reason VARCHAR(200) NOT NULL, 
	PRIMARY KEY ("key")
);
CREATE TABLE feed_quarantine (
	id INTEGER NOT NULL, 
	at_ms BIGINT NOT NULL, 
	reason TEXT NOT NULL, 
	payload BLOB NOT NULL, 
	PRIMARY KEY (id)
);
CREATE TABLE holds (
	id VARCHAR(32) NOT NULL, 
	kind VARCHAR(16) NOT NULL, 
	device VARCHAR(64) NOT NULL, 
	rule VARCHAR(128) NOT NULL, 
	since_ms BIGINT NOT NULL, 
	until_ms BIGINT NOT NULL, 
	is_applied BOOLEAN NOT NULL, 
	over_ms BIGINT, 
	body BLOB NOT NULL, 
	PRIMARY KEY (id)
);
CREATE TABLE incident_alarms (
	alarm VARCHAR(64) NOT NULL, 
	incident VARCHAR(80) NOT NULL, 
	device VARCHAR(64) NOT NULL, 
	rule VARCHAR(128) NOT NULL, 
	site VARCHAR(64) NOT NULL, 
	began_ms BIGINT NOT NULL, 
	joined_ms BIGINT NOT NULL, 
	body BLOB NOT NULL, 
	PRIMARY KEY (alarm)
);
CREATE TABLE incident_events (
	id INTEGER NOT NULL, 
	incident VARCHAR(80) NOT NULL, 
	at_ms BIGINT NOT NULL, 
	kind VARCHAR(32) NOT NULL, 
	body BLOB NOT NULL, 
	PRIMARY KEY (id)
);
CREATE TABLE incidents (
	id VARCHAR(80) NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	opened_ms BIGINT NOT NULL, 
	closed_ms BIGINT, 
	worst INTEGER NOT NULL, 
	body BLOB NOT NULL, 
	PRIMARY KEY (id)
);
CREATE TABLE links (
	"key" VARCHAR(64) NOT NULL, 
	kind VARCHAR(16) NOT NULL, 
	login VARCHAR(64) NOT NULL, 
	ends_ms BIGINT NOT NULL, 
	used_ms BIGINT, 
	totp VARCHAR(128) NOT NULL, 
	PRIMARY KEY ("key")
);
CREATE TABLE login_failures (
	"key" VARCHAR(96) NOT NULL, 
	times INTEGER NOT NULL, 
	last_ms BIGINT NOT NULL, 
	until_ms BIGINT NOT NULL, 
	PRIMARY KEY ("key")
);
CREATE TABLE notice_steps (
	id VARCHAR(96) NOT NULL, 
	alarm VARCHAR(64) NOT NULL, 
	due_ms BIGINT NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	body BLOB NOT NULL, 
	PRIMARY KEY (id)
);
CREATE TABLE notices (
	id VARCHAR(160) NOT NULL, 
	alarm VARCHAR(64) NOT NULL, 
	person VARCHAR(64) NOT NULL, 
	channel VARCHAR(64) NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	urgent BOOLEAN NOT NULL, 
	rank INTEGER NOT NULL, 
	due_ms BIGINT NOT NULL, 
	created_ms BIGINT NOT NULL, 
	sent_ms BIGINT, 
	done_ms BIGINT, 
	attempts INTEGER NOT NULL, 
	provider_id VARCHAR(128), 
	bundle VARCHAR(160), 
	body BLOB NOT NULL, 
	PRIMARY KEY (id)
);
CREATE TABLE plan_actions (
	id VARCHAR(64) NOT NULL, 
	run VARCHAR(96) NOT NULL, 
	"plan" VARCHAR(64) NOT NULL, 
	device VARCHAR(64) NOT NULL, 
	metric VARCHAR(64) NOT NULL, 
	mode VARCHAR(16) NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	created_ms BIGINT NOT NULL, 
	not_after BIGINT NOT NULL, 
	body BLOB NOT NULL, 
	PRIMARY KEY (id)
);
CREATE TABLE plan_runs (
	id VARCHAR(96) NOT NULL, 
	"plan" VARCHAR(64) NOT NULL, 
	mode VARCHAR(16) NOT NULL, 
	began_ms BIGINT NOT NULL, 
	body BLOB NOT NULL, 
	PRIMARY KEY (id)
);
CREATE TABLE registry_kept (
	name VARCHAR(16) NOT NULL, 
	body BLOB NOT NULL, 
	PRIMARY KEY (name)
);
CREATE TABLE sessions (
	id VARCHAR(32) NOT NULL, 
	"key" VARCHAR(64) NOT NULL, 
	kind VARCHAR(16) NOT NULL, 
	login VARCHAR(64) NOT NULL, 
	created_ms BIGINT NOT NULL, 
	seen_ms BIGINT NOT NULL, 
	ends_ms BIGINT NOT NULL, 
	over_ms BIGINT, 
	address VARCHAR(64) NOT NULL, 
	browser VARCHAR(200) NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE ("key")
);
CREATE TABLE users (
	login VARCHAR(64) NOT NULL, 
	name VARCHAR(64) NOT NULL, 
	body BLOB NOT NULL, 
	PRIMARY KEY (login), 
	UNIQUE (name)
);
CREATE TABLE warnings (
	id VARCHAR(128) NOT NULL, 
	about VARCHAR(96) NOT NULL, 
	kind VARCHAR(16) NOT NULL, 
	status VARCHAR(16) NOT NULL, 
	scope VARCHAR(16) NOT NULL, 
	sent_ms BIGINT NOT NULL, 
	body BLOB NOT NULL, 
	xml BLOB NOT NULL, 
	PRIMARY KEY (id)
);
CREATE TABLE warnings_in (
	id VARCHAR(64) NOT NULL, 
	at_ms BIGINT NOT NULL, 
	until_ms BIGINT NOT NULL, 
	body BLOB NOT NULL, 
	xml BLOB NOT NULL, 
	PRIMARY KEY (id)
);
CREATE INDEX actions_made ON plan_actions ("plan", created_ms);
CREATE INDEX actions_of ON plan_actions (state, not_after);
CREATE INDEX alarms_listed ON alarms (is_open, received_ms, severity, category, class, asks, rule);
CREATE INDEX alarms_of ON alarms (device, rule, is_active);
CREATE UNIQUE INDEX alarms_one_active ON alarms (device, rule) WHERE is_active;
CREATE INDEX alarms_received ON alarms (received_ms);
CREATE INDEX alarms_worst ON alarms (is_open, severity, received_ms);
CREATE INDEX holds_of ON holds (device, over_ms);
CREATE INDEX holds_until ON holds (over_ms, until_ms);
CREATE INDEX incidents_by_state ON incidents (state, opened_ms);
CREATE INDEX ix_alarm_events_alarm ON alarm_events (alarm);
CREATE INDEX ix_answer_links_ends_ms ON answer_links (ends_ms);
CREATE INDEX ix_answer_links_notice ON answer_links (notice);
CREATE INDEX ix_incident_alarms_incident ON incident_alarms (incident);
CREATE INDEX ix_incident_events_incident ON incident_events (incident);
CREATE INDEX ix_notice_steps_alarm ON notice_steps (alarm);
CREATE INDEX ix_notices_alarm ON notices (alarm);
CREATE INDEX ix_plan_actions_run ON plan_actions (run);
CREATE INDEX ix_sessions_login ON sessions (login);
CREATE INDEX ix_warnings_about ON warnings (about);
CREATE INDEX ix_warnings_in_at_ms ON warnings_in (at_ms);
CREATE INDEX ix_warnings_sent_ms ON warnings (sent_ms);
CREATE INDEX notices_due ON notices (channel, state, due_ms);
CREATE INDEX notices_provider ON notices (channel, provider_id);
CREATE INDEX notices_sent ON notices (channel, sent_ms);
CREATE INDEX steps_due ON notice_steps (state, due_ms);
