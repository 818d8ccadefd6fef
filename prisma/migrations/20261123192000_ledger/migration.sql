-- The log of what happened: entries that wait for their number, the numbered ones, the hashes of their tree, and its edge.
CREATE TABLE "ledger_pending" (
    "id" BIGSERIAL NOT NULL,
    "subject" TEXT,
    "document" TEXT NOT NULL,

    CONSTRAINT "ledger_pending_pkey" PRIMARY KEY ("id")
);

CREATE TABLE "ledger_entry" (
    "index" BIGINT NOT NULL,
    "subject" TEXT,
    "document" TEXT NOT NULL,

    CONSTRAINT "ledger_entry_pkey" PRIMARY KEY ("index")
);

CREATE INDEX "ledger_entry_subject_idx" ON "ledger_entry"("subject");

CREATE TABLE "ledger_hash" (
    "level" INTEGER NOT NULL,
    "index" BIGINT NOT NULL,
    "hash" BYTEA NOT NULL,

    CONSTRAINT "ledger_hash_pkey" PRIMARY KEY ("level", "index")
);

CREATE TABLE "ledger_head" (
    "id" INTEGER NOT NULL,
    "size" BIGINT NOT NULL,
    "frontier" BYTEA NOT NULL,
    "key_id" TEXT,

    CONSTRAINT "ledger_head_pkey" PRIMARY KEY ("id")
);

INSERT INTO "ledger_head" ("id", "size", "frontier") VALUES (1, 0, '\x');

-- What is in the log stays as it is, whoever asks.
CREATE FUNCTION "ledger_is_append_only"() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the log is append-only';
END
$$;

CREATE TRIGGER "ledger_entry_append_only" BEFORE UPDATE OR DELETE OR TRUNCATE ON "ledger_entry"
    FOR EACH STATEMENT EXECUTE FUNCTION "ledger_is_append_only"();

CREATE TRIGGER "ledger_hash_append_only" BEFORE UPDATE OR DELETE OR TRUNCATE ON "ledger_hash"
    FOR EACH STATEMENT EXECUTE FUNCTION "ledger_is_append_only"();

COMMENT ON TABLE "ledger_pending" IS 'An entry of the log that has happened and waits for its number: rows leave within a second.';
COMMENT ON COLUMN "ledger_pending"."id" IS 'Order of arrival, with holes where transactions were rolled back.';
COMMENT ON COLUMN "ledger_pending"."subject" IS 'Id that the entry can be asked for by: a contribution, a checkpoint, a node; null for others.';
COMMENT ON COLUMN "ledger_pending"."document" IS 'Canonical JSON of the entry: src/ledger/entry.ts.';
COMMENT ON TABLE "ledger_entry" IS 'The log: entries in their final order, never changed (a trigger refuses).';
COMMENT ON COLUMN "ledger_entry"."index" IS 'Place in the log, from 0, without holes.';
COMMENT ON COLUMN "ledger_entry"."subject" IS 'Id that the entry can be asked for by: a contribution, a checkpoint, a node; null for others.';
COMMENT ON COLUMN "ledger_entry"."document" IS 'Canonical JSON of the entry: the bytes of its leaf.';
COMMENT ON TABLE "ledger_hash" IS 'Hashes of the log''s tree, every eighth level of it: what tiles and proofs are made of. Never changed (a trigger refuses).';
COMMENT ON COLUMN "ledger_hash"."level" IS '0 for leaves; one more for each 256-fold.';
COMMENT ON COLUMN "ledger_hash"."index" IS 'Counts the complete subtrees of 256^level leaves.';
COMMENT ON COLUMN "ledger_hash"."hash" IS 'Root of the subtree, 32 bytes (RFC 9162).';
COMMENT ON TABLE "ledger_head" IS 'The edge of the log''s tree; exactly one row. Whoever numbers entries holds its lock.';
COMMENT ON COLUMN "ledger_head"."id" IS 'Always 1.';
COMMENT ON COLUMN "ledger_head"."size" IS 'Entries that have a number.';
COMMENT ON COLUMN "ledger_head"."frontier" IS 'Roots of the complete subtrees of which the size is the sum, largest first, 32 bytes each.';
COMMENT ON COLUMN "ledger_head"."key_id" IS 'Hex SHA-256 of the public key (SPKI) that signs the log for ever; null before it was opened.';
