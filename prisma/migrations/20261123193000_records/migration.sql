-- Where members are, what nodes declare about their data, and which records each contribution was trained on.
ALTER TABLE "member" ADD COLUMN "jurisdiction" TEXT;

CREATE TABLE "dataset_record" (
    "digest" TEXT NOT NULL,
    "node_id" TEXT NOT NULL,
    "record_id" TEXT NOT NULL,
    "record" TEXT NOT NULL,
    "signature" TEXT NOT NULL,
    "key_id" TEXT NOT NULL,
    "evidence" TEXT NOT NULL,
    "content" TEXT NOT NULL,
    "public" BOOLEAN NOT NULL,
    "registered_at" TIMESTAMPTZ(3) NOT NULL,
    "withdrawn_at" TIMESTAMPTZ(3),
    "withdrawal" TEXT,
    "withdrawal_signature" TEXT,

    CONSTRAINT "dataset_record_pkey" PRIMARY KEY ("digest")
);

CREATE TABLE "contribution_record" (
    "contribution_id" TEXT NOT NULL,
    "record_digest" TEXT NOT NULL,
    "language" TEXT NOT NULL,
    "tokens" BIGINT NOT NULL,

    CONSTRAINT "contribution_record_pkey" PRIMARY KEY ("contribution_id","record_digest","language")
);

CREATE INDEX "dataset_record_node_id_record_id_idx" ON "dataset_record"("node_id", "record_id");
CREATE INDEX "dataset_record_registered_at_idx" ON "dataset_record"("registered_at");
CREATE INDEX "contribution_record_record_digest_idx" ON "contribution_record"("record_digest");

ALTER TABLE "dataset_record" ADD CONSTRAINT "dataset_record_node_id_fkey" FOREIGN KEY ("node_id") REFERENCES "node"("id") ON DELETE RESTRICT ON UPDATE CASCADE;
ALTER TABLE "contribution_record" ADD CONSTRAINT "contribution_record_contribution_id_fkey" FOREIGN KEY ("contribution_id") REFERENCES "contribution"("id") ON DELETE RESTRICT ON UPDATE CASCADE;
ALTER TABLE "contribution_record" ADD CONSTRAINT "contribution_record_record_digest_fkey" FOREIGN KEY ("record_digest") REFERENCES "dataset_record"("digest") ON DELETE RESTRICT ON UPDATE CASCADE;

COMMENT ON COLUMN "member"."jurisdiction" IS 'Where it is: ISO 3166; null when no operator has declared it.';
COMMENT ON TABLE "dataset_record" IS 'What a node declares about a corpus. Never changed: a new declaration is a new row.';
COMMENT ON COLUMN "dataset_record"."digest" IS 'SHA-256 of the record''s canonical JSON: how contributions name it.';
COMMENT ON COLUMN "dataset_record"."node_id" IS 'Node that signed it.';
COMMENT ON COLUMN "dataset_record"."record_id" IS 'The node''s own name for the dataset, the same in every declaration of it.';
COMMENT ON COLUMN "dataset_record"."record" IS 'Canonical JSON that the node signed, as text.';
COMMENT ON COLUMN "dataset_record"."signature" IS 'Base64 signature by the node key.';
COMMENT ON COLUMN "dataset_record"."key_id" IS 'Hex SHA-256 of the signing key''s SPKI.';
COMMENT ON COLUMN "dataset_record"."evidence" IS 'Digest of the evidence of consent.';
COMMENT ON COLUMN "dataset_record"."content" IS 'Commitment to the text, the same for the same text.';
COMMENT ON COLUMN "dataset_record"."public" IS 'Whether anyone may read it.';
COMMENT ON COLUMN "dataset_record"."registered_at" IS 'When it was registered.';
COMMENT ON COLUMN "dataset_record"."withdrawn_at" IS 'When its withdrawal arrived; null while it stands.';
COMMENT ON COLUMN "dataset_record"."withdrawal" IS 'Canonical JSON of the withdrawal as the node signed it.';
COMMENT ON COLUMN "dataset_record"."withdrawal_signature" IS 'Base64 signature of the withdrawal by the node key.';
COMMENT ON TABLE "contribution_record" IS 'How much of a contribution came from one dataset record: what a revocation looks up.';
COMMENT ON COLUMN "contribution_record"."contribution_id" IS 'The contribution.';
COMMENT ON COLUMN "contribution_record"."record_digest" IS 'The record.';
COMMENT ON COLUMN "contribution_record"."language" IS 'BCP-47 tag, verbatim.';
COMMENT ON COLUMN "contribution_record"."tokens" IS 'Tokens trained on in this round.';
