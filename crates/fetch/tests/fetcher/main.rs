//! The fetch machine against literal answers, and against a broker that is strict and breaks things.

mod budget;
mod history;
mod leaders;
mod model;
mod positions;
mod records;
mod rig;
mod sessions;
