"""The foundation: workspaces, sources, the world model, lanes, imports, audit.

Every primary key and every queue-shaped index leads with ``workspace_id``. Row-level security is forced,
so the owner of the tables obeys it too. Tables that sweeps read across workspaces hold no PHI.
"""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision = None

TENANCY = """
CREATE TABLE workspace (
    workspace_id uuid PRIMARY KEY,
    slug text NOT NULL UNIQUE CHECK (slug ~ '^[a-z0-9][a-z0-9_-]{0,62}$'),
    name text NOT NULL DEFAULT '',
    status text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'suspended')),
    data_key bytea,                 -- this workspace's key, wrapped by the installation's key
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE data_source (
    workspace_id uuid NOT NULL REFERENCES workspace,
    data_source_id uuid NOT NULL,
    name text NOT NULL CHECK (name ~ '^[a-z0-9][a-z0-9_-]{0,62}$'),
    source_type text NOT NULL,
    settings jsonb NOT NULL DEFAULT '{}',
    enabled boolean NOT NULL DEFAULT true,
    health_status text NOT NULL DEFAULT 'unknown'
        CHECK (health_status IN ('unknown', 'healthy', 'degraded', 'unhealthy', 'disabled')),
    health_code text,
    health_detail text,             -- our own words; never a body
    health_since timestamptz,
    consecutive_errors integer NOT NULL DEFAULT 0,
    last_poll_at timestamptz,
    last_ok_at timestamptz,
    event_count bigint NOT NULL DEFAULT 0,
    -- the outbound side
    sink_enabled boolean NOT NULL DEFAULT false,
    sink_paused_reason text,
    sink_next_wake_at timestamptz,
    sink_hinted_at timestamptz,
    sink_rate_now double precision,
    sink_breaker_failures integer NOT NULL DEFAULT 0,
    sink_breaker_until timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (workspace_id, data_source_id),
    UNIQUE (workspace_id, name)
);

CREATE TABLE source_resource (
    workspace_id uuid NOT NULL,
    data_source_id uuid NOT NULL,
    resource_type text NOT NULL,
    enabled boolean NOT NULL DEFAULT true,
    cadence_s double precision NOT NULL CHECK (cadence_s > 0),
    full_sync_every_s double precision,
    cursor jsonb NOT NULL DEFAULT '{}',
    due_at timestamptz NOT NULL DEFAULT now(),
    full_sync_due_at timestamptz,
    lease_until timestamptz,
    lease_owner text,
    fence bigint NOT NULL DEFAULT 0,
    consecutive_errors integer NOT NULL DEFAULT 0,
    last_ok_at timestamptz,
    last_error_code text,
    unmapped_count bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (workspace_id, data_source_id, resource_type),
    FOREIGN KEY (workspace_id, data_source_id) REFERENCES data_source ON DELETE CASCADE
);
CREATE INDEX source_resource_due ON source_resource (workspace_id, due_at) WHERE enabled;

CREATE TABLE unmapped_type (
    workspace_id uuid NOT NULL,
    data_source_id uuid NOT NULL,
    resource_type text NOT NULL,
    records bigint NOT NULL DEFAULT 0,
    last_seen_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (workspace_id, data_source_id, resource_type)
);

CREATE TABLE full_sync_seen (
    workspace_id uuid NOT NULL,
    data_source_id uuid NOT NULL,
    resource_type text NOT NULL,
    window_id uuid NOT NULL,
    record_id uuid NOT NULL,
    PRIMARY KEY (workspace_id, data_source_id, resource_type, window_id, record_id)
);

CREATE TABLE secret (
    workspace_id uuid NOT NULL REFERENCES workspace,
    name text NOT NULL,
    sealed bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (workspace_id, name)
);

CREATE TABLE api_key (
    workspace_id uuid NOT NULL REFERENCES workspace,
    key_id uuid NOT NULL,
    prefix text NOT NULL,
    digest bytea NOT NULL,
    role text NOT NULL,
    confidence_ceiling double precision NOT NULL DEFAULT 0.5,
    entity_types text[],
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz,
    revoked_at timestamptz,
    PRIMARY KEY (workspace_id, key_id)
);

CREATE TABLE installation (
    name text PRIMARY KEY,
    value text NOT NULL
);
"""

