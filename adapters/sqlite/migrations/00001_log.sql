-- +goose Up

-- The log. Position is assigned by the one writer, in commit order, without a
-- gap. Stream names end in a UUIDv7, so that neighbours in time are neighbours
-- in the index: a commit of a hundred appends dirties few pages.
CREATE TABLE events (
  position INTEGER PRIMARY KEY,
  stream   TEXT    NOT NULL,
  version  INTEGER NOT NULL,
  id       BLOB    NOT NULL,
  type     TEXT    NOT NULL,
  schema   INTEGER NOT NULL,
  time     INTEGER NOT NULL, -- microseconds since 1970, UTC, like every time here
  account  TEXT    NOT NULL,
  data     BLOB    NOT NULL, -- JSON, as it was appended
  metadata BLOB    NOT NULL,
  digest   BLOB    NOT NULL, -- SHA-256 of data
  hash     BLOB    NOT NULL  -- chains the stream
) STRICT;
CREATE UNIQUE INDEX events_stream ON events (stream, version);
CREATE UNIQUE INDEX events_id ON events (id);

-- Commands that bore an idempotency key, written with their events.
CREATE TABLE commands (
  account     TEXT    NOT NULL,
  key         TEXT    NOT NULL,
  fingerprint BLOB    NOT NULL,
  stream      TEXT    NOT NULL,
  first       INTEGER NOT NULL,
  last        INTEGER NOT NULL,
  version     INTEGER NOT NULL,
  PRIMARY KEY (account, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE snapshots (
  stream  TEXT    NOT NULL PRIMARY KEY,
  version INTEGER NOT NULL,
  schema  INTEGER NOT NULL,
  state   BLOB    NOT NULL
) STRICT, WITHOUT ROWID;

-- How far each projection has got, and the streams it could not take further.
CREATE TABLE checkpoints (
  projection TEXT    NOT NULL PRIMARY KEY,
  position   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE parked (
  projection TEXT    NOT NULL,
  stream     TEXT    NOT NULL,
  position   INTEGER NOT NULL,
  version    INTEGER NOT NULL,
  error      TEXT    NOT NULL,
  attempts   INTEGER NOT NULL,
  time       INTEGER NOT NULL,
  retry      INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (projection, stream)
) STRICT, WITHOUT ROWID;

-- Read models.
CREATE TABLE inbox (
  conversation TEXT    NOT NULL PRIMARY KEY,
  account      TEXT    NOT NULL,
  status       TEXT    NOT NULL,
  active_at    INTEGER NOT NULL,
  row          BLOB    NOT NULL -- JSON
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX inbox_active ON inbox (account, active_at);
CREATE INDEX inbox_status ON inbox (account, status, active_at);

CREATE TABLE typing (
  conversation TEXT    NOT NULL,
  author       TEXT    NOT NULL,
  account      TEXT    NOT NULL,
  until        INTEGER NOT NULL,
  PRIMARY KEY (conversation, author)
) STRICT, WITHOUT ROWID;
CREATE INDEX typing_until ON typing (until);

CREATE TABLE endpoints (
  id      TEXT    NOT NULL PRIMARY KEY,
  account TEXT    NOT NULL,
  number  INTEGER NOT NULL,
  deleted INTEGER NOT NULL,
  row     BLOB    NOT NULL -- JSON
) STRICT, WITHOUT ROWID;
CREATE INDEX endpoints_account ON endpoints (account, number);

-- What is owed to endpoints. A lane is (endpoint, stream) in order of position.
CREATE TABLE deliveries (
  id         TEXT    NOT NULL PRIMARY KEY,
  webhook_id TEXT    NOT NULL,
  endpoint   TEXT    NOT NULL,
  account    TEXT    NOT NULL,
  stream     TEXT    NOT NULL,
  position   INTEGER NOT NULL,
  version    INTEGER NOT NULL,
  event_id   BLOB    NOT NULL,
  event      TEXT    NOT NULL,
  name       TEXT    NOT NULL,
  dialect    TEXT    NOT NULL,
  history    TEXT    NOT NULL,
  state      TEXT    NOT NULL,
  reason     TEXT    NOT NULL DEFAULT '',
  attempts   INTEGER NOT NULL DEFAULT 0,
  due_at     INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  ended_at   INTEGER,
  digest     BLOB
) STRICT, WITHOUT ROWID;
CREATE INDEX deliveries_pending ON deliveries (endpoint, stream, position, name) WHERE state = 'pending';
CREATE INDEX deliveries_endpoint ON deliveries (endpoint, position, name);

CREATE TABLE attempts (
  delivery    TEXT    NOT NULL,
  number      INTEGER NOT NULL,
  time        INTEGER NOT NULL,
  status      INTEGER NOT NULL,
  retry_after INTEGER NOT NULL, -- microseconds
  fault       TEXT    NOT NULL,
  detail      TEXT    NOT NULL,
  took        INTEGER NOT NULL, -- microseconds
  digest      BLOB,
  PRIMARY KEY (delivery, number)
) STRICT, WITHOUT ROWID;

-- What may be erased: never in the log.
CREATE TABLE secrets (
  endpoint   TEXT    NOT NULL,
  secret     TEXT    NOT NULL,
  created_at INTEGER NOT NULL,
  expires_at INTEGER, -- null while it is the newest
  PRIMARY KEY (endpoint, secret)
) STRICT, WITHOUT ROWID;

CREATE TABLE endpoint_headers (
  endpoint TEXT NOT NULL PRIMARY KEY,
  headers  TEXT NOT NULL -- JSON object
) STRICT, WITHOUT ROWID;

-- Who may come in.
CREATE TABLE accounts (
  id     TEXT    NOT NULL PRIMARY KEY,
  number INTEGER NOT NULL UNIQUE,
  name   TEXT    NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE api_keys (
  id         TEXT    NOT NULL PRIMARY KEY,
  account    TEXT    NOT NULL REFERENCES accounts (id),
  name       TEXT    NOT NULL,
  hash       BLOB    NOT NULL, -- SHA-256 of the key; a key has 256 random bits
  created_at INTEGER NOT NULL,
  revoked_at INTEGER
) STRICT, WITHOUT ROWID;
