-- +goose Up

-- What is left of events out of which a person was erased: the version of the
-- shape of data, and its SHA-256. Null in all others, whose data is as it was
-- appended.
ALTER TABLE events ADD COLUMN remains_schema INTEGER;
ALTER TABLE events ADD COLUMN remains BLOB;
