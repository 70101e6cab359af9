//! Avro beside Java's and fastavro: a thousand random schemas and values, both ways, with resolution.

mod shapes;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use offtake_schema::avro::{Budget, JsonForm, Resolver, Schema};
use serde_json::{Value, json};

use shapes::Shapes;

const CASES: u64 = 1_000;

/// One comparison.
struct Case {
    writer: Value,
    reader: Value,
    /// The value in Avro's JSON, and in our own.
    avro: Value,
    plain: Value,
    hex: String,
    /// Whether the reader's schema can read all values of the writer's, or at least this one; then the value in both forms.
    compatible: bool,
    resolved: Result<(Value, Value), String>,
}

impl Case {
    fn new(seed: u64, common: bool) -> Self {
        let mut shapes = Shapes::new(seed, common);
        let writer = if seed.is_multiple_of(3) { shapes.schema(4) } else { shapes.record(4) };
        let avro = shapes.value(&writer, 6);
        let reader = shapes.evolve(&writer);
        let budget = Budget::default();
        let parsed =
            Schema::parse(&writer.to_string(), &[]).unwrap_or_else(|error| panic!("{writer}: {error}"));
        let bytes = parsed
            .encode_json_as(&avro, JsonForm::Avro)
            .unwrap_or_else(|error| panic!("{writer}: {avro}: {error}"));
        assert_eq!(parsed.to_json(&bytes, JsonForm::Avro, &budget).unwrap(), avro);
        let plain = parsed.to_json(&bytes, JsonForm::Plain, &budget).unwrap();
        let target =
            Schema::parse(&reader.to_string(), &[]).unwrap_or_else(|error| panic!("{reader}: {error}"));
        let resolver = Resolver::new(&parsed, &target);
        let compatible = resolver.as_ref().is_ok_and(|resolver| resolver.gaps().is_empty());
        let resolved = resolver.map_err(|mismatch| mismatch.to_string()).and_then(|resolver| {
            let read = |form| resolver.to_json(&bytes, form, &budget).map_err(|error| error.to_string());
            Ok((read(JsonForm::Avro)?, read(JsonForm::Plain)?))
        });
        let hex = bytes.iter().fold(String::new(), |mut hex, byte| {
            write!(hex, "{byte:02x}").unwrap();
            hex
        });
        Self { writer, reader, avro, plain, hex, compatible, resolved }
    }

    fn job(&self) -> Value {
        json!({"writer": self.writer, "reader": self.reader, "json": self.avro, "hex": self.hex})
    }

    fn told(&self, answer: &Value) -> String {
        format!(
            "writer {}\nreader {}\nvalue {}\nours {:?}, compatible: {}\nanswer {answer}",
            self.writer, self.reader, self.avro, self.resolved, self.compatible
        )
    }
}

/// The folder with the libraries to compare with.
fn fetched() -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/avro-fetch");
    let output = Command::new(script).stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "scripts/avro-fetch failed");
    PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())
}

/// Passes all cases to a program, and reads an answer for each.
fn ask(command: &mut Command, cases: &[Case]) -> Vec<Value> {
    let mut input = tempfile::tempfile().unwrap();
    for case in cases {
        std::io::Write::write_all(&mut input, format!("{}\n", case.job()).as_bytes()).unwrap();
    }
    std::io::Seek::rewind(&mut input).unwrap();
    let output = command.stdin(input).stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "{command:?} failed");
    let answers: Vec<Value> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(answers.len(), cases.len());
    answers
}

