-- Nodes stand aside, leave, are barred and change their keys.
ALTER TABLE "node" ADD COLUMN "status_since" TIMESTAMPTZ(3),
    ADD COLUMN "status_reason" TEXT,
    ADD COLUMN "paused_at" TIMESTAMPTZ(3),
    ADD COLUMN "key_changes" INTEGER NOT NULL DEFAULT 0,
    ADD COLUMN "keys_since" TIMESTAMPTZ(3),
    ADD COLUMN "departure" TEXT,
    ADD COLUMN "departure_signature" TEXT;

ALTER TABLE "roster_entry" ADD COLUMN "declined" BOOLEAN NOT NULL DEFAULT false;

CREATE TABLE "key_record" (
    "node_id" TEXT NOT NULL,
    "number" INTEGER NOT NULL,
    "record" TEXT NOT NULL,
    "signatures" JSONB NOT NULL,
    "at" TIMESTAMPTZ(3) NOT NULL,

    CONSTRAINT "key_record_pkey" PRIMARY KEY ("node_id","number")
);

ALTER TABLE "key_record" ADD CONSTRAINT "key_record_node_id_fkey" FOREIGN KEY ("node_id") REFERENCES "node"("id") ON DELETE RESTRICT ON UPDATE CASCADE;

COMMENT ON COLUMN "node"."public_key" IS 'PEM of the node''s present Ed25519 public key: verifies its contributions.';
COMMENT ON COLUMN "node"."status" IS 'active, suspended, left or ejected; only active nodes may call.';
COMMENT ON COLUMN "node"."status_since" IS 'When the status last changed; null while it is the first.';
COMMENT ON COLUMN "node"."status_reason" IS 'What an operator gave as the reason of the status; null when none did.';
COMMENT ON COLUMN "node"."paused_at" IS 'Since when it stands aside by its own choice; null when it does not.';
COMMENT ON COLUMN "node"."key_changes" IS 'Times it has changed its keys: certificates from before the last change are worth nothing.';
COMMENT ON COLUMN "node"."keys_since" IS 'When it last changed its keys; null when it never did.';
COMMENT ON COLUMN "node"."departure" IS 'Canonical JSON that the node signed when it left; null otherwise.';
COMMENT ON COLUMN "node"."departure_signature" IS 'Base64 signature of the departure by the node key.';
COMMENT ON COLUMN "roster_entry"."declined" IS 'Whether it takes no further part: by its own choice, or because it has gone or was barred.';
COMMENT ON TABLE "key_record" IS 'A change of a node''s keys. The rows of a node are a chain: each names the digest of the one before, the first the genesis record''s.';
COMMENT ON COLUMN "key_record"."node_id" IS 'Node whose keys they are.';
COMMENT ON COLUMN "key_record"."number" IS 'Counts the changes of the node''s keys, from 1.';
COMMENT ON COLUMN "key_record"."record" IS 'Canonical JSON of the record, as text.';
COMMENT ON COLUMN "key_record"."signatures" IS 'Key ids and base64 signatures of everybody whose signature the change needs.';
COMMENT ON COLUMN "key_record"."at" IS 'When it was accepted.';
