-- Revocations: which contributions, rounds and checkpoints each took back, and what a revision merges again.
ALTER TABLE "run" ADD COLUMN "uncounted" INTEGER NOT NULL DEFAULT 0;
ALTER TABLE "round" ADD COLUMN "revocation" INTEGER;
ALTER TABLE "contribution" ADD COLUMN "revocation" INTEGER;
ALTER TABLE "checkpoint" ADD COLUMN "revocation" INTEGER;

CREATE TABLE "revocation" (
    "run_id" TEXT NOT NULL,
    "number" INTEGER NOT NULL,
    "mode" TEXT NOT NULL,
    "requested_by" TEXT NOT NULL,
    "reason" TEXT NOT NULL,
    "plan" JSONB NOT NULL,
    "state" JSONB NOT NULL,
    "notice" TEXT,
    "notice_signature" TEXT,
    "notice_key_id" TEXT,
    "created_at" TIMESTAMPTZ(3) NOT NULL,
    "updated_at" TIMESTAMPTZ(3) NOT NULL,

    CONSTRAINT "revocation_pkey" PRIMARY KEY ("run_id","number")
);

CREATE TABLE "remerge" (
    "run_id" TEXT NOT NULL,
    "revision" INTEGER NOT NULL,
    "contribution_id" TEXT NOT NULL,
    "weight" DOUBLE PRECISION,
    "weight_reason" TEXT,
    "weight_record" JSONB,

    CONSTRAINT "remerge_pkey" PRIMARY KEY ("run_id","revision","contribution_id")
);

CREATE INDEX "remerge_contribution_id_idx" ON "remerge"("contribution_id");

ALTER TABLE "revocation" ADD CONSTRAINT "revocation_run_id_fkey" FOREIGN KEY ("run_id") REFERENCES "run"("id") ON DELETE RESTRICT ON UPDATE CASCADE;
ALTER TABLE "remerge" ADD CONSTRAINT "remerge_contribution_id_fkey" FOREIGN KEY ("contribution_id") REFERENCES "contribution"("id") ON DELETE RESTRICT ON UPDATE CASCADE;
ALTER TABLE "remerge" ADD CONSTRAINT "remerge_run_id_revision_fkey" FOREIGN KEY ("run_id", "revision") REFERENCES "round"("run_id", "number") ON DELETE RESTRICT ON UPDATE CASCADE;

COMMENT ON COLUMN "run"."rounds_started" IS 'Rounds opened so far that count; the next is one more.';
COMMENT ON COLUMN "run"."uncounted" IS 'Round numbers that do not count: rounds that revocations took back, and revisions.';
COMMENT ON COLUMN "round"."revocation" IS 'Revocation of the run that took it back; null while its result counts.';
COMMENT ON COLUMN "contribution"."revocation" IS 'Revocation of the run that revoked it; null while it stands.';
COMMENT ON COLUMN "checkpoint"."revocation" IS 'Revocation of the run that superseded it; null while it stands.';
COMMENT ON TABLE "revocation" IS 'Contributions of one run that are taken back, and what becomes of the models that hold them.';
COMMENT ON COLUMN "revocation"."run_id" IS 'The run.';
COMMENT ON COLUMN "revocation"."number" IS 'Counted from 1 within the run.';
COMMENT ON COLUMN "revocation"."mode" IS 'rewind or remerge.';
COMMENT ON COLUMN "revocation"."requested_by" IS 'Node id, or operator.';
COMMENT ON COLUMN "revocation"."reason" IS 'Why, in the words of who asked.';
COMMENT ON COLUMN "revocation"."plan" IS 'What it takes back and costs: RevocationPlan of src/policy/revocation.ts, as it was planned.';
COMMENT ON COLUMN "revocation"."state" IS 'The discriminated union of src/round/revocation.ts.';
COMMENT ON COLUMN "revocation"."notice" IS 'Canonical JSON of the notice that names what is superseded; null before it is signed, or when nothing is.';
COMMENT ON COLUMN "revocation"."notice_signature" IS 'Base64 signature of the notice by the release key.';
COMMENT ON COLUMN "revocation"."notice_key_id" IS 'Hex SHA-256 of the release key''s SPKI.';
COMMENT ON COLUMN "revocation"."created_at" IS 'When it was asked for.';
COMMENT ON COLUMN "revocation"."updated_at" IS 'When it last changed.';
COMMENT ON TABLE "remerge" IS 'A contribution that a revision merges again.';
COMMENT ON COLUMN "remerge"."run_id" IS 'Run of both rounds.';
COMMENT ON COLUMN "remerge"."revision" IS 'Number of the revision: the round that merges it again.';
COMMENT ON COLUMN "remerge"."contribution_id" IS 'The contribution; its own row says which round it was handed in for.';
COMMENT ON COLUMN "remerge"."weight" IS 'Share in its step of the merge, 0 to 1; null before the merge.';
COMMENT ON COLUMN "remerge"."weight_reason" IS 'Why the weight is what it is.';
COMMENT ON COLUMN "remerge"."weight_record" IS 'What the weight was decided from: WeightRecord of src/policy/influence.ts; null before the merge.';
COMMENT ON COLUMN "job"."round" IS 'Number of the round; of the revocation for revoke.';
