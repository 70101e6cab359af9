//! Text read from and written for people and scripts: places in a log, formats, JSON.

pub(crate) mod format;
pub(crate) mod json;
pub(crate) mod number;
pub(crate) mod offset_bound;
pub(crate) mod row;
pub(crate) mod table;
pub(crate) mod time;
