-- +goose Up

-- Since when a delivery is owed: it was planned then, or made pending again, be
-- the event however old. Of what was pending before, the record knows it about:
-- a replay's since that was asked for, what was redelivered since an attempt.
ALTER TABLE deliveries ADD COLUMN owed_at INTEGER NOT NULL DEFAULT 0;
UPDATE deliveries INDEXED BY deliveries_pending SET owed_at = coalesce(
  (SELECT r.created_at FROM replays AS r WHERE r.id = deliveries.replay),
  (SELECT max(a.time) FROM attempts AS a WHERE a.delivery = deliveries.id AND a.number <= deliveries.spent + 1 AND deliveries.spent > 0),
  created_at)
WHERE state = 'pending';
-- It comes along in the index, for the oldest of what is pending to be found
-- without the rows.
DROP INDEX deliveries_pending;
CREATE INDEX deliveries_pending ON deliveries (endpoint, lane, position, name, owed_at) WHERE state = 'pending';
