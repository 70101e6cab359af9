//! A server that watches the lag of consumer groups.
#![forbid(unsafe_code)]