WORLD = """
CREATE TABLE raw_page (
    workspace_id uuid NOT NULL,
    raw_id uuid NOT NULL,
    data_source_id uuid NOT NULL,
    records integer NOT NULL,
    body bytea NOT NULL,            -- zlib of the bodies as they came, one a line of a length-prefixed sequence
    received_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (workspace_id, raw_id)
);
ALTER TABLE raw_page ALTER COLUMN body SET STORAGE EXTERNAL;

CREATE TABLE record_version (
    workspace_id uuid NOT NULL,
    record_id uuid NOT NULL,        -- derived from the record's canonical id
    n integer NOT NULL,             -- order of arrival within the record
    entity_id uuid NOT NULL,
    data_source_id uuid NOT NULL,
    version text,
    last_updated timestamptz,
    era smallint NOT NULL DEFAULT 0,    -- raised by an accepted rollback
    order_at timestamptz NOT NULL,
    order_version bigint,
    content_hash bytea NOT NULL,
    raw_hash bytea,                 -- of the bytes as they came, where the same bytes say the same
    out_of_order boolean NOT NULL DEFAULT false,
    deleted boolean NOT NULL DEFAULT false,
    direct boolean NOT NULL DEFAULT false,  -- read by id, not found on a page
    seen_at timestamptz NOT NULL,
    batch_id uuid,                  -- the import that brought it; null for a poll
    raw_id uuid,
    raw_position integer,
    event_id uuid,                  -- the event that holds this content's facts
    PRIMARY KEY (workspace_id, record_id, n)
);

CREATE TABLE event (
    workspace_id uuid NOT NULL,
    id uuid NOT NULL,
    entity_id uuid NOT NULL,
    entity_type text NOT NULL,
    domain text NOT NULL,
    event_type text NOT NULL,
    fhir_resource_type text,
    fhir_resource_id text,
    facts jsonb NOT NULL,
    snapshot boolean NOT NULL,      -- withdraws what the same record said before and no longer says
    source text NOT NULL,
    source_system text,
    data_source_id uuid,
    record_id uuid,
    record_key text,
    content_hash bytea,
    mapping_version text,
    confidence double precision NOT NULL CHECK (confidence BETWEEN 0 AND 1),
    supersedes uuid,
    caused_by uuid,
    effective_at timestamptz,
    as_of timestamptz,              -- since when the source says it holds, where it has no clock of its own
    ingested_at timestamptz NOT NULL,
    actor text,
    correlation_id text,
    raw_id uuid,
    raw_position integer,
    PRIMARY KEY (workspace_id, id)
);
CREATE INDEX event_entity ON event (workspace_id, entity_id, id);
CREATE INDEX event_own ON event (workspace_id) WHERE data_source_id IS NULL;   -- counted, beside each source's counter

CREATE TABLE entity (
    workspace_id uuid NOT NULL,
    entity_id uuid NOT NULL,
    entity_type text NOT NULL,
    canonical_id text NOT NULL,
    status text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'deleted', 'retracted')),
    state jsonb NOT NULL,
    provenance jsonb NOT NULL,
    confidence double precision NOT NULL,
    event_count integer NOT NULL,
    revision integer NOT NULL DEFAULT 1,
    first_seen_at timestamptz NOT NULL,
    last_event_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (workspace_id, entity_id)
);
CREATE INDEX entity_type_idx ON entity (workspace_id, entity_type, entity_id) INCLUDE (status);

CREATE TABLE dirty_entity (
    workspace_id uuid NOT NULL,
    entity_id uuid NOT NULL,
    reason text NOT NULL,
    marked_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (workspace_id, entity_id)
);

CREATE TABLE relationship (
    workspace_id uuid NOT NULL,
    entity_id uuid NOT NULL,
    name text NOT NULL,
    target_id uuid NOT NULL,        -- the record referred to, whether or not it has arrived; or the identifier's digest
    by_identifier boolean NOT NULL DEFAULT false,
    PRIMARY KEY (workspace_id, entity_id, name, target_id)
);
CREATE INDEX relationship_target ON relationship (workspace_id, target_id);

CREATE TABLE business_identifier (
    workspace_id uuid NOT NULL,
    token uuid NOT NULL,            -- derived from resource type, system and value
    record_id uuid NOT NULL,
    PRIMARY KEY (workspace_id, token, record_id)
);
CREATE INDEX business_identifier_record ON business_identifier (workspace_id, record_id);

CREATE TABLE adopted_record (
    workspace_id uuid NOT NULL,
    record_id uuid NOT NULL,
    record_key text NOT NULL,
    entity_id uuid NOT NULL,
    data_source_id uuid NOT NULL,
    adopted_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (workspace_id, record_id)
);
CREATE INDEX adopted_record_entity ON adopted_record (workspace_id, entity_id);

CREATE TABLE sent_value (
    workspace_id uuid NOT NULL,
    record_id uuid NOT NULL,
    atom text NOT NULL,
    value_digest bytea NOT NULL,
    origin jsonb NOT NULL,          -- event_id, source, source_system, confidence, since of the cause
    sent_at timestamptz NOT NULL,
    PRIMARY KEY (workspace_id, record_id, atom)
);

CREATE TABLE quarantine (
    workspace_id uuid NOT NULL,
    quarantine_id uuid NOT NULL,
    stage text NOT NULL,
    data_source_id uuid,
    code text NOT NULL,             -- the cause, for grouping
    message text NOT NULL,          -- our own words
    place text NOT NULL DEFAULT '', -- file, entry index, dot-path
    subject text NOT NULL,          -- what makes a repeat the same: source record, file entry, lane
    context jsonb NOT NULL DEFAULT '{}',
    body bytea,                     -- sealed
    status text NOT NULL DEFAULT 'open' CHECK (status IN ('open', 'replayed', 'discarded')),
    first_seen_at timestamptz NOT NULL,
    last_seen_at timestamptz NOT NULL,
    times integer NOT NULL DEFAULT 1,
    PRIMARY KEY (workspace_id, quarantine_id)
);
CREATE UNIQUE INDEX quarantine_subject ON quarantine (workspace_id, stage, subject, code) WHERE status = 'open';
"""

