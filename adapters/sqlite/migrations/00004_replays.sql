-- +goose Up

-- The replay that made a delivery pending, if one did, and how many bytes were
-- accepted.
ALTER TABLE deliveries ADD COLUMN replay TEXT NOT NULL DEFAULT '';
ALTER TABLE deliveries ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0;
CREATE INDEX deliveries_replay ON deliveries (replay, state, position, name) WHERE replay <> '';

-- Work that sends an endpoint the past. It is kept for ever: its receipt is.
CREATE TABLE replays (
  id               TEXT    NOT NULL PRIMARY KEY, -- ascends in time
  kind             TEXT    NOT NULL,
  endpoint         TEXT    NOT NULL,
  account          TEXT    NOT NULL,
  key              TEXT    NOT NULL, -- idempotency key, or empty
  selection        TEXT    NOT NULL, -- JSON
  rate             INTEGER NOT NULL,
  state            TEXT    NOT NULL,
  phase            TEXT    NOT NULL, -- what is left to do, empty if nothing is
  error            TEXT    NOT NULL,
  begun            INTEGER NOT NULL, -- the end of the log then
  upto             INTEGER NOT NULL, -- last position; of a backfill 0 while it is open
  position         INTEGER NOT NULL, -- how far it has fed
  name             TEXT    NOT NULL,
  counts           TEXT    NOT NULL, -- JSON
  settled_position INTEGER NOT NULL, -- how far its receipt is written
  settled_name     TEXT    NOT NULL,
  receipt          TEXT    NOT NULL, -- JSON
  created_at       INTEGER NOT NULL,
  ended_at         INTEGER
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX replays_running ON replays (endpoint) WHERE state IN ('running', 'paused');
CREATE INDEX replays_open ON replays (id) WHERE phase <> '';
CREATE INDEX replays_endpoint ON replays (endpoint, id);
CREATE INDEX replays_account ON replays (account, id);
CREATE INDEX replays_key ON replays (account, key) WHERE key <> '';
