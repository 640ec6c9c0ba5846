-- +goose Up

-- People to be erased, and how far that has got. It bears nothing of theirs.
CREATE TABLE erasures (
  id         TEXT    NOT NULL PRIMARY KEY, -- ascends in time
  account    TEXT    NOT NULL,
  contact    TEXT    NOT NULL, -- id of the contact's stream
  person     TEXT    NOT NULL, -- the UUID under which the person stays
  key        TEXT    NOT NULL, -- idempotency key, or empty
  asked_by   TEXT    NOT NULL, -- JSON
  metadata   TEXT    NOT NULL, -- JSON
  state      TEXT    NOT NULL,
  told       INTEGER NOT NULL DEFAULT 0, -- contact.erased is in the log
  error      TEXT    NOT NULL DEFAULT '',
  events     INTEGER NOT NULL DEFAULT 0,
  streams    INTEGER NOT NULL DEFAULT 0, -- conversations among those with such events
  deliveries INTEGER NOT NULL DEFAULT 0,
  snapshots  INTEGER NOT NULL DEFAULT 0,
  created_at INTEGER NOT NULL,
  ended_at   INTEGER
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX erasures_running ON erasures (contact) WHERE state = 'running';
CREATE INDEX erasures_account ON erasures (account, id);

-- The streams that an erasure has overwritten events of. What receivers answered
-- to attempts from before until is not kept: it may quote what they were sent.
CREATE TABLE erased_streams (
  stream  TEXT    NOT NULL PRIMARY KEY,
  erasure TEXT    NOT NULL,
  until   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX erased_streams_erasure ON erased_streams (erasure, stream);
