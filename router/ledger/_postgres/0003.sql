-- What expires is found wherever it waits. A replica of the version before goes on beside this.

ALTER TABLE delivery ADD COLUMN expiring double precision GENERATED ALWAYS AS (CASE
    WHEN state = 'scheduled' AND kind = 'delivery' THEN expires_at
END) STORED;
CREATE INDEX delivery_expiring ON delivery (expiring, number) WHERE expiring IS NOT NULL;
