-- What each node has announced for each round, so that its bytes are bounded by the round and not only by the moment.
CREATE TABLE "announced_bytes" (
    "node_id" TEXT NOT NULL,
    "run_id" TEXT NOT NULL,
    "round" INTEGER NOT NULL,
    "bytes" BIGINT NOT NULL,

    CONSTRAINT "announced_bytes_pkey" PRIMARY KEY ("node_id","run_id","round")
);

COMMENT ON TABLE "announced_bytes" IS 'Bytes that a node has announced for a round, whether or not they came.';
COMMENT ON COLUMN "announced_bytes"."node_id" IS 'The node.';
COMMENT ON COLUMN "announced_bytes"."run_id" IS 'Run of the round; empty for what it announced before it joined any.';
COMMENT ON COLUMN "announced_bytes"."round" IS 'Number of the round; 0 for what it announced before it joined any.';
COMMENT ON COLUMN "announced_bytes"."bytes" IS 'Sum of the sizes.';
