//! Topics with every shape of record and of log that a consumer may meet, one set per broker version.

use std::sync::OnceLock;

use offtake_tests::{RecordSpec, Shared, V2_8_2, Version, shared, unique};
use serde_json::json;

pub(crate) const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];
/// A time that is recent enough for every broker; tests count from it.
pub(crate) const THEN: i64 = 1_700_000_000_000;

/// All of a version's topics, filled once per process.
pub(crate) fn specimens(version: Version) -> &'static [String] {
    static ALL: [OnceLock<Vec<String>>; 3] = [const { OnceLock::new() }; 3];
    let [oldest, middle, newest] = &ALL;
    let cell = match version {
        Version::V2_8_2 => oldest,
        Version::V3_9_1 => middle,
        Version::V4_3_0 => newest,
    };
    cell.get_or_init(|| fill(version))
}

fn fill(version: Version) -> Vec<String> {
    let at = shared(version);
    let new = |name: &str, configs: &[(&str, &str)]| at.tool.create_topic(&unique(name), 3, configs);
    let mut topics = Vec::new();
    for codec in CODECS {
        let topic = new(codec, &[("max.message.bytes", "2000000")]);
        every_shape(at, &topic, codec);
        topics.push(topic);
    }
    let mixed = new("mixed", &[]);
    for (nth, codec) in CODECS.iter().chain(&CODECS).enumerate() {
        let specs: Vec<_> = shapes(&mixed, nth as u8).into_iter().skip(nth).step_by(3).collect();
        at.tool.produce_in(codec, &specs);
    }
    topics.push(mixed);
    let appended = new("appended", &[("message.timestamp.type", "LogAppendTime")]);
    for codec in CODECS {
        at.tool.produce_in(codec, &shapes(&appended, 1));
    }
    topics.push(appended);
    // A batch that the broker itself rewrites.
    let recompressed = new("recompressed", &[("compression.type", "lz4")]);
    at.tool.produce_in("gzip", &shapes(&recompressed, 2));
    topics.push(recompressed);
    topics.push(transactions(at, "gzip"));
    topics.push(transactions(at, "none"));
    topics.push(compacted(at, "lz4"));
    topics.push(compacted(at, "none"));
    let shortened = new("shortened", &[]);
    at.tool.produce_in("snappy", &shapes(&shortened, 3));
    at.tool.delete_records(&shortened, 0, 5); // in the middle of a batch
    at.tool.delete_records(&shortened, 1, -1); // nothing remains
    topics.push(shortened);
    if version == V2_8_2 {
        topics.extend(old_formats(at));
    }
    topics
}

/// Bytes that neither compress nor are readable as text.
pub(crate) fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let step = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..length).map(step).collect()
}

/// Small records of every shape, over two of three partitions; timestamps neither rise nor are distinct.
pub(crate) fn shapes(topic: &str, seed: u8) -> Vec<RecordSpec> {
    let to = |partition: i32| RecordSpec::to(topic).partition(partition);
    let mut all = vec![
        to(0),
        to(0).key("").value(""),
        to(0).key("no value"),
        to(0).value("no key"),
        to(0).key("k").value("").header("h", "x"),
        to(0).key("").value("v").header("h", "1").header("h", "2").header("h", "1").header("i", ""),
        to(0).value("v").null_header("n").null_header("n").header("n", "not null").header("", "no name"),
        to(0)
            .value("v")
            .header("bytes", [0xff, 0xfe, 0])
            .header("Käse 🧀", "naïve \u{2028}")
            .header("nul", [0]),
        to(1).key("\"\\\u{0}\u{7}\n\r\t\u{7f}</script>").value("{\"a\":[1,\"\\u0000\"]} 🧀 \u{fffd}\u{feff}"),
        to(1).key([0xc3]).value([0xed, 0xa0, 0x80]),
        to(1).key(noise(20, 1)).value(noise(200, u64::from(seed) + 2)),
        to(1).value("long header").header("long", "x".repeat(40_000)).header(&"n".repeat(300), noise(300, 3)),
    ];
    for length in [1, 63, 64, 127, 128, 8191, 8192, 70_000] {
        all.push(to(length as i32 % 2).key(length.to_string()).value(noise(length, length as u64)));
    }
    let shuffled = |nth: usize| THEN + ((nth * 7 + usize::from(seed)) % 11) as i64 * 1000;
    let all = all.into_iter().enumerate();
    all.map(|(nth, spec)| if nth == 1 { spec.timestamp(0) } else { spec.timestamp(shuffled(nth)) }).collect()
}