APPEND_ONLY = """
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- The one exception is a purge, named and audited in this very transaction.
    IF TG_OP = 'DELETE' AND TG_LEVEL = 'ROW' AND EXISTS (
        SELECT 1 FROM audit_log
        WHERE workspace_id = OLD.workspace_id AND action = 'purge'
          AND object = nullif(current_setting('app.purge', true), '') AND txid = txid_current()
    ) THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION '% is append-only: % refused', TG_TABLE_NAME, TG_OP USING ERRCODE = 'restrict_violation';
END $$;
"""

OUTBOUND = """
CREATE TABLE pending_release (
    workspace_id uuid NOT NULL,
    entity_id uuid NOT NULL,
    requested_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    generation bigint NOT NULL DEFAULT 1,
    PRIMARY KEY (workspace_id, entity_id)
);
CREATE INDEX pending_release_due ON pending_release (workspace_id, requested_at);

CREATE TABLE sync_lane (
    workspace_id uuid NOT NULL,
    sink_id uuid NOT NULL,
    lane_id uuid NOT NULL,          -- derived from sink and entity (or the record in the sink)
    entity_id uuid NOT NULL,
    entity_type text NOT NULL,
    policy text NOT NULL DEFAULT 'latest' CHECK (policy IN ('latest', 'ordered')),
    state text NOT NULL DEFAULT 'idle'
        CHECK (state IN ('idle', 'ready', 'leased', 'waiting', 'unknown', 'quarantined', 'paused')),
    prio smallint NOT NULL DEFAULT 20,      -- 10 interactive, 20 fresh, 30 reconcile, 40 backfill
    due_at timestamptz NOT NULL DEFAULT now(),
    desired_revision bigint NOT NULL DEFAULT 0,
    synced_revision bigint NOT NULL DEFAULT 0,
    synced_hash bytea,
    last_sent bytea,                -- sealed: the body as last confirmed
    sink_ref text,                  -- Type/id in the sink
    sink_etag text,
    client_ref text NOT NULL,       -- the id or identifier we chose, the same for ever
    attempts integer NOT NULL DEFAULT 0,
    fence bigint NOT NULL DEFAULT 0,
    lease_owner text,
    lease_until timestamptz,
    reason text,                    -- gate or outcome code: why the lane is where it is
    reason_detail text,
    withheld jsonb NOT NULL DEFAULT '[]',   -- atoms not sent and why: names and codes, never values
    last_status integer,
    wanted_at timestamptz,
    synced_at timestamptz,
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (workspace_id, lane_id),
    UNIQUE (workspace_id, sink_id, entity_id)
);
CREATE INDEX sync_lane_due ON sync_lane (workspace_id, sink_id, prio, due_at) WHERE state IN ('ready', 'waiting');
CREATE INDEX sync_lane_unknown ON sync_lane (workspace_id, sink_id, due_at) WHERE state = 'unknown';
CREATE INDEX sync_lane_leased ON sync_lane (workspace_id, lease_until) WHERE state = 'leased';
CREATE INDEX sync_lane_entity ON sync_lane (workspace_id, entity_id);
CREATE INDEX sync_lane_state ON sync_lane (workspace_id, sink_id, state) INCLUDE (synced_revision);   -- counted
ALTER TABLE sync_lane SET (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000,
                           autovacuum_vacuum_cost_delay = 0, fillfactor = 80);

CREATE TABLE open_intent (
    workspace_id uuid NOT NULL,
    lane_id uuid NOT NULL,
    sink_id uuid NOT NULL,
    intent_id uuid NOT NULL,
    fence bigint NOT NULL,
    operation text NOT NULL,
    idempotency_key text NOT NULL,
    body_hash bytea NOT NULL,
    precondition text,
    opened_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    resolve_after timestamptz NOT NULL,
    PRIMARY KEY (workspace_id, lane_id)
);
CREATE INDEX open_intent_sink ON open_intent (workspace_id, sink_id, opened_at);

CREATE TABLE write_log (
    workspace_id uuid NOT NULL,
    write_id uuid NOT NULL,
    sink_id uuid NOT NULL,
    lane_id uuid NOT NULL,
    entity_id uuid NOT NULL,
    intent_id uuid NOT NULL,
    phase text NOT NULL CHECK (phase IN ('intent', 'outcome')),
    fence bigint NOT NULL,
    attempt integer NOT NULL,
    operation text NOT NULL,
    idempotency_key text NOT NULL,
    body_hash bytea,
    precondition text,
    outcome text,
    http_status integer,
    code text,
    sink_ref text,
    sink_etag text,
    mapping_version text,
    causes uuid[] NOT NULL DEFAULT '{}',
    sealed bytea,                   -- request body, before-image and response, encrypted
    written_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (workspace_id, write_id)
);
CREATE INDEX write_log_sink ON write_log (workspace_id, sink_id, written_at);
CREATE INDEX write_log_lane ON write_log (workspace_id, lane_id, written_at);
"""

