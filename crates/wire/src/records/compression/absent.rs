//! Replaces a codec that is not compiled in: it has the same functions, each of which fails.

use super::{Fault, Lz4Checksum, Output};

#[derive(Default)]
pub(super) struct Inflater;

impl Inflater {
    pub(super) fn inflate(&mut self, _: &[u8], _: &mut Output<'_>) -> Result<(), Fault> {
        Err(Fault::NotBuiltIn)
    }
}

pub(super) fn inflate(_: &[u8], _: Lz4Checksum, _: &mut Output<'_>) -> Result<(), Fault> {
    Err(Fault::NotBuiltIn)
}

pub(super) fn deflate(_: Option<i32>, _: &[u8], _: &mut Vec<u8>) -> Result<(), Fault> {
    Err(Fault::NotBuiltIn)
}

/// Without the codec, there is no frame to change.
pub(in super::super) fn write_wrong_checksum(_: &mut [u8]) {}
