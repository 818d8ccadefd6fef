CREATE TABLE "review" (
    "contribution_id" TEXT NOT NULL,
    "reviewer" TEXT NOT NULL,
    "run_id" TEXT NOT NULL,
    "round" INTEGER NOT NULL,
    "languages" JSONB,
    "report" TEXT,
    "signature" TEXT,
    "key_id" TEXT,
    "at" TIMESTAMPTZ(3),

    CONSTRAINT "review_pkey" PRIMARY KEY ("contribution_id", "reviewer")
);

CREATE INDEX "review_run_id_round_reviewer_idx" ON "review"("run_id", "round", "reviewer");

ALTER TABLE "review" ADD CONSTRAINT "review_contribution_id_fkey" FOREIGN KEY ("contribution_id") REFERENCES "contribution"("id") ON DELETE RESTRICT ON UPDATE CASCADE;

COMMENT ON TABLE "review" IS 'One contribution in the hands of one reviewer: asked for when the round sealed, answered or not.';
COMMENT ON COLUMN "review"."contribution_id" IS 'The contribution to score.';
COMMENT ON COLUMN "review"."reviewer" IS 'Who scores it: a node of another member, which contributed to the same round.';
COMMENT ON COLUMN "review"."run_id" IS 'Run of the round.';
COMMENT ON COLUMN "review"."round" IS 'Number of the round.';
COMMENT ON COLUMN "review"."languages" IS 'Base and base plus the contribution by language: ReviewReport of src/model/review-report.ts; null until it is answered.';
COMMENT ON COLUMN "review"."report" IS 'Canonical JSON of the signed report; null until it is answered.';
COMMENT ON COLUMN "review"."signature" IS 'Base64 signature of the report by the reviewer''s node key; null until it is answered.';
COMMENT ON COLUMN "review"."key_id" IS 'Hex SHA-256 of the signing key''s SPKI; null until it is answered.';
COMMENT ON COLUMN "review"."at" IS 'When the report was stored; null until it is answered.';
COMMENT ON COLUMN "rejection"."kind" IS 'upload, contribution, evaluation or review: what was refused.';
