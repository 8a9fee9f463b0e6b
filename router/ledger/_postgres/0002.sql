-- What is due goes by rank. A replica of the version before, which names no rank, goes on beside this.

ALTER TABLE delivery ADD COLUMN rank smallint NOT NULL DEFAULT 1;
DROP INDEX delivery_ready;
CREATE INDEX delivery_ready ON delivery (sink, rank, ready, number) WHERE ready IS NOT NULL;
