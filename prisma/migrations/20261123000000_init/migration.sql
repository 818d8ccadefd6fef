-- CreateSchema
CREATE SCHEMA IF NOT EXISTS "public";

-- CreateTable
CREATE TABLE "federation" (
    "id" TEXT NOT NULL,
    "name" TEXT NOT NULL,
    "record" TEXT NOT NULL,
    "signature" TEXT NOT NULL,
    "created_at" TIMESTAMPTZ(3) NOT NULL,

    CONSTRAINT "federation_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "member" (
    "id" TEXT NOT NULL,
    "created_at" TIMESTAMPTZ(3) NOT NULL,

    CONSTRAINT "member_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "invitation" (
    "secret_hash" TEXT NOT NULL,
    "member_id" TEXT NOT NULL,
    "expires_at" TIMESTAMPTZ(3) NOT NULL,
    "used_by" TEXT,
    "used_at" TIMESTAMPTZ(3),
    "created_at" TIMESTAMPTZ(3) NOT NULL,

    CONSTRAINT "invitation_pkey" PRIMARY KEY ("secret_hash")
);

-- CreateTable
CREATE TABLE "node" (
    "id" TEXT NOT NULL,
    "member_id" TEXT NOT NULL,
    "name" TEXT NOT NULL,
    "genesis" TEXT NOT NULL,
    "public_key" TEXT NOT NULL,
    "status" TEXT NOT NULL,
    "enrolled_at" TIMESTAMPTZ(3) NOT NULL,

    CONSTRAINT "node_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "run" (
    "id" TEXT NOT NULL,
    "plan" TEXT NOT NULL,
    "plan_digest" TEXT NOT NULL,
    "policy" JSONB NOT NULL,
    "channel" TEXT NOT NULL,
    "head_digest" TEXT NOT NULL,
    "rounds_started" INTEGER NOT NULL,
    "created_at" TIMESTAMPTZ(3) NOT NULL,

    CONSTRAINT "run_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "round" (
    "run_id" TEXT NOT NULL,
    "number" INTEGER NOT NULL,
    "phase" TEXT NOT NULL,
    "state" JSONB NOT NULL,
    "version" INTEGER NOT NULL,
    "deadline" TIMESTAMPTZ(3),
    "created_at" TIMESTAMPTZ(3) NOT NULL,
    "updated_at" TIMESTAMPTZ(3) NOT NULL,

    CONSTRAINT "round_pkey" PRIMARY KEY ("run_id","number")
);

-- CreateTable
CREATE TABLE "roster_entry" (
    "run_id" TEXT NOT NULL,
    "round" INTEGER NOT NULL,
    "node_id" TEXT NOT NULL,
    "standing" TEXT NOT NULL,
    "evaluated" BOOLEAN NOT NULL DEFAULT false,
    "joined_at" TIMESTAMPTZ(3) NOT NULL,

    CONSTRAINT "roster_entry_pkey" PRIMARY KEY ("run_id","round","node_id")
);

-- CreateTable
CREATE TABLE "contribution" (
    "id" TEXT NOT NULL,
    "run_id" TEXT NOT NULL,
    "round" INTEGER NOT NULL,
    "node_id" TEXT NOT NULL,
    "manifest" TEXT NOT NULL,
    "signature" TEXT NOT NULL,
    "key_id" TEXT NOT NULL,
    "nonce" TEXT NOT NULL,
    "payload_digest" TEXT NOT NULL,
    "bytes" BIGINT NOT NULL,
    "norm" DOUBLE PRECISION NOT NULL,
    "weight" DOUBLE PRECISION,
    "weight_reason" TEXT,
    "accepted_at" TIMESTAMPTZ(3) NOT NULL,

    CONSTRAINT "contribution_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "contribution_language" (
    "contribution_id" TEXT NOT NULL,
    "language" TEXT NOT NULL,
    "community" TEXT NOT NULL,
    "tokens" BIGINT NOT NULL,
    "documents" BIGINT NOT NULL,
    "held_out_tokens" BIGINT NOT NULL,
    "loss_before" DOUBLE PRECISION NOT NULL,
    "loss_before_se" DOUBLE PRECISION NOT NULL,
    "loss_after" DOUBLE PRECISION NOT NULL,
    "loss_after_se" DOUBLE PRECISION NOT NULL,

    CONSTRAINT "contribution_language_pkey" PRIMARY KEY ("contribution_id","language","community")
);