/// The same in one codec, in large batches and in small, and records of 900 KiB.
fn every_shape(at: &Shared, topic: &str, codec: &str) {
    at.tool.produce_in(codec, &shapes(topic, 0));
    at.tool.produce_with(&shapes(topic, 5), json!({ "codec": codec, "flush_every": 3 }));
    let to = |partition: i32| RecordSpec::to(topic).partition(partition).timestamp(THEN);
    let text = "a long text that compresses well, with a number: 0123456789; ".repeat(16_000);
    let long = &text.as_bytes()[..900 << 10];
    at.tool.produce_in(codec, &[to(0).value("before"), to(0).key("long").value(long), to(0).value("after")]);
    at.tool.produce_in(codec, &[to(1).key("noise").value(noise(900 << 10, 9)), to(1)]);
}

/// Committed, aborted and still open transactions side by side; partition 1 ends with a commit, 2 with an abort.
fn transactions(at: &Shared, codec: &str) -> String {
    let topic = at.tool.create_topic(&unique("transactions"), 3, &[]);
    let [a, b, c, open] = ["a", "b", "c", "open"].map(unique);
    let spec = |partition: i32, text: &str| {
        let key = format!("{text} of {partition}");
        RecordSpec::to(&topic).partition(partition).timestamp(THEN).key(key).value(text.repeat(20))
    };
    let put = |id: &str, texts: &[(i32, &str)]| {
        let specs: Vec<_> = texts.iter().map(|(partition, text)| spec(*partition, text)).collect();
        at.tool.produce_within(id, &specs);
    };
    let plain = |partition: i32, text: &str| drop(at.tool.produce_in(codec, &[spec(partition, text)]));
    at.tool.begin_in(codec, &a);
    put(&a, &[(0, "a1"), (0, "a2"), (1, "a1")]);
    at.tool.begin_in(codec, &b);
    put(&b, &[(0, "aborted b1"), (1, "aborted b1")]);
    plain(0, "between");
    put(&a, &[(0, "a3")]);
    put(&b, &[(0, "aborted b2")]);
    at.tool.commit(&a);
    plain(1, "between");
    at.tool.abort(&b);
    // The same producer again, with the opposite outcomes.
    at.tool.begin(&b);
    put(&b, &[(0, "b3"), (1, "b3")]);
    at.tool.begin(&a);
    put(&a, &[(0, "aborted a4"), (2, "aborted a4"), (2, "aborted a5")]);
    at.tool.commit(&b);
    at.tool.abort(&a);
    at.tool.begin_in(codec, &c);
    at.tool.abort(&c); // has written nothing
    at.tool.begin_in(codec, &open);
    put(&open, &[(0, "open")]);
    plain(0, "behind the open one");
    topic
}

/// Gaps in the middle of batches, emptied batches, batches whose last records are gone, aborted records cleaned away.
fn compacted(at: &Shared, codec: &str) -> String {
    let topic = at.tool.create_topic(&unique("compacted"), 2, &[]);
    let aborted = unique("aborted");
    for partition in [0, 1] {
        let to = |key: &str| RecordSpec::to(&topic).partition(partition).timestamp(THEN).key(key);
        let put = |specs: &[RecordSpec]| drop(at.tool.produce_in(codec, specs));
        let value = |key: &str, text: &str| to(key).value(text.repeat(10)).header("h", text);
        put(&[
            value("head", "goes"),
            value("a", "stays"),
            value("b", "goes"),
            value("c", "goes"),
            value("d", "goes"),
        ]);
        put(&[value("b", "goes too"), value("c", "all of this batch goes")]);
        at.tool.begin_in(codec, &aborted);
        at.tool.produce_within(&aborted, &[value("a", "aborted"), value("z", "aborted")]);
        at.tool.abort(&aborted);
        put(&[value("head", "stays"), value("b", "stays"), to("d"), value("c", "stays"), to("e")]);
    }
    at.tool.compact(&topic, true);
    topic
}

/// Message sets of formats 0 and 1, plain and compressed; such a log supports neither headers nor zstd.
fn old_formats(at: &Shared) -> Vec<String> {
    let mut topics = Vec::new();
    for (format, stamps) in [("0.9.0", "CreateTime"), ("0.10.0", "CreateTime"), ("0.10.0", "LogAppendTime")] {
        let configs = [("message.format.version", format), ("message.timestamp.type", stamps)];
        let topic = at.tool.create_topic(&unique(&format!("format-{format}")), 3, &configs);
        for (nth, codec) in ["none", "gzip", "snappy", "lz4"].iter().enumerate() {
            let bare = |number: usize| {
                let to =
                    RecordSpec::to(&topic).partition((number % 2) as i32).timestamp(THEN + number as i64);
                match number % 4 {
                    0 => to,
                    1 => to.key("").value(""),
                    2 => to.key("k").value(noise(number * 100, nth as u64)),
                    _ => to.value("text that compresses, compresses, compresses".repeat(number * 20)),
                }
            };
            let plainly = json!({ "codec": codec, "idempotent": false });
            at.tool.produce_with(&(0..23).map(bare).collect::<Vec<_>>(), plainly.clone());
            at.tool.produce_with(&[bare(3)], plainly);
        }
        topics.push(topic);
    }
    topics
}
