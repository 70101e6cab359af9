"""Runs Python's protobuf on the input: `files` (`.proto` texts by name) and `cases`, each with a `message`, a `value` in Protobuf's JSON and
`hex`, its bytes. Prints a list of objects with `hex` (the bytes of the value), `value` (these, read) and `read` (the given bytes, read)."""

import importlib.resources
import json
import os
import sys
import tempfile

from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
from grpc_tools import protoc


def main():
    given = json.load(sys.stdin)
    with tempfile.TemporaryDirectory() as folder:
        for name, text in given["files"].items():
            with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
                file.write(text)
        include = str(importlib.resources.files("grpc_tools") / "_proto")
        out = os.path.join(folder, "set")
        words = ["", "-I" + folder, "-I" + include, "--include_imports", "--descriptor_set_out=" + out]
        if protoc.main(words + sorted(given["files"])) != 0:
            sys.exit("protoc fails")
        with open(out, "rb") as file:
            files = descriptor_pb2.FileDescriptorSet.FromString(file.read())
    pool = descriptor_pool.DescriptorPool()
    for file in files.file:
        pool.Add(file)
    print(json.dumps([answer(pool, case) for case in given["cases"]]))


def answer(pool, case):
    kind = message_factory.GetMessageClass(pool.FindMessageTypeByName(case["message"]))

    def shown(data):
        return json_format.MessageToDict(kind.FromString(data), always_print_fields_with_no_presence=True, descriptor_pool=pool)

    try:
        data = json_format.ParseDict(case["value"], kind(), descriptor_pool=pool).SerializeToString(deterministic=True)
        told = {"hex": data.hex(), "value": shown(data)}
        if case["hex"] is not None:
            told["read"] = shown(bytes.fromhex(case["hex"]))
        return told
    except Exception as error:  # noqa: BLE001: it is told
        return {"failed": repr(error)}


main()