-- CreateTable
CREATE TABLE "rejection" (
    "id" BIGSERIAL NOT NULL,
    "run_id" TEXT,
    "round" INTEGER,
    "node_id" TEXT NOT NULL,
    "kind" TEXT NOT NULL,
    "reason" TEXT NOT NULL,
    "detail" TEXT NOT NULL,
    "at" TIMESTAMPTZ(3) NOT NULL,

    CONSTRAINT "rejection_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "evaluation" (
    "run_id" TEXT NOT NULL,
    "round" INTEGER NOT NULL,
    "measured_by" TEXT NOT NULL,
    "language" TEXT NOT NULL,
    "community" TEXT NOT NULL,
    "tokens" BIGINT NOT NULL,
    "base_mean" DOUBLE PRECISION NOT NULL,
    "base_se" DOUBLE PRECISION NOT NULL,
    "candidate_mean" DOUBLE PRECISION NOT NULL,
    "candidate_se" DOUBLE PRECISION NOT NULL,
    "report" TEXT,
    "signature" TEXT,
    "key_id" TEXT,
    "at" TIMESTAMPTZ(3) NOT NULL,

    CONSTRAINT "evaluation_pkey" PRIMARY KEY ("run_id","round","measured_by","language","community")
);

-- CreateTable
CREATE TABLE "checkpoint" (
    "digest" TEXT NOT NULL,
    "run_id" TEXT NOT NULL,
    "version" INTEGER NOT NULL,
    "round" INTEGER NOT NULL,
    "parent_digest" TEXT,
    "manifest" TEXT NOT NULL,
    "signature" TEXT NOT NULL,
    "key_id" TEXT NOT NULL,
    "created_at" TIMESTAMPTZ(3) NOT NULL,

    CONSTRAINT "checkpoint_pkey" PRIMARY KEY ("digest")
);

-- CreateTable
CREATE TABLE "checkpoint_file" (
    "checkpoint_digest" TEXT NOT NULL,
    "path" TEXT NOT NULL,
    "digest" TEXT NOT NULL,
    "size" BIGINT NOT NULL,

    CONSTRAINT "checkpoint_file_pkey" PRIMARY KEY ("checkpoint_digest","path")
);

-- CreateTable
CREATE TABLE "channel" (
    "name" TEXT NOT NULL,
    "checkpoint_digest" TEXT NOT NULL,
    "updated_at" TIMESTAMPTZ(3) NOT NULL,

    CONSTRAINT "channel_pkey" PRIMARY KEY ("name")
);

-- CreateTable
CREATE TABLE "job" (
    "id" TEXT NOT NULL,
    "kind" TEXT NOT NULL,
    "run_id" TEXT NOT NULL,
    "round" INTEGER NOT NULL,
    "state" TEXT NOT NULL,
    "lease_token" TEXT,
    "lease_until" TIMESTAMPTZ(3),
    "attempts" INTEGER NOT NULL DEFAULT 0,
    "last_error" TEXT,
    "created_at" TIMESTAMPTZ(3) NOT NULL,
    "updated_at" TIMESTAMPTZ(3) NOT NULL,

    CONSTRAINT "job_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "upload" (
    "digest" TEXT NOT NULL,
    "size" BIGINT NOT NULL,
    "node_id" TEXT NOT NULL,
    "created_at" TIMESTAMPTZ(3) NOT NULL,

    CONSTRAINT "upload_pkey" PRIMARY KEY ("digest")
);

-- CreateIndex
CREATE INDEX "invitation_member_id_idx" ON "invitation"("member_id");

-- CreateIndex
CREATE INDEX "node_member_id_idx" ON "node"("member_id");

-- CreateIndex
CREATE INDEX "run_plan_digest_idx" ON "run"("plan_digest");

-- CreateIndex
CREATE INDEX "round_phase_deadline_idx" ON "round"("phase", "deadline");

-- CreateIndex
CREATE INDEX "round_created_at_idx" ON "round"("created_at");

-- CreateIndex
CREATE INDEX "roster_entry_node_id_idx" ON "roster_entry"("node_id");

-- CreateIndex
CREATE UNIQUE INDEX "contribution_run_id_round_node_id_key" ON "contribution"("run_id", "round", "node_id");

-- CreateIndex
CREATE UNIQUE INDEX "contribution_node_id_nonce_key" ON "contribution"("node_id", "nonce");

