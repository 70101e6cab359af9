//! [`Address`]: a host and a port, as configured or as a broker advertised them.

use std::{fmt, sync::Arc};

/// The host and port of a broker. The name is resolved at each dial, because its addresses may change.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Address {
    pub(crate) host: Arc<str>,
    pub(crate) port: u16,
}

impl Address {
    pub(crate) fn new(host: &str, port: u16) -> Self {
        Self { host: host.into(), port }
    }

    pub(crate) fn is(&self, host: &str, port: u16) -> bool {
        &*self.host == host && self.port == port
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_host_is_bracketed() {
        assert_eq!(Address::new("::1", 9092).to_string(), "[::1]:9092");
        assert_eq!(Address::new("kafka", 9092).to_string(), "kafka:9092");
    }
}
