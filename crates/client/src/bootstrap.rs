//! [`BootstrapServers`]: the type that clients' builders take for `bootstrap.servers`.

use std::fmt;

/// The brokers to contact first, each as `host:port`: one comma-separated string, or several.
#[derive(Clone, Debug)]
pub struct BootstrapServers(String);

impl From<&str> for BootstrapServers {
    fn from(servers: &str) -> Self {
        Self(servers.to_owned())
    }
}

impl From<String> for BootstrapServers {
    fn from(servers: String) -> Self {
        Self(servers)
    }
}

impl From<&String> for BootstrapServers {
    fn from(servers: &String) -> Self {
        Self(servers.clone())
    }
}

impl<S: AsRef<str>> From<&[S]> for BootstrapServers {
    fn from(servers: &[S]) -> Self {
        Self(servers.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(","))
    }
}

impl<S: AsRef<str>, const N: usize> From<[S; N]> for BootstrapServers {
    fn from(servers: [S; N]) -> Self {
        Self::from(servers.as_slice())
    }
}

impl<S: AsRef<str>, const N: usize> From<&[S; N]> for BootstrapServers {
    fn from(servers: &[S; N]) -> Self {
        Self::from(servers.as_slice())
    }
}

impl<S: AsRef<str>> From<Vec<S>> for BootstrapServers {
    fn from(servers: Vec<S>) -> Self {
        Self::from(servers.as_slice())
    }
}

impl<S: AsRef<str>> From<&Vec<S>> for BootstrapServers {
    fn from(servers: &Vec<S>) -> Self {
        Self::from(servers.as_slice())
    }
}

/// Prints the form that the property takes.
impl fmt::Display for BootstrapServers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
