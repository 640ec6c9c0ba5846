-- +goose Up

-- How far receivers that pull have taken an endpoint's feed, by names of theirs:
-- they go on behind position and item.
CREATE TABLE feed_cursors (
  endpoint TEXT    NOT NULL,
  name     TEXT    NOT NULL,
  position INTEGER NOT NULL,
  item     TEXT    NOT NULL,
  time     INTEGER NOT NULL,
  PRIMARY KEY (endpoint, name)
) STRICT, WITHOUT ROWID;

-- The last rebuild of each read model: those that run begin anew after a start.
CREATE TABLE rebuilds (
  projection TEXT NOT NULL PRIMARY KEY,
  report     TEXT NOT NULL -- JSON
) STRICT, WITHOUT ROWID;
