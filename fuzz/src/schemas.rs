//! Targets `protobuf`, `json_schema` and `framing`: any schemas, values and frames are read, or refused within the budget.

use crate::{hostile, meter};

/// The memory for a schema compiler, the files that Google's imports need, and a value of the budget.
const ENOUGH: usize = 64 << 20;

/// See [`hostile::protobuf`].
pub fn protobuf(input: &[u8]) {
    meter::within(ENOUGH + 4_000 * input.len(), || hostile::protobuf(input));
}

/// See [`hostile::json_schema`].
pub fn json_schema(input: &[u8]) {
    meter::within(ENOUGH + 4_000 * input.len(), || hostile::json_schema(input));
}

/// See [`hostile::framing`].
pub fn framing(input: &[u8]) {
    meter::within((1 << 20) + 64 * input.len(), || hostile::framing(input));
}
