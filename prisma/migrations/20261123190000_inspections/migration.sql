-- What the tensors of each uploaded artifact hold, learned while it arrived.
CREATE TABLE "inspection" (
    "digest" TEXT NOT NULL,
    "summary" TEXT NOT NULL,
    "at" TIMESTAMPTZ(3) NOT NULL,

    CONSTRAINT "inspection_pkey" PRIMARY KEY ("digest")
);

COMMENT ON TABLE "inspection" IS 'What the tensors of an uploaded artifact hold, learned while it arrived: it need not be read again to be judged.';
COMMENT ON COLUMN "inspection"."digest" IS 'Digest of the artifact.';
COMMENT ON COLUMN "inspection"."summary" IS 'JSON: Summary of src/model/summary.ts. Text, because names of tensors may hold what JSONB cannot.';
COMMENT ON COLUMN "inspection"."at" IS 'When it was recorded.';
