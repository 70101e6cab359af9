//! [`Endpoint`]: the target of requests.

use std::net::IpAddr;

use hyper::Uri;

/// The target of requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub(super) is_https: bool,
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) path: String,
}

impl Endpoint {
    /// Parses an `https` URL, or an `http` one if `may_be_plain` allows it for its host.
    pub fn parse(url: &str, may_be_plain: impl Fn(&str) -> bool) -> Result<Self, String> {
        let uri: Uri = url.trim().parse().map_err(|_| "it is not an https URL".to_owned())?;
        let authority = uri.authority().ok_or("it has no host")?;
        if authority.as_str().contains('@') {
            return Err("it contains a user name".to_owned());
        }
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        let is_https = match uri.scheme_str() {
            Some("https") => true,
            Some("http") if may_be_plain(&host) => false,
            Some("http") => return Err(format!("secrets go to {host} over https only")),
            _ => return Err("it begins with neither https nor http".to_owned()),
        };
        if host.is_empty() {
            return Err("it has no host".to_owned());
        }
        let after_host = authority.as_str().strip_prefix(authority.host()).unwrap_or_default();
        let port = match after_host.trim_start_matches(':') {
            "" => {
                if is_https {
                    443
                } else {
                    80
                }
            }
            port => {
                port.parse().ok().filter(|port| *port > 0).ok_or("its port is not between 1 and 65535")?
            }
        };
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        Ok(Self { is_https, host, port, path })
    }

    /// The same server with another path.
    pub fn with_path(&self, path: impl Into<String>) -> Self {
        Self { path: path.into(), ..self.clone() }
    }

    /// The endpoint as shown in messages, without its query, which may contain secrets.
    pub fn shown(&self) -> String {
        let scheme = if self.is_https { "https" } else { "http" };
        let path = self.path.split('?').next().unwrap_or_default();
        format!("{scheme}://{}{path}", self.authority())
    }

    /// The complete URL, as sent to a proxy.
    pub(super) fn shown_whole(&self) -> String {
        format!("http://{}{}", self.authority(), self.path)
    }

    /// Its path and query.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Whether it uses TLS.
    pub fn is_https(&self) -> bool {
        self.is_https
    }

    /// The host's name or address.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Host and port, as the header `host` has them.
    pub fn authority(&self) -> String {
        let (host, port) = (&self.host, self.port);
        let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        match (self.is_https, port) {
            (true, 443) | (false, 80) => host,
            _ => format!("{host}:{port}"),
        }
    }
}

/// Whether traffic to this host stays on this machine.
pub fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_none_is_refused_rather_than_replaced() {
        let port = |url: &str| Endpoint::parse(url, |_| true).map(|endpoint| endpoint.port);
        assert_eq!(port("https://idp/token"), Ok(443));
        assert_eq!(port("http://idp/token"), Ok(80));
        assert_eq!(port("https://idp:8443/token"), Ok(8443));
        assert_eq!(port("https://[::1]:8443/token"), Ok(8443));
        assert_eq!(port("https://[::1]/token"), Ok(443));
        for url in ["https://idp:80443/token", "https://idp:0/", "https://[::1]:70000/", "https://idp:x/"] {
            assert!(port(url).is_err(), "{url}: {:?}", port(url));
        }
    }
}
