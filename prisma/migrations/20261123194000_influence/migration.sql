-- Every weight and every release is a decision with its inputs.
ALTER TABLE "contribution" ADD COLUMN "weight_record" JSONB;
ALTER TABLE "evaluation" ADD COLUMN "paired" JSONB;

CREATE TABLE "release_decision" (
    "run_id" TEXT NOT NULL,
    "round" INTEGER NOT NULL,
    "record" JSONB NOT NULL,
    "at" TIMESTAMPTZ(3) NOT NULL,

    CONSTRAINT "release_decision_pkey" PRIMARY KEY ("run_id", "round")
);

ALTER TABLE "release_decision" ADD CONSTRAINT "release_decision_run_id_round_fkey" FOREIGN KEY ("run_id", "round") REFERENCES "round"("run_id", "number") ON DELETE RESTRICT ON UPDATE CASCADE;

COMMENT ON COLUMN "contribution"."weight_record" IS 'What the weight was decided from: WeightRecord of src/policy/influence.ts; null before sealing.';
COMMENT ON COLUMN "evaluation"."paired" IS 'How each held-out sequence changed: PairedEvidence of src/model/paired-evidence.ts; null when only means were told.';
COMMENT ON TABLE "release_decision" IS 'What the release gate decided about a candidate, and from what.';
COMMENT ON COLUMN "release_decision"."run_id" IS 'Run of the round.';
COMMENT ON COLUMN "release_decision"."round" IS 'Number of the round.';
COMMENT ON COLUMN "release_decision"."record" IS 'Verdict for each language and community: GateRecord of src/policy/release.ts.';
COMMENT ON COLUMN "release_decision"."at" IS 'When it was decided.';
