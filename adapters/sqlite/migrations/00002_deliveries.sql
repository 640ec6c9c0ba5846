-- +goose Up

-- A lane is no longer always a stream: an endpoint may want its deliveries
-- without order. What was planned before stands in the lane of its stream.
ALTER TABLE deliveries ADD COLUMN lane TEXT NOT NULL DEFAULT '';
UPDATE deliveries SET lane = stream;
ALTER TABLE deliveries ADD COLUMN spent INTEGER NOT NULL DEFAULT 0; -- attempts before the last redelivery
DROP INDEX deliveries_pending;
CREATE INDEX deliveries_pending ON deliveries (endpoint, lane, position, name) WHERE state = 'pending';

-- Where the time of an attempt went, in microseconds.
ALTER TABLE attempts ADD COLUMN dns INTEGER NOT NULL DEFAULT 0;
ALTER TABLE attempts ADD COLUMN connect INTEGER NOT NULL DEFAULT 0;
ALTER TABLE attempts ADD COLUMN tls INTEGER NOT NULL DEFAULT 0;
ALTER TABLE attempts ADD COLUMN first_byte INTEGER NOT NULL DEFAULT 0;

-- How an endpoint has answered of late; none is one of which nothing bad is known.
CREATE TABLE endpoint_health (
  endpoint      TEXT    NOT NULL PRIMARY KEY,
  failures      INTEGER NOT NULL,
  failing_since INTEGER NOT NULL,
  breaks        INTEGER NOT NULL,
  open_until    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- An endpoint's deliveries are listed by state, a state in order of position;
-- a list of several merges them. created_at comes along to be looked at without
-- the row.
DROP INDEX deliveries_endpoint;
CREATE INDEX deliveries_state ON deliveries (endpoint, state, position, name, created_at);
-- What has ended goes in the order in which it did.
CREATE INDEX deliveries_ended ON deliveries (ended_at) WHERE ended_at IS NOT NULL;

-- Work on many deliveries, and how far it has got.
CREATE TABLE jobs (
  id         TEXT    NOT NULL PRIMARY KEY, -- ascends in time
  kind       TEXT    NOT NULL,
  endpoint   TEXT    NOT NULL,
  account    TEXT    NOT NULL,
  key        TEXT    NOT NULL, -- idempotency key, or empty
  selection  TEXT    NOT NULL, -- JSON
  state      TEXT    NOT NULL,
  error      TEXT    NOT NULL DEFAULT '',
  total      INTEGER,
  done       INTEGER NOT NULL DEFAULT 0,
  position   INTEGER NOT NULL DEFAULT 0,
  name       TEXT    NOT NULL DEFAULT '',
  created_at INTEGER NOT NULL,
  ended_at   INTEGER
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX jobs_running ON jobs (endpoint, kind) WHERE state = 'running';
CREATE INDEX jobs_endpoint ON jobs (endpoint, id);
CREATE INDEX jobs_account ON jobs (account, id);
CREATE INDEX jobs_key ON jobs (account, key) WHERE key <> '';

-- Idempotency keys are forgotten in time: when each was used. Those there were
-- before are as old as their events.
ALTER TABLE commands ADD COLUMN time INTEGER NOT NULL DEFAULT 0;
UPDATE commands SET time = coalesce((SELECT time FROM events WHERE position = first),
  CAST(strftime('%s', 'now') AS INTEGER) * 1000000);
CREATE INDEX commands_time ON commands (time);
