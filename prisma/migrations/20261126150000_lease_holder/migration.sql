-- Which process took a job's last lease, for operators.
ALTER TABLE "job" ADD COLUMN "lease_holder" TEXT;
