//! Targets `protobuf`, `json_schema` and `framing`: schemas with the ones they refer to, values of them, and frames.

use crate::Corpora;

/// `schema NUL reference NUL value`, and values in frames.
pub(crate) fn values(corpora: &mut Corpora) {
    let common = "syntax=\"proto3\";package c;message C{string a=1;C n=2;}";
    let order = "syntax=\"proto3\";package p;import \"common.proto\";import \"google/protobuf/timestamp.proto\";message M{string a=1;map<string,int32> b=2;repeated N c=3;c.C d=4;google.protobuf.Timestamp e=5;oneof o{bytes f=6;double g=7;}repeated sint64 h=8;M i=9;E j=10;message N{fixed32 a=1;optional float b=2;}enum E{A=0;B=-1;}}";
    let old = "syntax=\"proto2\";message A{required int32 a=1;optional string b=2[default=\"x\"];repeated group G=3{optional bool c=4;}extensions 100 to 200;}";
    let any = "syntax=\"proto3\";import \"google/protobuf/any.proto\";import \"google/protobuf/struct.proto\";import \"google/protobuf/wrappers.proto\";message A{google.protobuf.Any a=1;google.protobuf.Value b=2;google.protobuf.Int64Value c=3;}";
    let messages: [(&str, &str, &str, &[u8]); 8] = [
        ("order", order, common, b"\0\x0a\x01x\x12\x05\x0a\x01k\x10\x02\x1a\x0a\x0d\x01\0\0\0\x15\0\0\x80\x3f\x22\x05\x0a\x01y\x12\0\x42\x03\x01\x02\x03"),
        ("oneof", order, common, b"\0\x32\x02\xff\0\x2a\x06\x08\x80\x80\x80\x80\x08\x50\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
        ("nested", order, common, b"\x04\0\0\x0d\x01\0\0\0"),
        ("deep", order, common, b"\0\x4a\x04\x4a\x02\x4a\0"),
        ("groups", old, "", b"\0\x08\x01\x1b\x20\x01\x1c"),
        ("any", any, "", b"\0\x0a\x10\x0a\x0b/A\x12\x03\x1a\x01\x01\x12\x02\x1a\0\x1a\x02\x08\x01"),
        ("unknown", "syntax=\"proto3\";message A{}", "", b"\0\xf8\x7f\x01\x0b\x0c"),
        ("options", "syntax=\"proto3\";message A{int32 a=1[json_name=\"z\",deprecated=true];reserved 2 to 5;}", "", b"\x02\0\x08\x07"),
    ];
    for (name, schema, reference, value) in messages {
        corpora.add("protobuf", name, &[schema.as_bytes(), &[0], reference.as_bytes(), &[0], value]);
    }
    let reference = r##"{"type":["string","integer"],"definitions":{"a":{"minimum":1}}}"##;
    let values: [(&str, &str, &str); 9] = [
        (
            "object",
            r##"{"$schema":"http://json-schema.org/draft-07/schema#","type":"object","required":["a"],"properties":{"a":{"$ref":"common.json"},"b":{"type":"array","items":{"$ref":"#"}}},"additionalProperties":false}"##,
            r##"{"a":"x","b":[{"a":1}]}"##,
        ),
        (
            "draft4",
            r##"{"$schema":"http://json-schema.org/draft-04/schema#","id":"http://x/y.json","minimum":1,"exclusiveMinimum":true,"multipleOf":0.5}"##,
            "1.5",
        ),
        (
            "draft2020",
            r##"{"$schema":"https://json-schema.org/draft/2020-12/schema","prefixItems":[{"type":"null"}],"items":{"$ref":"#/$defs/a"},"$defs":{"a":{"const":[1.0]}},"unevaluatedItems":false}"##,
            "[null,[1]]",
        ),
        (
            "dynamic",
            r##"{"$schema":"https://json-schema.org/draft/2020-12/schema","$dynamicAnchor":"n","properties":{"a":{"$dynamicRef":"#n"}}}"##,
            r##"{"a":{"a":{}}}"##,
        ),
        (
            "branches",
            r##"{"oneOf":[{"type":"integer"},{"pattern":"^(a|b)*$"}],"not":{"enum":[7]},"if":true,"then":{},"else":false}"##,
            "\"ab\"",
        ),
        (
            "formats",
            r##"{"format":"date-time","minLength":3,"contentEncoding":"base64"}"##,
            "\"2026-11-23T19:00:00Z\"",
        ),
        ("numbers", r##"{"maximum":18446744073709551615,"multipleOf":0.01}"##, "12345678901234567890"),
        (
            "names",
            r##"{"propertyNames":{"maxLength":2},"patternProperties":{"^\\p{L}":{}},"dependentRequired":{"a":["b"]},"uniqueItems":true}"##,
            r##"{"é":1,"b":[1,1.0]}"##,
        ),
        ("pattern", r##"{"pattern":"^(?=a)(a|a)*(?<!a)$"}"##, "\"aaaaaaaaaaaaaaaaaaaaab\""),
    ];
    for (name, schema, value) in values {
        corpora.add(
            "json_schema",
            name,
            &[schema.as_bytes(), &[0], reference.as_bytes(), &[0], value.as_bytes()],
        );
    }
    let frames: [(&str, &[u8]); 7] = [
        ("confluent", b"\0\0\0\x01\x02\0rest"),
        ("indexes", b"\0\0\0\x01\x02\x06\x04\x02\xd8\x04rest"),
        ("apicurio", b"\0\0\0\0\0\0\0\x01\x02\x07\x0a\x05Orderrest"),
        ("glue", b"\x03\x050123456789abcdefrest"),
        ("text", b"{\"a\":1}"),
        ("empty", b""),
        ("many", b"\xff\xff\xff\xff\x0f"),
    ];
    for (name, bytes) in frames {
        corpora.add("framing", name, &[bytes]);
    }
}
