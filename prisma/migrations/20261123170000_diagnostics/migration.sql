-- What the arithmetic of each merge says about the contributions of its round.
CREATE TABLE "diagnostics" (
    "run_id" TEXT NOT NULL,
    "round" INTEGER NOT NULL,
    "report" JSONB NOT NULL,
    "at" TIMESTAMPTZ(3) NOT NULL,

    CONSTRAINT "diagnostics_pkey" PRIMARY KEY ("run_id", "round")
);

ALTER TABLE "diagnostics" ADD CONSTRAINT "diagnostics_run_id_round_fkey" FOREIGN KEY ("run_id", "round") REFERENCES "round"("run_id", "number") ON DELETE RESTRICT ON UPDATE CASCADE;

COMMENT ON TABLE "diagnostics" IS 'What the arithmetic of a merge says about the contributions of its round.';
COMMENT ON COLUMN "diagnostics"."run_id" IS 'Run of the round.';
COMMENT ON COLUMN "diagnostics"."round" IS 'Number of the round.';
COMMENT ON COLUMN "diagnostics"."report" IS 'Norms, cosines, retained shares, outliers: Diagnostics of src/aggregation/diagnostics.ts.';
COMMENT ON COLUMN "diagnostics"."at" IS 'When the merge was recorded.';
