-- +goose Up

-- What is left of events out of which a person was erased. There, in place, every
-- byte of data is zero, and as many as there were: to write anything longer or
-- shorter moves its neighbours, and what is moved leaves a copy where it stood.
-- For the same reason what is left is only ever added here, at the end; the last
-- one of a position counts.
CREATE TABLE remains (
  id       INTEGER PRIMARY KEY,
  position INTEGER NOT NULL,
  erasure  TEXT    NOT NULL, -- that left it; empty of what was moved in
  before   BLOB,             -- SHA-256 of what had been left before, if anything had
  content  BLOB    NOT NULL  -- version of the shape (4 bytes), SHA-256 of the rest, the rest
) STRICT;
CREATE INDEX remains_position ON remains (position);
CREATE INDEX remains_erasure ON remains (erasure, position);
