-- From here on a database says which programs may use it, so that old and new ones can run side by side.
CREATE TABLE "schema_compatibility" (
    "id" INTEGER NOT NULL,
    "needed" TEXT NOT NULL,

    CONSTRAINT "schema_compatibility_pkey" PRIMARY KEY ("id")
);

INSERT INTO "schema_compatibility" ("id", "needed") VALUES (1, '20261126160000_compatibility');

COMMENT ON TABLE "schema_compatibility" IS 'Which programs may use this database while old and new ones run side by side: one row.';
COMMENT ON COLUMN "schema_compatibility"."id" IS 'Always 1.';
COMMENT ON COLUMN "schema_compatibility"."needed" IS 'Name of the newest migration that a program has to know. A migration that older programs cannot live with writes its own name here.';
