"""The audit log: anchors of its head, notes that nobody alters, and a note of every write and link.

Reads, outcomes of writes and links come by the thousand, so they are noted unchained in ``audit_read`` and sealed
into the chain within a second. Writes and links are noted by triggers: no way to write either goes past them.
"""

from __future__ import annotations

from alembic import op

from migrations.protection import SWEEP, protect

revision = "0022"
down_revision = "0021"

TABLES = """
CREATE TABLE audit_anchor (
    workspace_id uuid NOT NULL,
    n bigint NOT NULL,
    hash bytea NOT NULL,
    made_at timestamptz NOT NULL,
    mac bytea NOT NULL,             -- under the installation's key, which is not in the database
    PRIMARY KEY (workspace_id, n)
);
ALTER TABLE audit_read ADD COLUMN noted_at timestamptz;     -- by the database's clock
ALTER TABLE audit_read ALTER COLUMN noted_at SET DEFAULT clock_timestamp();
ALTER TABLE alert ADD COLUMN acknowledged_at timestamptz;
ALTER TABLE alert ADD COLUMN acknowledged_by text;
CREATE INDEX audit_log_object ON audit_log (workspace_id, object, n);
CREATE INDEX audit_log_at ON audit_log (workspace_id, at);
CREATE INDEX audit_read_object ON audit_read (workspace_id, object, read_id);
CREATE INDEX audit_read_at ON audit_read (workspace_id, at);
"""

GUARDS = """
CREATE FUNCTION guard_audit_read() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- Sealing is the one change there is, and it is made once.
    IF TG_OP = 'UPDATE' AND OLD.sealed_by IS NULL AND NEW.sealed_by IS NOT NULL
       AND (NEW.workspace_id, NEW.read_id, NEW.at, NEW.actor, NEW.action, NEW.object, NEW.detail)
         = (OLD.workspace_id, OLD.read_id, OLD.at, OLD.actor, OLD.action, OLD.object, OLD.detail) THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION '% is append-only: % refused', TG_TABLE_NAME, TG_OP USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER audit_read_guard BEFORE UPDATE OR DELETE ON audit_read
    FOR EACH ROW EXECUTE FUNCTION guard_audit_read();
CREATE TRIGGER audit_read_no_truncate BEFORE TRUNCATE ON audit_read
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE FUNCTION guard_audit_head() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND NEW.workspace_id = OLD.workspace_id AND NEW.n > OLD.n THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'the head of the audit log moves forward only' USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER audit_head_guard BEFORE UPDATE OR DELETE ON audit_head
    FOR EACH ROW EXECUTE FUNCTION guard_audit_head();
"""

NOTES = """
CREATE FUNCTION note_write() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO audit_read (workspace_id, read_id, at, actor, action, object, detail) VALUES (
        NEW.workspace_id, NEW.write_id, NEW.written_at, 'connector_runner', 'outbound.write', NEW.entity_id,
        jsonb_strip_nulls(jsonb_build_object('sink_id', NEW.sink_id, 'lane_id', NEW.lane_id,
            'intent_id', NEW.intent_id, 'operation', NEW.operation, 'outcome', NEW.outcome, 'code', NEW.code,
            'http_status', NEW.http_status, 'mapping_version', NEW.mapping_version, 'causes', NEW.causes)));
    RETURN NULL;
END $$;
CREATE TRIGGER write_log_noted AFTER INSERT ON write_log
    FOR EACH ROW WHEN (NEW.phase = 'outcome') EXECUTE FUNCTION note_write();

CREATE FUNCTION note_link() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO audit_read (workspace_id, read_id, at, actor, action, object, detail) VALUES (
        NEW.workspace_id, NEW.id, NEW.at, coalesce(NEW.actor, 'connector_runner'), 'link.' || NEW.action, NEW.one,
        jsonb_strip_nulls(jsonb_build_object('other', NEW.other, 'method', NEW.method, 'rule', NEW.rule,
            'version', NEW.version)));
    RETURN NULL;
END $$;
CREATE TRIGGER link_event_noted AFTER INSERT ON link_event FOR EACH ROW EXECUTE FUNCTION note_link();
"""


def upgrade() -> None:
    """Create the anchors, the guards and the triggers that note."""
    op.execute(TABLES)
    protect("audit_anchor", append_only=True)
    op.execute(GUARDS)
    op.execute(NOTES)
    # Ids and codes alone, and of the notes only those that wait: whose logs have something to seal or to anchor.
    op.execute(f"CREATE POLICY sweep ON audit_read FOR SELECT USING ({SWEEP} AND sealed_by IS NULL)")
    op.execute(f"CREATE POLICY sweep ON audit_head FOR SELECT USING ({SWEEP})")
