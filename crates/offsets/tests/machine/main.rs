//! The offsets machine, driven by literal answers and by random histories. Names cite the rows of the failure catalogue.

mod commit;
mod histories;
mod query;
mod start;
mod support;
mod validate;
