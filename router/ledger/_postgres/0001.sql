-- The first schema. Half of each page is left free, so that the one update of most rows finds room
-- beside them; the other half is theirs.
--
-- Text that comes from events is compared byte by byte, whatever the database's
-- collation, so that every replica and every kind of ledger sorts alike.

CREATE TABLE delivery (
    -- The table is walked in the order of arrival when it is purged.
    number bigint PRIMARY KEY,
    key bytea NOT NULL,
    kind text COLLATE "C" NOT NULL,
    state text COLLATE "C" NOT NULL,
    sink text COLLATE "C" NOT NULL,
    epoch bigint NOT NULL,
    owner text COLLATE "C",
    lease_until double precision,
    due double precision,
    attempts bigint NOT NULL,
    first_at double precision,
    expires_at double precision,
    family bytea,
    wait_on bytea,
    waits_for bigint NOT NULL,
    starts_on text COLLATE "C" NOT NULL,
    order_scope text COLLATE "C",
    seq bigint,
    cancel_scope text COLLATE "C",
    event_time double precision NOT NULL,
    event_hash bytea NOT NULL,
    position text COLLATE "C" NOT NULL,
    reason text COLLATE "C",
    reason_text text COLLATE "C",
    created double precision NOT NULL,
    updated double precision NOT NULL,
    doubtful boolean NOT NULL,
    -- With an order scope: its sequence is the lowest open one. Without: always.
    is_head boolean NOT NULL,
    blob bytea,
    size bigint NOT NULL GENERATED ALWAYS AS (coalesce(octet_length(blob), 0)) STORED,
    -- Indexes stand on columns of their own that are null in most rows. A claim that is settled
    -- changes none of them, and is written without touching any index (HOT); an index that
    -- mentioned the state would make every settlement write to all of them.
    ready double precision GENERATED ALWAYS AS (CASE
        WHEN NOT is_head THEN NULL
        WHEN state = 'claimed' THEN CASE WHEN blob IS NOT NULL THEN lease_until END
        WHEN state IN ('scheduled', 'waiting') THEN due
    END) STORED,
    awaited bytea GENERATED ALWAYS AS (CASE WHEN state = 'waiting' THEN wait_on END) STORED,
    open_scope text COLLATE "C" GENERATED ALWAYS AS (CASE
        WHEN seq IS NOT NULL AND state IN ('claimed', 'scheduled', 'waiting') THEN order_scope
    END) STORED,
    is_dead boolean NOT NULL GENERATED ALWAYS AS (state = 'dead') STORED
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05);

CREATE SEQUENCE delivery_number OWNED BY delivery.number;
CREATE UNIQUE INDEX delivery_key ON delivery (key);
CREATE INDEX delivery_ready ON delivery (sink, ready, number) WHERE ready IS NOT NULL;
CREATE INDEX delivery_awaited ON delivery (awaited) WHERE awaited IS NOT NULL;
CREATE INDEX delivery_ordered ON delivery (open_scope, seq) WHERE open_scope IS NOT NULL;
CREATE INDEX delivery_dead ON delivery (key) WHERE is_dead;

-- Counts for numbers and budgets. Each connection adds to a slot of its own, or nearly so: with one
-- row for all, every transaction would wait for every other.
CREATE TABLE tally (
    kind text COLLATE "C",
    state text COLLATE "C",
    sink text COLLATE "C",
    slot integer,
    count bigint NOT NULL,
    bytes bigint NOT NULL,
    PRIMARY KEY (kind, state, sink, slot)
) WITH (fillfactor = 50);

CREATE TABLE fact (
    scope text COLLATE "C",
    member text COLLATE "C",
    value text COLLATE "C" NOT NULL,
    until double precision,
    at double precision NOT NULL,
    blob bytea,
    PRIMARY KEY (scope, member)
);
CREATE INDEX fact_ended ON fact (until) WHERE until IS NOT NULL;

CREATE TABLE progress (
    consumer_group text COLLATE "C",
    topic text COLLATE "C",
    partition bigint,
    next_offset bigint NOT NULL,
    PRIMARY KEY (consumer_group, topic, partition)
);