WORK = """
CREATE TABLE import_job (
    workspace_id uuid NOT NULL,
    import_id uuid NOT NULL,
    data_source_id uuid NOT NULL,
    status text NOT NULL DEFAULT 'pending'
        CHECK (status IN ('pending', 'running', 'completed', 'failed', 'cancelled')),
    options jsonb NOT NULL DEFAULT '{}',
    counts jsonb NOT NULL DEFAULT '{}',
    error_code text,
    due_at timestamptz NOT NULL DEFAULT now(),  -- when a worker should look at it next
    hinted_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    started_at timestamptz,
    finished_at timestamptz,
    PRIMARY KEY (workspace_id, import_id)
);
CREATE INDEX import_job_due ON import_job (workspace_id, due_at) WHERE status IN ('pending', 'running');

CREATE TABLE import_file (
    workspace_id uuid NOT NULL,
    import_id uuid NOT NULL,
    file_n integer NOT NULL,
    name text NOT NULL,             -- may be a patient's name: only ever shown to people, never in a message
    location text,
    size_bytes bigint,
    stored boolean NOT NULL DEFAULT false,
    status text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'running', 'completed', 'failed')),
    position bigint NOT NULL DEFAULT 0,     -- entries (or lines) that are done
    byte_position bigint NOT NULL DEFAULT 0,
    resume jsonb NOT NULL DEFAULT '{}',
    counts jsonb NOT NULL DEFAULT '{}',
    errors jsonb NOT NULL DEFAULT '[]',     -- the first hundred, in our words, with their positions
    attempts integer NOT NULL DEFAULT 0,
    lease_until timestamptz,
    lease_owner text,
    fence bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (workspace_id, import_id, file_n),
    FOREIGN KEY (workspace_id, import_id) REFERENCES import_job ON DELETE CASCADE
);

CREATE TABLE import_part (
    workspace_id uuid NOT NULL,
    import_id uuid NOT NULL,
    file_n integer NOT NULL,
    part_n integer NOT NULL,
    body bytea NOT NULL,
    PRIMARY KEY (workspace_id, import_id, file_n, part_n),
    FOREIGN KEY (workspace_id, import_id, file_n) REFERENCES import_file ON DELETE CASCADE
);
ALTER TABLE import_part ALTER COLUMN body SET STORAGE EXTERNAL;

CREATE TABLE import_reference (
    workspace_id uuid NOT NULL,
    import_id uuid NOT NULL,
    file_n integer NOT NULL,
    full_url text NOT NULL,         -- urn:uuid:… of an entry
    target text NOT NULL,           -- Type/id that it stands for
    PRIMARY KEY (workspace_id, import_id, file_n, full_url),
    FOREIGN KEY (workspace_id, import_id, file_n) REFERENCES import_file ON DELETE CASCADE
);

CREATE TABLE schedule (
    name text PRIMARY KEY,
    every_s double precision NOT NULL,
    due_at timestamptz NOT NULL DEFAULT now(),
    last_run_at timestamptz,
    last_run_by text
);

CREATE TABLE node_heartbeat (
    node text PRIMARY KEY,
    kind text NOT NULL,
    beat_at timestamptz NOT NULL DEFAULT now(),
    detail jsonb NOT NULL DEFAULT '{}'
);

CREATE TABLE audit_log (
    workspace_id uuid NOT NULL,
    n bigint NOT NULL,
    at timestamptz NOT NULL,
    actor text NOT NULL,
    action text NOT NULL,
    object text NOT NULL,
    detail jsonb NOT NULL DEFAULT '{}',
    txid bigint NOT NULL DEFAULT txid_current(),
    previous_hash bytea NOT NULL,
    hash bytea NOT NULL,
    PRIMARY KEY (workspace_id, n)
);

CREATE TABLE audit_head (
    workspace_id uuid PRIMARY KEY,
    n bigint NOT NULL,
    hash bytea NOT NULL
);

CREATE TABLE audit_read (
    workspace_id uuid NOT NULL,
    read_id uuid NOT NULL,
    at timestamptz NOT NULL,
    actor text NOT NULL,
    action text NOT NULL,
    object text NOT NULL,
    detail jsonb NOT NULL DEFAULT '{}',
    sealed_by bigint,
    PRIMARY KEY (workspace_id, read_id)
);
CREATE INDEX audit_read_open ON audit_read (workspace_id, read_id) WHERE sealed_by IS NULL;
"""

