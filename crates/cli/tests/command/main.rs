//! The built `offtake` command, against the embedded broker.
#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod demo;
mod dlq;
mod doctor;
mod lag;
#[cfg(unix)]
mod monitor;
mod operator;
#[cfg(unix)]
mod pipe;
#[cfg(unix)]
mod piping;
#[cfg(unix)]
mod producing;
#[cfg(feature = "registry")]
mod schemas;
mod secrets;
