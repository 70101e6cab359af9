//! JSON Schema beside Python's library: a thousand random schemas of five drafts, and values that are valid, nearly
//! valid, and invalid.

use std::collections::BTreeMap;

use offtake_schema::{Budget, DecodeErrorKind, JsonForm, SchemaText, SchemaType, framing::MessageIndexes};
use offtake_tests::python_file_with_libraries;
use serde_json::{Value, json};

use super::{
    json_shapes::{Draft, Shapes},
    shelf::Shelf,
};

const CASES: u64 = 1_000;
/// The number of values per schema.
const VALUES: usize = 12;

#[test]
#[ignore = "it needs packages of PyPI; scripts/test full runs it"]
fn python_finds_the_same_values_valid_as_we_do() {
    let mut shapes: Vec<Shapes> = (0..CASES).map(Shapes::new).collect();
    let common = shapes.iter().enumerate();
    let common =
        common.filter_map(|(nth, shapes)| Some((format!("common{nth}"), shapes.common()?.to_string())));
    let shelf = Shelf::of(SchemaType::Json, common.collect());
    let (mut jobs, mut ours) = (Vec::new(), Vec::new());
    for (nth, shapes) in shapes.iter_mut().enumerate() {
        let schema = shapes.schema();
        let mut text = SchemaText::new(SchemaType::Json, schema.to_string());
        if shapes.common().is_some() {
            text = text.reference("common.json", format!("common{nth}"), 1);
        }
        let mut values = Vec::new();
        while values.len() < VALUES {
            let value = shapes.following(&schema, 4);
            values.push(shapes.changed(&value));
            values.push(value);
        }
        let compiled = shelf.schema(nth as u32, &text);
        let indexes = MessageIndexes::default();
        let verdicts = values.iter().map(|value| {
            let bytes = value.to_string();
            match compiled.to_json(bytes.as_bytes(), &indexes, JsonForm::Plain, &Budget::default()) {
                Ok(read) => {
                    assert_eq!(&read, value);
                    Ok(true)
                }
                Err(error) if error.kind() == DecodeErrorKind::Invalid => Ok(false),
                Err(error) => Err(error.to_string()),
            }
        });
        ours.push(verdicts.collect::<Result<Vec<bool>, String>>());
        jobs.push(json!({"schema": schema, "common": shapes.common(), "values": values}));
    }
    let input: String = jobs.iter().map(|job| format!("{job}\n")).collect();
    let said = python_file_with_libraries("real/schemas/json_schema.py", &input);
    let answers: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(answers.len(), jobs.len());
    let (mut differ, mut valid) = (Vec::new(), 0);
    let mut of_drafts: BTreeMap<Draft, usize> = BTreeMap::new();
    for (((job, answer), ours), shapes) in jobs.iter().zip(&answers).zip(&ours).zip(&shapes) {
        let theirs: Result<Vec<bool>, String> = match answer.as_array() {
            Some(verdicts) => Ok(verdicts.iter().map(|verdict| verdict.as_bool().unwrap()).collect()),
            None => Err(answer.to_string()),
        };
        *of_drafts.entry(shapes.draft()).or_default() += 1;
        valid += ours.iter().flatten().filter(|is_valid| **is_valid).count();
        let values = job["values"].as_array().unwrap();
        let wrong = match (ours, &theirs) {
            (Ok(ours), Ok(theirs)) => {
                let each = ours.iter().zip(theirs).zip(values).filter(|((ours, theirs), _)| ours != theirs);
                let each: Vec<String> =
                    each.map(|((ours, _), value)| format!("we say {ours} of {value}")).collect();
                each.join("\n")
            }
            (Err(ours), _) => format!("we refuse it: {ours}"),
            (_, Err(theirs)) => format!("Python refuses it: {theirs}"),
        };
        if !wrong.is_empty() {
            differ.push(format!("{wrong}\n{}\n{}", job["schema"], job["common"]));
        }
    }
    println!(
        "{CASES} schemas {of_drafts:?}, {} values of them {valid} valid; {} schemas differ",
        CASES as usize * VALUES,
        differ.len()
    );
    assert!(
        differ.is_empty(),
        "{} of {CASES} differ:\n{}",
        differ.len(),
        differ[..differ.len().min(6)].join("\n\n")
    );
    let all = CASES as usize * VALUES;
    assert!(valid > all / 5 && valid < all * 4 / 5, "both verdicts are found");
}