TENANT_TABLES = (
    "workspace",
    "data_source",
    "source_resource",
    "unmapped_type",
    "full_sync_seen",
    "secret",
    "api_key",
    "raw_page",
    "record_version",
    "event",
    "entity",
    "relationship",
    "business_identifier",
    "adopted_record",
    "sent_value",
    "quarantine",
    "dirty_entity",
    "pending_release",
    "sync_lane",
    "open_intent",
    "write_log",
    "import_job",
    "import_file",
    "import_part",
    "import_reference",
    "audit_log",
    "audit_head",
    "audit_read",
)
# No PHI in these, so a sweep may look at them across workspaces.
SWEPT = (
    "workspace",
    "data_source",
    "source_resource",
    "pending_release",
    "sync_lane",
    "open_intent",
    "import_job",
    "dirty_entity",
)
APPEND_ONLY_TABLES = ("event", "write_log", "audit_log", "record_version", "raw_page")


def upgrade() -> None:
    """Create everything."""
    for part in (TENANCY, WORLD, OUTBOUND, WORK, APPEND_ONLY):
        op.execute(part)
    for table in TENANT_TABLES:
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
        op.execute(
            f"CREATE POLICY tenant ON {table} USING"
            " (workspace_id = nullif(current_setting('app.workspace_id', true), '')::uuid)"
        )
    for table in SWEPT:
        op.execute(f"CREATE POLICY sweep ON {table} FOR SELECT USING (current_setting('app.scope', true) = 'sweep')")
    for table in APPEND_ONLY_TABLES:
        op.execute(
            f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE ON {table}"
            " FOR EACH ROW EXECUTE FUNCTION refuse_change()"
        )
        op.execute(
            f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table}"
            " FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
        )
