-- +goose Up

-- What attempts told of their endpoints and the endpoints' own streams do not say
-- yet, in order.
CREATE TABLE notices (
  number   INTEGER PRIMARY KEY,
  key      TEXT    NOT NULL UNIQUE,
  endpoint TEXT    NOT NULL,
  account  TEXT    NOT NULL,
  kind     TEXT    NOT NULL,
  time     INTEGER NOT NULL,
  since    INTEGER, -- null if it is not about a time
  delivery TEXT    NOT NULL,
  name     TEXT    NOT NULL,
  stream   TEXT    NOT NULL,
  attempts INTEGER NOT NULL,
  reason   TEXT    NOT NULL,
  status   INTEGER NOT NULL,
  fault    TEXT    NOT NULL
) STRICT;
