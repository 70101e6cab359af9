//! Refuses schemas whose validation could take for ever: a few definitions that each refer twice to the next double the work with each.

use std::collections::HashMap;

use serde_json::Value;

/// So many subschemas may be looked at for one value of a document.
const MOST_WORK: u64 = 100_000;
/// So many are looked at here.
const MOST_SCHEMAS: usize = 200_000;

struct Work<'a> {
    root: &'a Value,
    others: &'a HashMap<String, Value>,
    /// What was counted already; 0 while it is being counted, as a schema may refer to itself.
    counted: HashMap<String, u64>,
    looked_at: usize,
}

pub(super) fn check(root: &Value, others: &HashMap<String, Value>) -> Result<(), String> {
    let mut work = Work { root, others, counted: HashMap::new(), looked_at: 0 };
    let total = work.of(root, 0)?;
    if total > MOST_WORK {
        return Err(format!("its references multiply to more than {MOST_WORK} subschemas"));
    }
    Ok(())
}

/// JSON is read only so deep; references may add to it.
const DEEPEST: u32 = 400;

impl Work<'_> {
    fn of(&mut self, schema: &Value, depth: u32) -> Result<u64, String> {
        self.looked_at += 1;
        if self.looked_at > MOST_SCHEMAS || depth > DEEPEST {
            return Err(
                "it has too many subschemas, or references that follow one another too far".to_owned()
            );
        }
        let mut total = 1_u64;
        match schema {
            Value::Object(members) => {
                for (name, member) in members {
                    let more = match (name.as_str(), member) {
                        // What is only defined costs where it is referred to.
                        ("definitions" | "$defs" | "enum" | "const" | "default" | "examples", _) => 0,
                        ("$ref" | "$dynamicRef" | "$recursiveRef", Value::String(target)) => {
                            self.reference(target, depth)?
                        }
                        _ => self.of(member, depth + 1)?,
                    };
                    total = total.saturating_add(more);
                }
            }
            Value::Array(members) => {
                for member in members {
                    total = total.saturating_add(self.of(member, depth + 1)?);
                }
            }
            _ => {}
        }
        Ok(total)
    }

    fn reference(&mut self, target: &str, depth: u32) -> Result<u64, String> {
        if let Some(known) = self.counted.get(target) {
            return Ok(*known);
        }
        self.counted.insert(target.to_owned(), 0);
        let (file, pointer) = target.split_once('#').unwrap_or((target, ""));
        let (root, others) = (self.root, self.others);
        let file = if file.is_empty() {
            Some(root)
        } else {
            others.iter().find(|(name, _)| file.ends_with(name.as_str())).map(|(_, value)| value)
        };
        // One that leads nowhere, or to an anchor, is for the validator to judge.
        let found = file.and_then(|file| file.pointer(pointer).or(Some(file)));
        let total = match found {
            Some(found) => self.of(found, depth + 1)?,
            None => 1,
        };
        self.counted.insert(target.to_owned(), total);
        Ok(total)
    }
}
