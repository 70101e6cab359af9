"""Runs Python's jsonschema on each line of the input: an object with `schema`, `common` (what it refers to as common.json, or null) and
`values`. Prints a list of verdicts, or an object with `failed`."""

import json
import sys

import jsonschema.validators
from referencing import Registry, Resource
from referencing.jsonschema import specification_with


def main():
    for line in sys.stdin:
        job = json.loads(line)
        try:
            schema = job["schema"]
            kind = jsonschema.validators.validator_for(schema)
            kind.check_schema(schema)
            registry = Registry()
            if job["common"] is not None:
                common = Resource(contents=job["common"], specification=specification_with(schema["$schema"]))
                registry = registry.with_resources(
                    [("common.json", common), ("http://example.com/a/common.json", common)]
                )
            validator = kind(schema, registry=registry)
            print(json.dumps([validator.is_valid(value) for value in job["values"]]))
        except Exception as error:  # noqa: BLE001: it is told
            print(json.dumps({"failed": repr(error)[:500]}))


main()