/// Fails with the number of cases that differ, and the first few of them.
fn compare<const N: usize>(
    cases: &[Case],
    answers: &[Value],
    same: impl Fn(&Case, &Value) -> [(&'static str, bool); N],
) {
    let mut differ = Vec::new();
    for (case, answer) in cases.iter().zip(answers) {
        let wrong = match answer.get("failed") {
            Some(_) => Some("it failed"),
            None => same(case, answer).into_iter().find(|(_, same)| !same).map(|(what, _)| what),
        };
        differ.extend(wrong.map(|what| format!("{what}\n{}", case.told(answer))));
    }
    let shown = differ.len().min(8);
    assert!(
        differ.is_empty(),
        "{} of {} differ:\n{}",
        differ.len(),
        cases.len(),
        differ[..shown].join("\n\n")
    );
}

#[test]
#[ignore = "fetches Java's Avro: scripts/test full runs it"]
fn java_writes_reads_and_resolves_as_we_do() {
    let home = fetched();
    let cases: Vec<Case> = (0..CASES).map(|seed| Case::new(seed, false)).collect();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("java-avro/Avro.java");
    let answers = ask(Command::new("java").arg("-cp").arg(home.join("libs/*")).arg(source), &cases);
    compare(&cases, &answers, |case, answer| {
        let resolved = case.resolved.as_ref().ok().map(|(avro, _)| avro);
        [
            ("bytes", answer["encoded"] == json!(case.hex)),
            // Java's JsonEncoder writes nothing for a value of zero bytes.
            ("value", answer["decoded"] == case.avro || case.hex.is_empty()),
            ("verdict", answer["compatible"] == json!(case.compatible)),
            // Java reads some values of incompatible schemas, such as an empty array of unreadable items.
            (
                "resolved value",
                resolved.is_none_or(|resolved| alike(&answer["resolved"], resolved) || case.hex.is_empty()),
            ),
            // Java replaces invalid UTF-8 where bytes are read as a string; we refuse it.
            (
                "every value of compatible schemas is read",
                !case.compatible
                    || resolved.is_some()
                    || case.resolved.as_ref().is_err_and(|error| error.ends_with("a string is not UTF-8")),
            ),
        ]
    });
    let compatible = cases.iter().filter(|case| case.compatible).count() as u64;
    let read = cases.iter().filter(|case| case.resolved.is_ok()).count();
    println!("{CASES} schemas: {compatible} compatible with what they became, {read} values read by it");
    assert!(
        compatible > CASES / 5 && compatible < CASES * 9 / 10,
        "the schemas become something worth to be compared"
    );
}

#[test]
#[ignore = "fetches fastavro: scripts/test full runs it"]
fn fastavro_writes_reads_and_resolves_as_we_do() {
    let home = fetched();
    let cases: Vec<Case> = (0..CASES).map(|seed| Case::new(seed, true)).collect();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("real/avro/second.py");
    let answers = ask(Command::new(home.join("bin/python")).arg(script), &cases);
    compare(&cases, &answers, |case, answer| {
        let resolved = case.resolved.as_ref().ok().map(|(_, plain)| micros(plain));
        [
            ("bytes", answer["encoded"] == json!(case.hex)),
            ("all bytes are read", answer["left"] == json!(0)),
            ("value", answer["decoded"] == micros(&case.plain)),
            ("resolved value", resolved.is_none_or(|resolved| alike(&answer["resolved"], &resolved))),
        ]
    });
    let read = cases.iter().filter(|case| case.resolved.is_ok()).count() as u64;
    println!("{CASES} schemas: {read} values read by what they became");
    assert!(read > CASES / 5);
}

/// Equal, except that an integer read as a float may be printed with other digits beyond a float's precision: Java 17
/// and Python do not print the shortest form.
fn alike(theirs: &Value, ours: &Value) -> bool {
    match (theirs, ours) {
        (Value::Number(theirs), Value::Number(ours)) => {
            theirs == ours
                || matches!((theirs.as_f64(), ours.as_f64()), (Some(theirs), Some(ours)) if ours == theirs || ours as f32 == theirs as f32)
        }
        (Value::Array(theirs), Value::Array(ours)) => {
            theirs.len() == ours.len() && theirs.iter().zip(ours).all(|(theirs, ours)| alike(theirs, ours))
        }
        (Value::Object(theirs), Value::Object(ours)) => {
            theirs.len() == ours.len()
                && ours.iter().all(|(key, ours)| theirs.get(key).is_some_and(|theirs| alike(theirs, ours)))
        }
        _ => theirs == ours,
    }
}

/// The same with six digits for each fraction of a second, as Python prints it.
fn micros(value: &Value) -> Value {
    match value {
        Value::String(text) => {
            let is_time = text.len() >= 12 && text.contains(':') && text.is_ascii();
            match text.rsplit_once('.').filter(|_| is_time) {
                Some((seconds, fraction)) => {
                    let digits = fraction.trim_end_matches('Z');
                    let zone = if fraction.ends_with('Z') { "Z" } else { "" };
                    json!(format!("{seconds}.{digits:0<6}{zone}"))
                }
                None => value.clone(),
            }
        }
        Value::Array(list) => list.iter().map(micros).collect(),
        Value::Object(object) => {
            Value::Object(object.iter().map(|(key, value)| (key.clone(), micros(value))).collect())
        }
        other => other.clone(),
    }
}
