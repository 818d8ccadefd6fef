-- Which process took a job's last lease, for operators; and how long an abandoned job is waited for.
ALTER TABLE "job" ADD COLUMN "lease_holder" TEXT;

COMMENT ON COLUMN "job"."lease_holder" IS 'Which process took the last lease: `<host>/<process id>`; null before the first.';
COMMENT ON COLUMN "job"."lease_until" IS 'When the present lease ends and another worker may take over. Of an abandoned job: until when its round waits for an operator to ask for it again; null when the round has been given up.';
COMMENT ON COLUMN "job"."attempts" IS 'Times it was leased since the round, or an operator, asked for it.';
