//! Tests of the public interface, against an embedded cluster.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::disallowed_methods)] // tests have tasks and deadlines of their own
#![allow(clippy::needless_borrows_for_generic_args, clippy::cloned_ref_to_slice_refs)] // users do not know what is needless

mod examples;
mod guess;
mod handle;
mod layers;
mod memory;
mod support;
