//! Without the Cargo feature `registry` nothing is decoded.

use std::time::Duration;

use offtake::{Consumer, Record, Records, TopicPartition};

use super::print::Decoded;
use crate::{
    args::{Common, Consume},
    failure::Failure,
};

/// Has no values.
pub(super) enum Decoding {}

impl Decoding {
    pub(super) fn of(common: &Common, _: &Consume) -> Result<(Option<Self>, Common), Failure> {
        Ok((None, common.clone()))
    }

    pub(super) async fn begin(&self) -> Result<(), Failure> {
        match *self {}
    }

    pub(super) async fn poll(&mut self, _: &mut Consumer, _: Duration) -> offtake::Result<Records> {
        match *self {}
    }

    pub(super) fn is_waiting(&self) -> bool {
        match *self {}
    }

    pub(super) fn withholds(&self, _: &TopicPartition) -> bool {
        match *self {}
    }

    pub(super) fn decode(&mut self, _: &Record<'_>) -> Decoded {
        match *self {}
    }
}
