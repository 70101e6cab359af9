//! Refuses schemas whose validation could take exponential time: if each of a few definitions refers twice to the next, each one
//! doubles the work.

use std::collections::HashMap;

use serde_json::Value;

use crate::percent;

/// The most subschemas that may be examined for one value of a document.
const MOST_WORK: u64 = 100_000;
/// The most subschemas that are counted here.
const MOST_SCHEMAS: usize = 200_000;
/// The cost of a metaschema: it refers to itself, and the validator remembers which subschemas it has examined.
const METASCHEMA: Count = Count { subschemas: 1_000, recursions: 2 };
/// The cost of a schema within itself: only the recursion counts.
const ITSELF: Count = Count { subschemas: 0, recursions: 1 };

/// The size of a schema.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Count {
    subschemas: u64,
    /// The number of places where it refers back to an enclosing schema.
    recursions: u64,
}

impl Count {
    /// An upper bound of the subschemas examined for a value of this depth, if nothing is remembered.
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
    /// The schema, the schemas that it refers to, and nested ones with an `$id`, each with its name.
    documents: Vec<(String, &'a Value)>,
    anchors: HashMap<&'a str, Vec<&'a Value>>,
    /// The counts so far; [`ITSELF`] while a schema is being counted, because it may refer to itself.
    counted: HashMap<String, Count>,
    looked_at: usize,
}

/// The size of a schema, if it is not refused.
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

/// The nesting limit, which exceeds that of parsed JSON because references add to it.
const DEEPEST: u32 = 400;

impl<'a> Work<'a> {
    /// Indexes the possible targets of references by name.
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
                        // Definitions cost only where they are referred to.
                        ("definitions" | "$defs" | "enum" | "const" | "default" | "examples", _) => continue,
                        ("$ref" | "$dynamicRef" | "$recursiveRef", Value::String(target)) => {
                            self.reference(target, depth)?
                        }
                        // The names of their members are chosen by the schema's author, and may equal keywords.
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

    /// An upper bound of its cost, over all possible targets.
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
            return Err(format!("`{target:.200}` is not among its references"));
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

/// Names are compared only by this, so that the base URI does not matter.
fn last_segment(name: &str) -> &str {
    let name = name.split_once('#').map_or(name, |(name, _)| name);
    name.rsplit(['/', ':']).next().unwrap_or(name)
}
