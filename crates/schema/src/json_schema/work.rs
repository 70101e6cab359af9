//! Refuses schemas whose validation could take for ever: a few definitions that each refer twice to the next double the work with each.

use std::collections::HashMap;

use serde_json::Value;

use crate::percent;

/// So many subschemas may be looked at for one value of a document.
const MOST_WORK: u64 = 100_000;
/// So many are looked at here.
const MOST_SCHEMAS: usize = 200_000;
/// What a schema of schemas costs: it refers to itself, and the validator remembers what it has looked at.
const METASCHEMA: Count = Count { subschemas: 1_000, recursions: 2 };
/// What is being counted already costs nothing more where it comes again, but that it comes again.
const ITSELF: Count = Count { subschemas: 0, recursions: 1 };

/// How much there is of a schema.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Count {
    subschemas: u64,
    /// At how many places it comes back to what it is part of.
    recursions: u64,
}

impl Count {
    /// How many subschemas are looked at, at most, in a value that is so deep, if nothing of it is remembered.
    pub(super) fn at_depth(self, depth: u32) -> Option<u64> {
        self.recursions.max(1).checked_pow(depth)?.checked_mul(self.subschemas)
    }

    fn and(self, other: Self) -> Self {
        Self {
            subschemas: self.subschemas.saturating_add(other.subschemas),
            recursions: self.recursions.saturating_add(other.recursions),
        }
    }
}

struct Work<'a> {
    /// The schema, those that it refers to, and those within them that have an `$id`, each with the names it has.
    documents: Vec<(String, &'a Value)>,
    anchors: HashMap<&'a str, Vec<&'a Value>>,
    /// What was counted already; [`ITSELF`] while it is being counted, as a schema may refer to itself.
    counted: HashMap<String, Count>,
    looked_at: usize,
}

/// How much there is of a schema that is not refused.
pub(super) fn check(root: &Value, others: &HashMap<String, Value>) -> Result<Count, String> {
    let mut work =
        Work { documents: Vec::new(), anchors: HashMap::new(), counted: HashMap::new(), looked_at: 0 };
    work.documents.push((String::new(), root));
    work.documents.extend(others.iter().map(|(name, other)| (last_segment(name).to_owned(), other)));
    work.index(root, 0)?;
    others.values().try_for_each(|other| work.index(other, 0))?;
    let total = work.of(root, 0)?;
    if total.subschemas > MOST_WORK {
        return Err(format!("its references multiply to more than {MOST_WORK} subschemas"));
    }
    Ok(total)
}

/// JSON is read only so deep; references may add to it.
const DEEPEST: u32 = 400;

impl<'a> Work<'a> {
    /// Finds what references may mean by name.
    fn index(&mut self, schema: &'a Value, depth: u32) -> Result<(), String> {
        self.look(depth)?;
        match schema {
            Value::Object(members) => {
                for (name, member) in members {
                    match (name.as_str(), member) {
                        ("$anchor" | "$dynamicAnchor", Value::String(anchor)) => {
                            self.anchors.entry(anchor).or_default().push(schema);
                        }
                        ("$id" | "id", Value::String(id)) => match id.strip_prefix('#') {
                            Some(anchor) => self.anchors.entry(anchor).or_default().push(schema),
                            None => self.documents.push((last_segment(id).to_owned(), schema)),
                        },
                        _ => {}
                    }
                    self.index(member, depth + 1)?;
                }
                Ok(())
            }
            Value::Array(members) => members.iter().try_for_each(|member| self.index(member, depth + 1)),
            _ => Ok(()),
        }
    }

    fn look(&mut self, depth: u32) -> Result<(), String> {
        self.looked_at += 1;
        if self.looked_at > MOST_SCHEMAS || depth > DEEPEST {
            return Err(
                "it has too many subschemas, or references that follow one another too far".to_owned()
            );
        }
        Ok(())
    }

    fn of(&mut self, schema: &Value, depth: u32) -> Result<Count, String> {
        self.look(depth)?;
        let mut total = Count { subschemas: 1, recursions: 0 };
        match schema {
            Value::Object(members) => {
                for (name, member) in members {
                    let more = match (name.as_str(), member) {
                        // What is only defined costs where it is referred to.
                        ("definitions" | "$defs" | "enum" | "const" | "default" | "examples", _) => continue,
                        ("$ref" | "$dynamicRef" | "$recursiveRef", Value::String(target)) => {
                            self.reference(target, depth)?
                        }
                        // Their members are called as a value's are, which may be as a keyword is.
                        (
                            "properties" | "patternProperties" | "dependentSchemas" | "dependencies",
                            Value::Object(named),
                        ) => self.each(named.values(), depth)?,
                        _ => self.of(member, depth + 1)?,
                    };
                    total = total.and(more);
                }
            }
            Value::Array(members) => total = total.and(self.each(members, depth)?),
            _ => {}
        }
        Ok(total)
    }

    fn each<'s>(
        &mut self,
        schemas: impl IntoIterator<Item = &'s Value>,
        depth: u32,
    ) -> Result<Count, String> {
        schemas.into_iter().try_fold(Count::default(), |total, one| Ok(total.and(self.of(one, depth + 1)?)))
    }

    /// What it costs at most, whichever of those that it may mean it means.
    fn reference(&mut self, target: &str, depth: u32) -> Result<Count, String> {
        if let Some(known) = self.counted.get(target) {
            return Ok(*known);
        }
        let (file, fragment) = target.split_once('#').unwrap_or((target, ""));
        if file.starts_with("http://json-schema.org/") || file.starts_with("https://json-schema.org/") {
            return Ok(METASCHEMA);
        }
        self.counted.insert(target.to_owned(), ITSELF);
        let fragment = percent::decoded(fragment)
            .and_then(|fragment| String::from_utf8(fragment.to_vec()).ok())
            .ok_or_else(|| format!("its reference `{target:.200}` is not a reference"))?;
        let name = last_segment(file);
        let mut documents =
            self.documents.iter().filter(|(has, _)| file.is_empty() || has == name).map(|(_, one)| *one);
        let found: Vec<_> = match fragment.as_str() {
            "" => documents.collect(),
            pointer if pointer.starts_with('/') => documents.filter_map(|one| one.pointer(pointer)).collect(),
            anchor => match documents.next() {
                Some(_) => self.anchors.get(anchor).cloned().unwrap_or_default(),
                None => Vec::new(),
            },
        };
        if found.is_empty() {
            return Err(format!("`{target:.200}` is none of its references"));
        }
        let mut most = Count::default();
        for one in found {
            let count = self.of(one, depth + 1)?;
            most.subschemas = most.subschemas.max(count.subschemas);
            most.recursions = most.recursions.max(count.recursions);
        }
        self.counted.insert(target.to_owned(), most);
        Ok(most)
    }
}

/// Names are compared by this alone: what they are relative to does not matter then.
fn last_segment(name: &str) -> &str {
    let name = name.split_once('#').map_or(name, |(name, _)| name);
    name.rsplit(['/', ':']).next().unwrap_or(name)
}