-- CreateIndex
CREATE INDEX "contribution_payload_digest_idx" ON "contribution"("payload_digest");

-- CreateIndex
CREATE INDEX "contribution_language_language_idx" ON "contribution_language"("language");

-- CreateIndex
CREATE INDEX "contribution_language_community_idx" ON "contribution_language"("community");

-- CreateIndex
CREATE INDEX "rejection_run_id_round_idx" ON "rejection"("run_id", "round");

-- CreateIndex
CREATE INDEX "rejection_node_id_idx" ON "rejection"("node_id");

-- CreateIndex
CREATE INDEX "checkpoint_created_at_idx" ON "checkpoint"("created_at");

-- CreateIndex
CREATE UNIQUE INDEX "checkpoint_run_id_version_key" ON "checkpoint"("run_id", "version");

-- CreateIndex
CREATE INDEX "checkpoint_file_digest_idx" ON "checkpoint_file"("digest");

-- CreateIndex
CREATE INDEX "job_state_lease_until_idx" ON "job"("state", "lease_until");

-- CreateIndex
CREATE INDEX "upload_node_id_idx" ON "upload"("node_id");

-- AddForeignKey
ALTER TABLE "invitation" ADD CONSTRAINT "invitation_member_id_fkey" FOREIGN KEY ("member_id") REFERENCES "member"("id") ON DELETE RESTRICT ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "node" ADD CONSTRAINT "node_member_id_fkey" FOREIGN KEY ("member_id") REFERENCES "member"("id") ON DELETE RESTRICT ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "round" ADD CONSTRAINT "round_run_id_fkey" FOREIGN KEY ("run_id") REFERENCES "run"("id") ON DELETE RESTRICT ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "roster_entry" ADD CONSTRAINT "roster_entry_node_id_fkey" FOREIGN KEY ("node_id") REFERENCES "node"("id") ON DELETE RESTRICT ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "roster_entry" ADD CONSTRAINT "roster_entry_run_id_round_fkey" FOREIGN KEY ("run_id", "round") REFERENCES "round"("run_id", "number") ON DELETE RESTRICT ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "contribution" ADD CONSTRAINT "contribution_node_id_fkey" FOREIGN KEY ("node_id") REFERENCES "node"("id") ON DELETE RESTRICT ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "contribution" ADD CONSTRAINT "contribution_run_id_round_fkey" FOREIGN KEY ("run_id", "round") REFERENCES "round"("run_id", "number") ON DELETE RESTRICT ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "contribution_language" ADD CONSTRAINT "contribution_language_contribution_id_fkey" FOREIGN KEY ("contribution_id") REFERENCES "contribution"("id") ON DELETE RESTRICT ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "rejection" ADD CONSTRAINT "rejection_run_id_round_fkey" FOREIGN KEY ("run_id", "round") REFERENCES "round"("run_id", "number") ON DELETE SET NULL ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "evaluation" ADD CONSTRAINT "evaluation_run_id_round_fkey" FOREIGN KEY ("run_id", "round") REFERENCES "round"("run_id", "number") ON DELETE RESTRICT ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "checkpoint" ADD CONSTRAINT "checkpoint_run_id_fkey" FOREIGN KEY ("run_id") REFERENCES "run"("id") ON DELETE RESTRICT ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "checkpoint_file" ADD CONSTRAINT "checkpoint_file_checkpoint_digest_fkey" FOREIGN KEY ("checkpoint_digest") REFERENCES "checkpoint"("digest") ON DELETE RESTRICT ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "channel" ADD CONSTRAINT "channel_checkpoint_digest_fkey" FOREIGN KEY ("checkpoint_digest") REFERENCES "checkpoint"("digest") ON DELETE RESTRICT ON UPDATE CASCADE;

