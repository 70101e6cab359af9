//! Target `avro`: schemas of every type, pairs that differ, and values of them.

use crate::Corpora;

/// `writer NUL reader NUL value`
pub(crate) fn schemas(corpora: &mut Corpora) {
    let record = r#"{"type":"record","name":"R","fields":[{"name":"a","type":"int"},{"name":"b","type":["null","string"],"default":null},{"name":"c","type":{"type":"map","values":{"type":"array","items":"double"}}}]}"#;
    let reader = r#"{"type":"record","name":"R","fields":[{"name":"c","type":{"type":"map","values":{"type":"array","items":"double"}}},{"name":"x","aliases":["a"],"type":"long"},{"name":"d","type":{"type":"enum","name":"E","symbols":["P","Q"]},"default":"Q"}]}"#;
    let list = r#"{"type":"record","name":"L","fields":[{"name":"v","type":"long"},{"name":"next","type":["null","L"]}]}"#;
    let looped = r#"{"type":"record","name":"L","fields":[{"name":"v","type":"L","default":{}},{"name":"w","type":"L","default":{}}]}"#;
    let all: [(&str, &str, &str, &[u8]); 14] = [
        ("record", record, reader, &[2, 2, 4, b'h', b'i', 2, 2, b'k', 2, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f, 0, 0]),
        ("list", list, "", &[2, 2, 4, 2, 6, 0]),
        ("looped", r#"{"type":"record","name":"L","fields":[]}"#, looped, &[]),
        (
            "blocks",
            r#"{"type":"array","items":"long"}"#,
            r#"{"type":"array","items":"float"}"#,
            &[3, 4, 2, 4, 2, 6, 0],
        ),
        (
            "nulls",
            r#"{"type":"array","items":"null"}"#,
            "",
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0],
        ),
        (
            "union",
            r#"["int","null","string",{"type":"fixed","name":"a.F","size":2}]"#,
            r#"["null","double","bytes"]"#,
            &[4, 2, b'x'],
        ),
        (
            "enum",
            r#"{"type":"enum","name":"E","symbols":["A","B"]}"#,
            r#"{"type":"enum","name":"E","symbols":["B"],"default":"B"}"#,
            &[0],
        ),
        (
            "fixed",
            r#"{"type":"fixed","name":"F","size":3}"#,
            r#"{"type":"fixed","name":"G","size":3,"aliases":["F"]}"#,
            &[1, 2, 3],
        ),
        ("decimal", r#"{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}"#, "", &[4, 4, 0xd2]),
        (
            "timestamp",
            r#"{"type":"long","logicalType":"timestamp-micros"}"#,
            r#""long""#,
            &[0x80, 0x80, 0x80, 0x80, 0x80, 0x20],
        ),
        (
            "date",
            r#"{"type":"int","logicalType":"date"}"#,
            r#"["null",{"type":"int","logicalType":"date"}]"#,
            &[0x80, 0x20],
        ),
        ("uuid", r#"{"type":"fixed","name":"U","size":16,"logicalType":"uuid"}"#, "", &[7; 16]),
        ("duration", r#"{"type":"fixed","name":"D","size":12,"logicalType":"duration"}"#, "", &[1; 12]),
        ("string", r#""string""#, r#""bytes""#, &[6, 0xe2, 0x82, 0xac]),
    ];
    for (name, writer, reader, value) in all {
        corpora.add("avro", name, &[writer.as_bytes(), &[0], reader.as_bytes(), &[0], value]);
    }
}
