//! TLS against rustls's own server, in memory. Certificates are created for each test.

mod authority;
mod formats;
mod identity;
mod log;
mod rotation;
mod server;
mod trust;
mod wire;