-- Comments, from schema.prisma
COMMENT ON TABLE "federation" IS 'The one federation that this database belongs to; exactly one row.';
COMMENT ON COLUMN "federation"."id" IS 'Fingerprint of the certificate authority: sha256:<hex of the SPKI>.';
COMMENT ON COLUMN "federation"."name" IS 'Name shown to people.';
COMMENT ON COLUMN "federation"."record" IS 'Canonical JSON of the signed federation record, as text.';
COMMENT ON COLUMN "federation"."signature" IS 'Base64 signature of the record by the CA key.';
COMMENT ON COLUMN "federation"."created_at" IS 'When `coordinator init` made it.';
COMMENT ON TABLE "member" IS 'An organisation with governance voice and exit rights.';
COMMENT ON COLUMN "member"."id" IS 'Slug chosen by the operator who first invited it.';
COMMENT ON COLUMN "member"."created_at" IS 'When the first invitation named it.';
COMMENT ON TABLE "invitation" IS 'A single-use way in, for one node of one member.';
COMMENT ON COLUMN "invitation"."secret_hash" IS 'SHA-256 (hex) of the secret; the secret itself is never stored.';
COMMENT ON COLUMN "invitation"."member_id" IS 'Member that the new node will belong to.';
COMMENT ON COLUMN "invitation"."expires_at" IS 'When it stops being valid.';
COMMENT ON COLUMN "invitation"."used_by" IS 'Node that redeemed it; null while unused.';
COMMENT ON COLUMN "invitation"."used_at" IS 'When it was redeemed.';
COMMENT ON COLUMN "invitation"."created_at" IS 'When an operator made it.';
COMMENT ON TABLE "node" IS 'The compute that a member runs; its data stays there.';
COMMENT ON COLUMN "node"."id" IS 'node-<first 32 hex of the genesis record''s SHA-256>.';
COMMENT ON COLUMN "node"."member_id" IS 'Member that it belongs to.';
COMMENT ON COLUMN "node"."name" IS 'Display name from the genesis record.';
COMMENT ON COLUMN "node"."genesis" IS 'Canonical JSON of the genesis record, as the node signed it.';
COMMENT ON COLUMN "node"."public_key" IS 'PEM of the node''s Ed25519 public key: verifies its contributions.';
COMMENT ON COLUMN "node"."status" IS 'active, suspended or left; only active nodes may call.';
COMMENT ON COLUMN "node"."enrolled_at" IS 'When its invitation was redeemed.';
COMMENT ON TABLE "run" IS 'A training programme: plan, strategy and policies.';
COMMENT ON COLUMN "run"."id" IS 'Slug chosen by the operator.';
COMMENT ON COLUMN "run"."plan" IS 'Canonical JSON of the plan, as text; its SHA-256 is plan_digest.';
COMMENT ON COLUMN "run"."plan_digest" IS 'Digest of the plan.';
COMMENT ON COLUMN "run"."policy" IS 'Windows, quorum, target, limits: RunPolicy of src/round/policy.ts.';
COMMENT ON COLUMN "run"."channel" IS 'Channel that its published checkpoints move.';
COMMENT ON COLUMN "run"."head_digest" IS 'Checkpoint that the next round starts from.';
COMMENT ON COLUMN "run"."rounds_started" IS 'Rounds opened so far; the next is one more.';
COMMENT ON COLUMN "run"."created_at" IS 'When an operator created it.';
COMMENT ON TABLE "round" IS 'One pass of the loop. `state` is the pure state machine''s value; writes compare and set `version`.';
COMMENT ON COLUMN "round"."run_id" IS 'Run that it belongs to.';
COMMENT ON COLUMN "round"."number" IS 'Counted from 1 within the run.';
COMMENT ON COLUMN "round"."phase" IS 'Phase, repeated from state for queries.';
COMMENT ON COLUMN "round"."state" IS 'The discriminated union of src/round/round.ts.';
COMMENT ON COLUMN "round"."version" IS 'Grows by one with every change; compare-and-set guard.';
COMMENT ON COLUMN "round"."deadline" IS 'When the present phase times out; null when it does not. Repeated from state for the sweeper.';
COMMENT ON COLUMN "round"."created_at" IS 'When it was opened.';
COMMENT ON COLUMN "round"."updated_at" IS 'When it last changed.';
COMMENT ON TABLE "roster_entry" IS 'A node''s place in a round. Frozen when collecting starts: no row is added after that.';
COMMENT ON COLUMN "roster_entry"."run_id" IS 'Run of the round.';
COMMENT ON COLUMN "roster_entry"."round" IS 'Number of the round.';
COMMENT ON COLUMN "roster_entry"."node_id" IS 'The node.';
COMMENT ON COLUMN "roster_entry"."standing" IS 'joined, accepted or refused: its latest submission.';
COMMENT ON COLUMN "roster_entry"."evaluated" IS 'Whether its evaluation report has been stored.';
COMMENT ON COLUMN "roster_entry"."joined_at" IS 'When it joined.';
COMMENT ON TABLE "contribution" IS 'An accepted update: one per node and round.';
COMMENT ON COLUMN "contribution"."id" IS 'Digest of the signed manifest.';
COMMENT ON COLUMN "contribution"."run_id" IS 'Run of the round.';
COMMENT ON COLUMN "contribution"."round" IS 'Number of the round.';
COMMENT ON COLUMN "contribution"."node_id" IS 'Who made it.';
COMMENT ON COLUMN "contribution"."manifest" IS 'Canonical JSON that the node signed, as text.';
COMMENT ON COLUMN "contribution"."signature" IS 'Base64 signature by the node key.';
COMMENT ON COLUMN "contribution"."key_id" IS 'Hex SHA-256 of the signing key''s SPKI.';
COMMENT ON COLUMN "contribution"."nonce" IS 'Single-use number chosen by the node (hex); a second use is a replay.';
COMMENT ON COLUMN "contribution"."payload_digest" IS 'Digest of the delta''s safetensors file.';
COMMENT ON COLUMN "contribution"."bytes" IS 'Size of that file in bytes.';
COMMENT ON COLUMN "contribution"."norm" IS 'Euclidean norm of the delta.';
COMMENT ON COLUMN "contribution"."weight" IS 'Share in the merge, 0 to 1; null before sealing.';
COMMENT ON COLUMN "contribution"."weight_reason" IS 'Why the weight is what it is.';
COMMENT ON COLUMN "contribution"."accepted_at" IS 'When it was accepted.';
COMMENT ON TABLE "contribution_language" IS 'What a contribution reports about one language of one community: the first row of the accounts.';
COMMENT ON COLUMN "contribution_language"."contribution_id" IS 'The contribution.';
COMMENT ON COLUMN "contribution_language"."language" IS 'BCP-47 tag, verbatim.';
COMMENT ON COLUMN "contribution_language"."community" IS 'Community that the text belongs to; empty when none is declared.';
COMMENT ON COLUMN "contribution_language"."tokens" IS 'Tokens trained on in this round.';
COMMENT ON COLUMN "contribution_language"."documents" IS 'Documents trained on.';
COMMENT ON COLUMN "contribution_language"."held_out_tokens" IS 'Held-out tokens that the losses below were measured on.';
COMMENT ON COLUMN "contribution_language"."loss_before" IS 'Mean held-out loss of the base, nats per token.';
COMMENT ON COLUMN "contribution_language"."loss_before_se" IS 'Standard error of loss_before over sequences.';
COMMENT ON COLUMN "contribution_language"."loss_after" IS 'Mean held-out loss of base plus the node''s own delta, nats per token.';
COMMENT ON COLUMN "contribution_language"."loss_after_se" IS 'Standard error of loss_after over sequences.';
COMMENT ON TABLE "rejection" IS 'A refusal, kept and counted.';
COMMENT ON COLUMN "rejection"."id" IS 'Order of arrival.';
COMMENT ON COLUMN "rejection"."run_id" IS 'Run named by the submission; null when it named none that exists.';
COMMENT ON COLUMN "rejection"."round" IS 'Round named by the submission.';
COMMENT ON COLUMN "rejection"."node_id" IS 'Node that sent it.';
COMMENT ON COLUMN "rejection"."kind" IS 'upload, contribution or evaluation: what was refused.';
COMMENT ON COLUMN "rejection"."reason" IS 'Code of src/core/rejection.ts.';
COMMENT ON COLUMN "rejection"."detail" IS 'One sentence for the person who has to mend it.';
COMMENT ON COLUMN "rejection"."at" IS 'When it was refused.';
COMMENT ON TABLE "evaluation" IS 'Base and candidate on one language, as one party measured them.';
COMMENT ON COLUMN "evaluation"."run_id" IS 'Run of the round.';
COMMENT ON COLUMN "evaluation"."round" IS 'Number of the round.';
COMMENT ON COLUMN "evaluation"."measured_by" IS 'Node id, or `coordinator` for public evaluation sets.';
COMMENT ON COLUMN "evaluation"."language" IS 'BCP-47 tag, verbatim.';
COMMENT ON COLUMN "evaluation"."community" IS 'Community that the text belongs to; empty when none is declared.';
COMMENT ON COLUMN "evaluation"."tokens" IS 'Held-out tokens scored.';
COMMENT ON COLUMN "evaluation"."base_mean" IS 'Mean loss of the base, nats per token.';
COMMENT ON COLUMN "evaluation"."base_se" IS 'Its standard error over sequences.';
COMMENT ON COLUMN "evaluation"."candidate_mean" IS 'Mean loss of the candidate, nats per token.';
COMMENT ON COLUMN "evaluation"."candidate_se" IS 'Its standard error over sequences.';
COMMENT ON COLUMN "evaluation"."report" IS 'Canonical JSON of the signed report; null when the coordinator measured.';
COMMENT ON COLUMN "evaluation"."signature" IS 'Base64 signature of the report by the node key; null when the coordinator measured.';
COMMENT ON COLUMN "evaluation"."key_id" IS 'Hex SHA-256 of the signing key''s SPKI; null when the coordinator measured.';
COMMENT ON COLUMN "evaluation"."at" IS 'When it was stored.';
COMMENT ON TABLE "checkpoint" IS 'A released merge, or the initial weights of a run (version 0).';
COMMENT ON COLUMN "checkpoint"."digest" IS 'SHA-256 of the manifest''s bytes.';
COMMENT ON COLUMN "checkpoint"."run_id" IS 'Run that it belongs to.';
COMMENT ON COLUMN "checkpoint"."version" IS 'Counts releases of the run; 0 is the initial checkpoint.';
COMMENT ON COLUMN "checkpoint"."round" IS 'Round that made it; 0 for the initial checkpoint.';
COMMENT ON COLUMN "checkpoint"."parent_digest" IS 'Checkpoint that its round started from; null for the initial one.';
COMMENT ON COLUMN "checkpoint"."manifest" IS 'The manifest: canonical JSON, as text.';
COMMENT ON COLUMN "checkpoint"."signature" IS 'Base64 signature of the manifest by the release key.';
COMMENT ON COLUMN "checkpoint"."key_id" IS 'Hex SHA-256 of the release key''s SPKI.';
COMMENT ON COLUMN "checkpoint"."created_at" IS 'When it was published.';
COMMENT ON TABLE "checkpoint_file" IS 'One file of a checkpoint.';
COMMENT ON COLUMN "checkpoint_file"."checkpoint_digest" IS 'The checkpoint.';
COMMENT ON COLUMN "checkpoint_file"."path" IS 'Relative path with forward slashes.';
COMMENT ON COLUMN "checkpoint_file"."digest" IS 'Content address in the blob store.';
COMMENT ON COLUMN "checkpoint_file"."size" IS 'Bytes.';
COMMENT ON TABLE "channel" IS 'A moving name for checkpoints.';
COMMENT ON COLUMN "channel"."name" IS 'global, eu, fr ...';
COMMENT ON COLUMN "channel"."checkpoint_digest" IS 'Checkpoint that it points to.';
COMMENT ON COLUMN "channel"."updated_at" IS 'When it last moved.';
COMMENT ON TABLE "job" IS 'Work that any worker may lease. The queue only wakes; this row is the truth.';
COMMENT ON COLUMN "job"."id" IS '<kind>/<run>/<round>: at most one job of a kind for a round.';
COMMENT ON COLUMN "job"."kind" IS 'aggregate or decide.';
COMMENT ON COLUMN "job"."run_id" IS 'Run of the round.';
COMMENT ON COLUMN "job"."round" IS 'Number of the round.';
COMMENT ON COLUMN "job"."state" IS 'ready, leased, done or abandoned.';
COMMENT ON COLUMN "job"."lease_token" IS 'Random token of the present lease: only its holder may finish the job.';
COMMENT ON COLUMN "job"."lease_until" IS 'When the present lease ends and another worker may take over.';
COMMENT ON COLUMN "job"."attempts" IS 'Times it was leased.';
COMMENT ON COLUMN "job"."last_error" IS 'Code and message of the last failure.';
COMMENT ON COLUMN "job"."created_at" IS 'When the round asked for it.';
COMMENT ON COLUMN "job"."updated_at" IS 'When it was last leased, finished or abandoned.';
COMMENT ON TABLE "upload" IS 'An artifact that a node has announced and is still sending.';
COMMENT ON COLUMN "upload"."digest" IS 'Digest of the whole artifact.';
COMMENT ON COLUMN "upload"."size" IS 'Bytes announced.';
COMMENT ON COLUMN "upload"."node_id" IS 'Node that announced it last: only it may send.';
COMMENT ON COLUMN "upload"."created_at" IS 'When it was announced.';
