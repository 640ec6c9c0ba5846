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
