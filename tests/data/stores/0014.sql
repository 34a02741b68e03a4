BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0014');
CREATE TABLE alerts (
	id INTEGER NOT NULL, 
	spider VARCHAR(64) NOT NULL, 
	kind VARCHAR(20) NOT NULL, 
	since BIGINT NOT NULL, 
	told_at BIGINT NOT NULL, 
	over_at BIGINT, 
	error TEXT DEFAULT '' NOT NULL, 
	CONSTRAINT pk_alerts PRIMARY KEY (id)
);
CREATE TABLE api_requests (
	id INTEGER NOT NULL, 
	token VARCHAR(64) NOT NULL, 
	key_hash VARCHAR(64) NOT NULL, 
	request_hash VARCHAR(64) NOT NULL, 
	created_at BIGINT NOT NULL, 
	status INTEGER, 
	headers JSON, 
	body TEXT DEFAULT '' NOT NULL, 
	CONSTRAINT pk_api_requests PRIMARY KEY (id), 
	CONSTRAINT uq_api_requests_token_key_hash UNIQUE (token, key_hash)
);
CREATE TABLE api_tokens (
	id INTEGER NOT NULL, 
	name VARCHAR(64) NOT NULL, 
	token_hash VARCHAR(64) NOT NULL, 
	scope VARCHAR(10) NOT NULL, 
	created_at BIGINT NOT NULL, 
	last_used_at BIGINT, 
	revoked_at BIGINT, 
	CONSTRAINT pk_api_tokens PRIMARY KEY (id), 
	CONSTRAINT uq_api_tokens_name UNIQUE (name), 
	CONSTRAINT uq_api_tokens_token_hash UNIQUE (token_hash)
);
INSERT INTO "api_tokens" VALUES(1,'ci','0000000000000000000000000000000000000000000000000000000000000000','full',1796020145152231,NULL,NULL);
CREATE TABLE audit_log (
	id INTEGER NOT NULL, 
	at BIGINT NOT NULL, 
	who VARCHAR(120) NOT NULL, 
	source VARCHAR(120) NOT NULL, 
	action VARCHAR(64) NOT NULL, 
	target TEXT DEFAULT '' NOT NULL, 
	outcome TEXT DEFAULT '' NOT NULL, 
	CONSTRAINT pk_audit_log PRIMARY KEY (id)
);
INSERT INTO "audit_log" VALUES(1,1796020145152231,'ci','127.0.0.1','pause','spider shop','done');
CREATE TABLE changes (
	id INTEGER NOT NULL, 
	run_id INTEGER NOT NULL, 
	spider VARCHAR(64) NOT NULL, 
	"key" TEXT NOT NULL, 
	kind VARCHAR(10) NOT NULL, 
	at BIGINT NOT NULL, 
	"before" JSON NOT NULL, 
	"after" JSON NOT NULL, 
	page_key TEXT DEFAULT '' NOT NULL, 
	CONSTRAINT pk_changes PRIMARY KEY (id), 
	CONSTRAINT fk_changes_run_id FOREIGN KEY(run_id) REFERENCES runs (id)
);
CREATE TABLE console_sessions (
	id INTEGER NOT NULL, 
	id_hash VARCHAR(64) NOT NULL, 
	token_hash VARCHAR(64) NOT NULL, 
	token_name VARCHAR(64) NOT NULL, 
	source VARCHAR(120) NOT NULL, 
	created_at BIGINT NOT NULL, 
	last_seen_at BIGINT NOT NULL, 
	expires_at BIGINT NOT NULL, 
	CONSTRAINT pk_console_sessions PRIMARY KEY (id), 
	CONSTRAINT uq_console_sessions_id_hash UNIQUE (id_hash)
);
INSERT INTO "console_sessions" VALUES(1,'0000000000000000000000000000000000000000000000000000000000000000','1111111111111111111111111111111111111111111111111111111111111111','ci','127.0.0.1',1796029200000000,1796029200000000,1796115600000000);
CREATE TABLE cursors (
	kind VARCHAR(10) NOT NULL, 
	name VARCHAR(64) NOT NULL, 
	schedule TEXT NOT NULL, 
	planned BIGINT NOT NULL, 
	CONSTRAINT pk_cursors PRIMARY KEY (kind, name, schedule)
);
CREATE TABLE deliveries (
	id INTEGER NOT NULL, 
	message_id INTEGER NOT NULL, 
	at BIGINT NOT NULL, 
	attempt INTEGER NOT NULL, 
	accepted INTEGER NOT NULL, 
	refused INTEGER NOT NULL, 
	error TEXT DEFAULT '' NOT NULL, 
	CONSTRAINT pk_deliveries PRIMARY KEY (id), 
	CONSTRAINT fk_deliveries_message_id FOREIGN KEY(message_id) REFERENCES messages (id)
);
CREATE TABLE digest_mutes (
	name VARCHAR(64) NOT NULL, 
	until BIGINT NOT NULL, 
	CONSTRAINT pk_digest_mutes PRIMARY KEY (name)
);
CREATE TABLE digest_runs (
	name VARCHAR(64) NOT NULL, 
	run_id INTEGER NOT NULL, 
	digest_id INTEGER NOT NULL, 
	CONSTRAINT pk_digest_runs PRIMARY KEY (name, run_id), 
	CONSTRAINT fk_digest_runs_digest_id FOREIGN KEY(digest_id) REFERENCES digests (id), 
	CONSTRAINT fk_digest_runs_run_id FOREIGN KEY(run_id) REFERENCES runs (id)
);
CREATE TABLE digests (
	id INTEGER NOT NULL, 
	name VARCHAR(64) NOT NULL, 
	slot_key VARCHAR(120) NOT NULL, 
	created_at BIGINT NOT NULL, 
	closed_at BIGINT, 
	error TEXT DEFAULT '' NOT NULL, 
	lease_owner VARCHAR(120) DEFAULT '' NOT NULL, 
	lease_until BIGINT, 
	attempt INTEGER DEFAULT '0' NOT NULL, rebuild JSON, rebuild_of INTEGER, again JSON, 
	CONSTRAINT pk_digests PRIMARY KEY (id)
);
CREATE TABLE download_files (
	id INTEGER NOT NULL, 
	download_id INTEGER NOT NULL, 
	run_id INTEGER, 
	spider VARCHAR(64) NOT NULL, 
	url TEXT NOT NULL, 
	"key" TEXT NOT NULL, 
	name TEXT NOT NULL, 
	size_bytes INTEGER DEFAULT '0' NOT NULL, 
	sha256 VARCHAR(64) NOT NULL, 
	content_type TEXT NOT NULL, 
	fetched_at BIGINT NOT NULL, 
	doomed_at BIGINT, 
	CONSTRAINT pk_download_files PRIMARY KEY (id), 
	CONSTRAINT fk_download_files_download_id FOREIGN KEY(download_id) REFERENCES downloads (id), 
	CONSTRAINT fk_download_files_run_id FOREIGN KEY(run_id) REFERENCES runs (id), 
	CONSTRAINT uq_download_files_key UNIQUE ("key")
);
CREATE TABLE downloads (
	id INTEGER NOT NULL, 
	spider VARCHAR(64) NOT NULL, 
	url TEXT NOT NULL, 
	url_sha1 BLOB NOT NULL, 
	pass_id INTEGER NOT NULL, 
	item_key TEXT NOT NULL, 
	name TEXT DEFAULT '' NOT NULL, 
	referer TEXT DEFAULT '' NOT NULL, 
	headers JSON NOT NULL, 
	sha256_wanted TEXT DEFAULT '' NOT NULL, 
	state VARCHAR(10) NOT NULL, 
	not_before BIGINT, 
	requested_at BIGINT NOT NULL, 
	done_at BIGINT, 
	failures INTEGER DEFAULT '0' NOT NULL, 
	error TEXT DEFAULT '' NOT NULL, 
	part_key TEXT DEFAULT '' NOT NULL, 
	part_etag TEXT DEFAULT '' NOT NULL, 
	part_last_modified TEXT DEFAULT '' NOT NULL, 
	part_length INTEGER, 
	file_key TEXT DEFAULT '' NOT NULL, 
	etag TEXT DEFAULT '' NOT NULL, 
	last_modified TEXT DEFAULT '' NOT NULL, 
	file_sha256 TEXT DEFAULT '' NOT NULL, 
	file_size INTEGER, 
	lease_owner VARCHAR(120) DEFAULT '' NOT NULL, 
	lease_until BIGINT, 
	attempt INTEGER DEFAULT '0' NOT NULL, failed_passes INTEGER DEFAULT '0' NOT NULL, 
	CONSTRAINT pk_downloads PRIMARY KEY (id), 
	CONSTRAINT uq_downloads_spider_url_sha1 UNIQUE (spider, url_sha1)
);
CREATE TABLE edited_items (
	item_id INTEGER NOT NULL, 
	edits INTEGER NOT NULL, 
	CONSTRAINT pk_edited_items PRIMARY KEY (item_id)
);
CREATE TABLE frontier (
	id INTEGER NOT NULL, 
	pass_id INTEGER NOT NULL, 
	fingerprint BLOB NOT NULL, 
	url TEXT NOT NULL, 
	request JSON NOT NULL, 
	priority INTEGER NOT NULL, 
	depth INTEGER NOT NULL, 
	state VARCHAR(10) NOT NULL, 
	status INTEGER, 
	error TEXT DEFAULT '' NOT NULL, member_id INTEGER, 
	CONSTRAINT pk_frontier PRIMARY KEY (id), 
	CONSTRAINT fk_frontier_pass_id FOREIGN KEY(pass_id) REFERENCES passes (id), 
	CONSTRAINT uq_frontier_pass_id_fingerprint UNIQUE (pass_id, fingerprint)
);
CREATE TABLE host_pauses (
	host VARCHAR(320) NOT NULL, 
	until BIGINT NOT NULL, 
	spider VARCHAR(64) NOT NULL, 
	CONSTRAINT pk_host_pauses PRIMARY KEY (host)
);
CREATE TABLE host_permits (
	host VARCHAR(320) NOT NULL, 
	number INTEGER NOT NULL, 
	owner VARCHAR(120) NOT NULL, 
	until BIGINT NOT NULL, 
	CONSTRAINT pk_host_permits PRIMARY KEY (host, number)
);
CREATE TABLE host_turns (
	host VARCHAR(320) NOT NULL, 
	free_at BIGINT NOT NULL, 
	CONSTRAINT pk_host_turns PRIMARY KEY (host)
);
CREATE TABLE host_waits (
	host VARCHAR(320) NOT NULL, 
	owner VARCHAR(120) NOT NULL, 
	since BIGINT NOT NULL, 
	until BIGINT NOT NULL, 
	CONSTRAINT pk_host_waits PRIMARY KEY (host, owner)
);
CREATE TABLE items (
	id INTEGER NOT NULL, 
	spider VARCHAR(64) NOT NULL, 
	"key" TEXT NOT NULL, 
	data JSON NOT NULL, 
	reported JSON, 
	present BOOLEAN NOT NULL, 
	first_seen_at BIGINT NOT NULL, 
	changed_at BIGINT NOT NULL, 
	pass_id INTEGER NOT NULL, 
	CONSTRAINT pk_items PRIMARY KEY (id), 
	CONSTRAINT uq_items_spider_key UNIQUE (spider, "key")
);
CREATE TABLE login_cookies (
	id INTEGER NOT NULL, 
	spider VARCHAR(64) NOT NULL, 
	name TEXT NOT NULL, 
	site TEXT NOT NULL, 
	login_at BIGINT NOT NULL, 
	brought_in BOOLEAN NOT NULL, 
	ends_at BIGINT NOT NULL, 
	CONSTRAINT pk_login_cookies PRIMARY KEY (id)
);
CREATE TABLE mendings (
	id INTEGER NOT NULL, 
	spider VARCHAR(64) NOT NULL, 
	pass_id INTEGER NOT NULL, 
	run_id INTEGER NOT NULL, 
	created_at BIGINT NOT NULL, 
	state VARCHAR(10) DEFAULT 'waiting' NOT NULL, 
	report JSON DEFAULT '{}' NOT NULL, 
	lease_owner VARCHAR(120) DEFAULT '' NOT NULL, 
	lease_until BIGINT, 
	attempt INTEGER DEFAULT '0' NOT NULL, 
	CONSTRAINT pk_mendings PRIMARY KEY (id), 
	CONSTRAINT uq_mendings_spider UNIQUE (spider)
);
CREATE TABLE messages (
	id INTEGER NOT NULL, 
	digest_id INTEGER, 
	message_id VARCHAR(255) NOT NULL, 
	subject TEXT DEFAULT '' NOT NULL, 
	sender TEXT NOT NULL, 
	file_key TEXT NOT NULL, 
	size_bytes INTEGER DEFAULT '0' NOT NULL, 
	state VARCHAR(10) NOT NULL, 
	created_at BIGINT NOT NULL, 
	next_attempt_at BIGINT NOT NULL, 
	sent_at BIGINT, 
	last_error TEXT DEFAULT '' NOT NULL, 
	lease_owner VARCHAR(120) DEFAULT '' NOT NULL, 
	lease_until BIGINT, 
	attempt INTEGER DEFAULT '0' NOT NULL, recipients_of INTEGER DEFAULT '0' NOT NULL, channel TEXT DEFAULT '' NOT NULL, 
	CONSTRAINT pk_messages PRIMARY KEY (id), 
	CONSTRAINT fk_messages_digest_id FOREIGN KEY(digest_id) REFERENCES digests (id), 
	CONSTRAINT uq_messages_message_id UNIQUE (message_id)
);
INSERT INTO "messages" VALUES(1,NULL,'<1@here>','News','me@here','messages/1-1.eml',100,'waiting',1795348800000000,1795348800000000,NULL,'','',NULL,0,0,'');
CREATE TABLE nodes (
	owner VARCHAR(120) NOT NULL, 
	name VARCHAR(120) NOT NULL, 
	version VARCHAR(40) NOT NULL, 
	schema VARCHAR(32) NOT NULL, 
	started_at BIGINT NOT NULL, 
	seen_at BIGINT NOT NULL, 
	roles JSON DEFAULT '[]' NOT NULL, 
	queues JSON DEFAULT '[]' NOT NULL, 
	concurrency INTEGER DEFAULT '0' NOT NULL, 
	running INTEGER DEFAULT '0' NOT NULL, 
	load FLOAT DEFAULT '0' NOT NULL, 
	clock_skew_s FLOAT DEFAULT '0' NOT NULL, 
	leader BOOLEAN NOT NULL, 
	stopping BOOLEAN NOT NULL, 
	settings VARCHAR(16) DEFAULT '' NOT NULL, 
	CONSTRAINT pk_nodes PRIMARY KEY (owner)
);
CREATE TABLE pages (
	id INTEGER NOT NULL, 
	pass_id INTEGER NOT NULL, 
	run_id INTEGER NOT NULL, 
	url TEXT NOT NULL, 
	status INTEGER NOT NULL, 
	fetched_at BIGINT NOT NULL, 
	size_bytes INTEGER DEFAULT '0' NOT NULL, 
	items INTEGER DEFAULT '0' NOT NULL, outcome VARCHAR(12) DEFAULT 'fetched' NOT NULL, error TEXT DEFAULT '' NOT NULL, duration_ms INTEGER, changes INTEGER DEFAULT '0' NOT NULL, 
	CONSTRAINT pk_pages PRIMARY KEY (id), 
	CONSTRAINT fk_pages_pass_id FOREIGN KEY(pass_id) REFERENCES passes (id), 
	CONSTRAINT fk_pages_run_id FOREIGN KEY(run_id) REFERENCES runs (id)
);
INSERT INTO "pages" VALUES(1,1,1,'https://shop.example/',200,1795348800000000,5000,3,'fetched','',NULL,0);
CREATE TABLE passes (
	id INTEGER NOT NULL, 
	spider VARCHAR(64) NOT NULL, 
	slot_id INTEGER NOT NULL, 
	opened_at BIGINT NOT NULL, 
	closed_at BIGINT, 
	complete BOOLEAN NOT NULL, 
	resumable BOOLEAN NOT NULL, 
	coverage JSON DEFAULT '{}' NOT NULL, 
	CONSTRAINT pk_passes PRIMARY KEY (id), 
	CONSTRAINT fk_passes_slot_id FOREIGN KEY(slot_id) REFERENCES slots (id), 
	CONSTRAINT uq_passes_slot_id UNIQUE (slot_id)
);
INSERT INTO "passes" VALUES(1,'shop',1,1795348800000000,1795348800000000,1,1,'{}');
INSERT INTO "passes" VALUES(2,'shop',2,1795348800000000,NULL,0,1,'{}');
CREATE TABLE paused (
	spider VARCHAR(64) NOT NULL, 
	since BIGINT NOT NULL, until BIGINT, reason TEXT DEFAULT '' NOT NULL, 
	CONSTRAINT pk_paused PRIMARY KEY (spider)
);
CREATE TABLE pulse (
	host VARCHAR(120) NOT NULL, 
	at BIGINT NOT NULL, 
	CONSTRAINT pk_pulse PRIMARY KEY (host)
);
CREATE TABLE recipients (
	message_id INTEGER NOT NULL, 
	address VARCHAR(320) NOT NULL, 
	state VARCHAR(10) NOT NULL, 
	code INTEGER NOT NULL, 
	answer TEXT DEFAULT '' NOT NULL, seen_at BIGINT, 
	CONSTRAINT pk_recipients PRIMARY KEY (message_id, address), 
	CONSTRAINT fk_recipients_message_id FOREIGN KEY(message_id) REFERENCES messages (id)
);
INSERT INTO "recipients" VALUES(1,'a@there','waiting',0,'',NULL);
CREATE TABLE rejects (
	id INTEGER NOT NULL, 
	run_id INTEGER NOT NULL, 
	spider VARCHAR(64) NOT NULL, 
	"key" TEXT NOT NULL, 
	url TEXT NOT NULL, 
	reason TEXT NOT NULL, 
	data JSON NOT NULL, 
	at BIGINT NOT NULL, 
	CONSTRAINT pk_rejects PRIMARY KEY (id), 
	CONSTRAINT fk_rejects_run_id FOREIGN KEY(run_id) REFERENCES runs (id)
);
CREATE TABLE run_members (
	id INTEGER NOT NULL, 
	run_id INTEGER NOT NULL, 
	joined_at BIGINT NOT NULL, 
	ended_at BIGINT, 
	report JSON DEFAULT '{}' NOT NULL, 
	lease_owner VARCHAR(120) DEFAULT '' NOT NULL, 
	lease_until BIGINT, 
	attempt INTEGER DEFAULT '0' NOT NULL, 
	CONSTRAINT pk_run_members PRIMARY KEY (id), 
	CONSTRAINT fk_run_members_run_id FOREIGN KEY(run_id) REFERENCES runs (id)
);
CREATE TABLE runs (
	id INTEGER NOT NULL, 
	pass_id INTEGER NOT NULL, 
	slot_id INTEGER NOT NULL, 
	spider VARCHAR(64) NOT NULL, 
	reason VARCHAR(20) NOT NULL, 
	due_at BIGINT NOT NULL, 
	created_at BIGINT NOT NULL, 
	not_before BIGINT, 
	started_at BIGINT, 
	ended_at BIGINT, 
	outcome VARCHAR(20), 
	complete BOOLEAN NOT NULL, 
	suspect BOOLEAN NOT NULL, 
	error_kind VARCHAR(60) NOT NULL, 
	error TEXT DEFAULT '' NOT NULL, 
	progress JSON NOT NULL, 
	transfers JSON DEFAULT '[]' NOT NULL, 
	lease_owner VARCHAR(120) DEFAULT '' NOT NULL, 
	lease_until BIGINT, 
	attempt INTEGER DEFAULT '0' NOT NULL, queue VARCHAR(64) DEFAULT 'default' NOT NULL, stop_requested_at BIGINT, 
	CONSTRAINT pk_runs PRIMARY KEY (id), 
	CONSTRAINT fk_runs_pass_id FOREIGN KEY(pass_id) REFERENCES passes (id), 
	CONSTRAINT fk_runs_slot_id FOREIGN KEY(slot_id) REFERENCES slots (id)
);
INSERT INTO "runs" VALUES(1,1,1,'shop','schedule',1795348800000000,1795348800000000,NULL,1795348800000000,1795348800000000,'succeeded',1,0,'','','{"pages": 0, "pages_failed": 0, "items": 0, "new": 0, "changed": 0, "gone": 0, "back": 0, "unchanged": 0, "duplicates": 0, "rejected": 0, "downloads": 0, "downloads_unchanged": 0, "downloads_failed": 0, "download_bytes": 0, "waiting": 0}','[]','',NULL,1,'default',NULL);
INSERT INTO "runs" VALUES(2,2,2,'shop','schedule',1795348800000000,1795348800000000,NULL,NULL,NULL,NULL,0,0,'','','{}','[]','',NULL,0,'default',NULL);
CREATE TABLE schema_versions (
	revision VARCHAR(32) NOT NULL, 
	works_with VARCHAR(32) NOT NULL, 
	migrated_at BIGINT NOT NULL, 
	CONSTRAINT pk_schema_versions PRIMARY KEY (revision)
);
INSERT INTO "schema_versions" VALUES('0008','0008',1796018275862170);
INSERT INTO "schema_versions" VALUES('0009','0008',1796020145152231);
INSERT INTO "schema_versions" VALUES('0010','0008',1796022619224055);
INSERT INTO "schema_versions" VALUES('0011','0008',1796029551584016);
INSERT INTO "schema_versions" VALUES('0012','0008',1796030934720977);
INSERT INTO "schema_versions" VALUES('0013','0008',1796033136083358);
INSERT INTO "schema_versions" VALUES('0014','0008',1796040535413210);
CREATE TABLE session_files (
	spider VARCHAR(64) NOT NULL, 
	name VARCHAR(40) NOT NULL, 
	content BLOB NOT NULL, 
	version INTEGER DEFAULT '1' NOT NULL, 
	changed_at BIGINT NOT NULL, 
	CONSTRAINT pk_session_files PRIMARY KEY (spider, name)
);
CREATE TABLE slots (
	id INTEGER NOT NULL, 
	spider VARCHAR(64) NOT NULL, 
	"key" VARCHAR(120) NOT NULL, 
	due_at BIGINT NOT NULL, 
	claimed_at BIGINT NOT NULL, 
	reason VARCHAR(20) NOT NULL, 
	CONSTRAINT pk_slots PRIMARY KEY (id), 
	CONSTRAINT uq_slots_spider_key UNIQUE (spider, "key")
);
INSERT INTO "slots" VALUES(1,'shop','1',1795348800000000,1795348800000000,'schedule');
INSERT INTO "slots" VALUES(2,'shop','2',1795348800000000,1795348800000000,'schedule');
CREATE UNIQUE INDEX uq_alerts_open ON alerts (spider, kind) WHERE over_at IS NULL;
CREATE INDEX ix_digests_name ON digests (name);
CREATE INDEX ix_downloads_pass_id ON downloads (pass_id);
CREATE INDEX ix_downloads_state_not_before ON downloads (state, not_before);
CREATE INDEX ix_items_spider_pass_id ON items (spider, pass_id);
CREATE INDEX ix_login_cookies_spider ON login_cookies (spider);
CREATE INDEX ix_messages_digest_id ON messages (digest_id);
CREATE INDEX ix_messages_state_next_attempt_at ON messages (state, next_attempt_at);
CREATE INDEX ix_passes_open ON passes (spider) WHERE closed_at IS NULL;
CREATE INDEX ix_passes_spider ON passes (spider);
CREATE INDEX ix_deliveries_at ON deliveries (at);
CREATE INDEX ix_deliveries_message_id ON deliveries (message_id);
CREATE INDEX ix_frontier_pass_id_state_priority_id ON frontier (pass_id, state, priority, id);
CREATE INDEX ix_runs_at_work ON runs (spider) WHERE started_at IS NOT NULL AND ended_at IS NULL;
CREATE INDEX ix_runs_ended_at ON runs (ended_at);
CREATE INDEX ix_runs_pass_id ON runs (pass_id);
CREATE INDEX ix_runs_slot_id ON runs (slot_id);
CREATE INDEX ix_runs_spider_ended_at ON runs (spider, ended_at);
CREATE INDEX ix_runs_waiting ON runs (id) WHERE started_at IS NULL AND ended_at IS NULL;
CREATE INDEX ix_changes_run_id ON changes (run_id);
CREATE INDEX ix_changes_spider_key ON changes (spider, "key");
CREATE INDEX ix_digest_runs_digest_id ON digest_runs (digest_id);
CREATE INDEX ix_digest_runs_run_id ON digest_runs (run_id);
CREATE INDEX ix_download_files_doomed_at ON download_files (doomed_at);
CREATE INDEX ix_download_files_download_id ON download_files (download_id);
CREATE INDEX ix_download_files_run_id ON download_files (run_id);
CREATE INDEX ix_download_files_spider ON download_files (spider);
CREATE INDEX ix_pages_pass_id ON pages (pass_id);
CREATE INDEX ix_pages_run_id ON pages (run_id);
CREATE INDEX ix_rejects_run_id ON rejects (run_id);
CREATE INDEX ix_rejects_spider ON rejects (spider);
CREATE INDEX ix_recipients_refused ON recipients (address) WHERE state = 'refused' AND seen_at IS NULL;
CREATE INDEX ix_frontier_held ON frontier (member_id) WHERE member_id IS NOT NULL;
CREATE INDEX ix_host_permits_until ON host_permits (until);
CREATE INDEX ix_run_members_run_id ON run_members (run_id);
CREATE INDEX ix_audit_log_at ON audit_log (at);
CREATE INDEX ix_console_sessions_expires_at ON console_sessions (expires_at);
CREATE INDEX ix_api_requests_created_at ON api_requests (created_at);
CREATE INDEX ix_pages_failed ON pages (run_id) WHERE error != '';
CREATE TRIGGER note_edited_items AFTER UPDATE OF data ON items BEGIN INSERT INTO edited_items (item_id, edits) VALUES (OLD.id, 1)
              ON CONFLICT (item_id) DO UPDATE SET edits = edits + 1; END;
CREATE TRIGGER note_deleted_items AFTER DELETE ON items BEGIN INSERT INTO edited_items (item_id, edits) VALUES (OLD.id, 1)
              ON CONFLICT (item_id) DO UPDATE SET edits = edits + 1; END;
COMMIT;
