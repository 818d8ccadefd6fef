-- Operators' keys, and what enough of them decide: the release of a candidate that the gate had blocked.
CREATE TABLE "release_override" (
    "run_id" TEXT NOT NULL,
    "round" INTEGER NOT NULL,
    "proof" JSONB NOT NULL,
    "at" TIMESTAMPTZ(3) NOT NULL,

    CONSTRAINT "release_override_pkey" PRIMARY KEY ("run_id", "round")
);

CREATE TABLE "operator_record" (
    "version" INTEGER NOT NULL,
    "digest" TEXT NOT NULL,
    "record" TEXT NOT NULL,
    "signature" TEXT NOT NULL,
    "key_id" TEXT NOT NULL,
    "at" TIMESTAMPTZ(3) NOT NULL,

    CONSTRAINT "operator_record_pkey" PRIMARY KEY ("version")
);

CREATE TABLE "endorsement" (
    "subject" TEXT NOT NULL,
    "key_id" TEXT NOT NULL,
    "statement" TEXT NOT NULL,
    "signature" TEXT NOT NULL,
    "at" TIMESTAMPTZ(3) NOT NULL,

    CONSTRAINT "endorsement_pkey" PRIMARY KEY ("subject", "key_id")
);

CREATE UNIQUE INDEX "operator_record_digest_key" ON "operator_record"("digest");

ALTER TABLE "release_override" ADD CONSTRAINT "release_override_run_id_round_fkey" FOREIGN KEY ("run_id", "round") REFERENCES "round"("run_id", "number") ON DELETE RESTRICT ON UPDATE CASCADE;

COMMENT ON COLUMN "job"."kind" IS 'aggregate, decide, override or revoke.';
COMMENT ON TABLE "release_override" IS 'That operators release a candidate which the gate had blocked: enough of them have signed.';
COMMENT ON COLUMN "release_override"."run_id" IS 'Run of the round.';
COMMENT ON COLUMN "release_override"."round" IS 'Number of the round.';
COMMENT ON COLUMN "release_override"."proof" IS 'Who, why, and by which record: Override of src/model/override.ts.';
COMMENT ON COLUMN "release_override"."at" IS 'When the last signature that it took arrived.';
COMMENT ON TABLE "operator_record" IS 'Which keys may override together, and how many of them it takes. Never changed: a new one is a new row, and the newest stands.';
COMMENT ON COLUMN "operator_record"."version" IS 'Counted from 1.';
COMMENT ON COLUMN "operator_record"."digest" IS 'SHA-256 of the record.';
COMMENT ON COLUMN "operator_record"."record" IS 'Canonical JSON of the record, as text.';
COMMENT ON COLUMN "operator_record"."signature" IS 'Base64 signature by the federation''s authority.';
COMMENT ON COLUMN "operator_record"."key_id" IS 'Hex SHA-256 of the authority''s SPKI.';
COMMENT ON COLUMN "operator_record"."at" IS 'Since when it stands.';
COMMENT ON TABLE "endorsement" IS 'One operator''s signature on something that takes several.';
COMMENT ON COLUMN "endorsement"."subject" IS 'What it is about: `override <run>/<round>`, or the digest of an operator record.';
COMMENT ON COLUMN "endorsement"."key_id" IS 'Hex SHA-256 of the signing key''s SPKI.';
COMMENT ON COLUMN "endorsement"."statement" IS 'Canonical JSON that was signed, as text.';
COMMENT ON COLUMN "endorsement"."signature" IS 'Base64 signature.';
COMMENT ON COLUMN "endorsement"."at" IS 'When it arrived: it counts for a while.';
