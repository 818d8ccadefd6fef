-- Documents about each checkpoint, for other people's tools. Checkpoints from before have none.
CREATE TABLE "attestation" (
    "checkpoint_digest" TEXT NOT NULL,
    "path" TEXT NOT NULL,
    "digest" TEXT NOT NULL,
    "size" BIGINT NOT NULL,
    "content" TEXT NOT NULL,

    CONSTRAINT "attestation_pkey" PRIMARY KEY ("checkpoint_digest", "path")
);

ALTER TABLE "attestation" ADD CONSTRAINT "attestation_checkpoint_digest_fkey" FOREIGN KEY ("checkpoint_digest") REFERENCES "checkpoint"("digest") ON DELETE RESTRICT ON UPDATE CASCADE;

COMMENT ON TABLE "attestation" IS 'A document about a checkpoint, made and signed once, when it was published.';
COMMENT ON COLUMN "attestation"."checkpoint_digest" IS 'The checkpoint.';
COMMENT ON COLUMN "attestation"."path" IS 'Relative path beside the checkpoint''s files.';
COMMENT ON COLUMN "attestation"."digest" IS 'SHA-256 of the content.';
COMMENT ON COLUMN "attestation"."size" IS 'Bytes of the content.';
COMMENT ON COLUMN "attestation"."content" IS 'JSON, as text.';
