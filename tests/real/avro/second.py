"""Runs fastavro on each line of the input: an object with `writer`, `reader` (schemas), `json` (a value in Avro's JSON)
and `hex` (its bytes). Prints an object with `encoded`, `decoded`, and `resolved` or `error`; values are plain JSON."""

import base64
import datetime
import decimal
import io
import json
import sys
import uuid

import fastavro

decimal.getcontext().prec = 1_000
NAMED = ("record", "enum", "fixed")


def bare(schema):
    """The schema without its logical types."""
    if isinstance(schema, dict):
        return {key: bare(value) for key, value in schema.items() if key != "logicalType"}
    return [bare(each) for each in schema] if isinstance(schema, list) else schema


def names(schema, into):
    """All definitions by their names, which are full ones."""
    if isinstance(schema, dict):
        if schema.get("type") in NAMED:
            into[schema["name"]] = schema
        for key in ("type", "items", "values", "fields"):
            if key in schema:
                names(schema[key], into)
    elif isinstance(schema, list):
        for each in schema:
            names(each, into)
    return into


def from_json(schema, value, known):
    """A value of Avro's JSON as fastavro wants it: branches of unions by name."""
    if isinstance(schema, str) and schema in known:
        schema = known[schema]
    kind = schema["type"] if isinstance(schema, dict) else schema
    if isinstance(schema, list):
        if value is None:
            return None
        ((name, inner),) = value.items()
        branch = next(
            each
            for each in schema
            if (each if isinstance(each, str) else each.get("name", each["type"])) == name
        )
        return (name, from_json(branch, inner, known))
    if kind in ("bytes", "fixed"):
        return value.encode("latin-1")
    if kind == "array":
        return [from_json(schema["items"], each, known) for each in value]
    if kind == "map":
        return {key: from_json(schema["values"], each, known) for key, each in value.items()}
    if kind == "record":
        return {
            field["name"]: from_json(field["type"], value[field["name"]], known)
            for field in schema["fields"]
        }
    return value


def plain(value):
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, datetime.datetime):
        text = value.replace(tzinfo=None).isoformat(timespec="microseconds")
        return text + ("Z" if value.tzinfo else "")
    if isinstance(value, datetime.time):
        return value.isoformat(timespec="microseconds")
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, decimal.Decimal):
        return format(value, "f")
    if isinstance(value, uuid.UUID):
        return str(value)
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    return [plain(each) for each in value] if isinstance(value, list) else value


def main():
    for line in sys.stdin:
        job, answer = json.loads(line), {}
        try:
            raw = bare(job["writer"])
            value = from_json(raw, job["json"], names(raw, {}))
            out = io.BytesIO()
            fastavro.schemaless_writer(out, fastavro.parse_schema(raw), value)
            answer["encoded"] = out.getvalue().hex()
            data = io.BytesIO(bytes.fromhex(job["hex"]))
            writer = fastavro.parse_schema(job["writer"])
            answer["decoded"] = plain(fastavro.schemaless_reader(data, writer, None))
            answer["left"] = len(data.read())
            try:
                data.seek(0)
                reader = fastavro.parse_schema(job["reader"])
                answer["resolved"] = plain(fastavro.schemaless_reader(data, writer, reader))
            except Exception as error:
                answer["error"] = repr(error)
        except Exception as error:
            answer["failed"] = repr(error)
        print(json.dumps(answer))


main()
