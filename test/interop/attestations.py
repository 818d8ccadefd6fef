"""Reads the attestations of a checkpoint with other people's libraries and says what it finds, as one line of JSON.

Usage: attestations.py DIRECTORY PUBLIC_KEY
"""

import json
import sys

from cryptography.hazmat.primitives.serialization import load_pem_public_key
from cyclonedx.model.bom import Bom
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from google.protobuf import json_format
from in_toto_attestation.predicates.provenance.v1 import provenance_pb2
from in_toto_attestation.v1 import statement, statement_pb2
from securesystemslib.dsse import Envelope
from securesystemslib.signer import SSlibKey


def read_statement(directory, public_key):
    """The statement in provenance.json: its DSSE signature by securesystemslib, its form by in-toto's own schema."""
    with open(f"{directory}/attestations/provenance.json", encoding="utf-8") as file:
        envelope = Envelope.from_dict(json.load(file))
    with open(public_key, "rb") as file:
        key = SSlibKey.from_crypto(load_pem_public_key(file.read()), keyid=next(iter(envelope.signatures)))
    envelope.verify([key], threshold=1)
    parsed = json_format.Parse(envelope.payload, statement_pb2.Statement())
    statement.Statement.copy_from_pb(parsed).validate()
    return json.loads(envelope.payload)


def main(directory, public_key):
    document = read_statement(directory, public_key)
    provenance = json_format.ParseDict(document["predicate"], provenance_pb2.Provenance())
    with open(f"{directory}/attestations/bom.cdx.json", encoding="utf-8") as file:
        text = file.read()
    invalid = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    bom = Bom.from_json(json.loads(text))
    model = bom.metadata.component
    return {
        "predicateType": document["predicateType"],
        "subject": {one["name"]: one["digest"]["sha256"] for one in document["subject"]},
        "builder": provenance.run_details.builder.id,
        "dependencies": [one.name for one in provenance.build_definition.resolved_dependencies],
        "byproducts": {one.name: one.digest["sha256"] for one in provenance.run_details.byproducts},
        "bomInvalid": None if invalid is None else str(invalid),
        "model": {"type": model.type.value, "name": model.name, "version": model.version},
        "members": sorted(component.name for component in bom.components),
    }


if __name__ == "__main__":
    json.dump(main(sys.argv[1], sys.argv[2]), sys.stdout)
