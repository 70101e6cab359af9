//! Parsers of values that several commands accept.

pub(super) fn partition(text: &str) -> Result<i32, String> {
    let index = text.parse::<u32>().ok().and_then(|index| i32::try_from(index).ok());
    index.ok_or_else(|| "not a partition: write a number, 0 or more".to_owned())
}

pub(super) fn count(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| "not a number of records: write 0 or more".to_owned())
}
