//! `bootstrap.servers`: a list of `host:port`.

/// Parses the addresses in `text`. A host may be a name, an IPv4 address or an IPv6 address in brackets. A
/// listener name before it (`PLAINTEXT://host:9092`) is dropped, as in Java; the scheme of another protocol
/// (`http://`) is refused. The error describes the expected format.
pub(crate) fn parse_servers(text: &str) -> Result<Vec<(String, u16)>, String> {
    let servers: Vec<_> = text
        .split(',')
        .map(str::trim)
        .filter(|server| !server.is_empty())
        .map(parse_server)
        .collect::<Result<_, _>>()?;
    if servers.is_empty() { Err("at least one `host:port`".to_owned()) } else { Ok(servers) }
}

/// Schemes of URLs, which are not listener names of a Kafka broker.
const SCHEMES: [&str; 7] = ["http", "https", "kafka", "tcp", "tls", "zk", "zookeeper"];

fn parse_server(text: &str) -> Result<(String, u16), String> {
    let (scheme, address) = text.split_once("://").unwrap_or(("", text));
    if SCHEMES.iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
        let plain = address.split('/').next().unwrap_or(address);
        let shown = if parse_address(plain).is_ok() { plain } else { "host:9092" };
        return Err(format!("`host:port` without `{scheme}://`: write `{shown}`"));
    }
    parse_address(address).map_err(str::to_owned)
}

fn parse_address(text: &str) -> Result<(String, u16), &'static str> {
    const WANTED: &str =
        "a comma-separated list of `host:port`, with IPv6 addresses in brackets: `[::1]:9092`";
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once("]:").ok_or(WANTED)?;
            let address = host.split_once('%').map_or(host, |(address, _zone)| address);
            if address.parse::<std::net::Ipv6Addr>().is_err() {
                return Err(WANTED);
            }
            (host, port)
        }
        None => text.rsplit_once(':').ok_or("`host:port`; the port is missing")?,
    };
    let plain = text.starts_with('[') || !host.contains([':', ']']);
    if host.is_empty() || !plain || host.chars().any(|c| c.is_whitespace() || c.is_control() || c == '/') {
        return Err(WANTED);
    }
    match port.parse::<u16>() {
        Ok(port) if port > 0 && text.ends_with(|c: char| c.is_ascii_digit()) && !text.contains(":+") => {
            Ok((host.to_owned(), port))
        }
        _ => Err("ports from 1 to 65535"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn servers(text: &str) -> Vec<(String, u16)> {
        parse_servers(text).unwrap()
    }

    #[test]
    fn names_and_addresses_of_both_families_are_read() {
        assert_eq!(servers("localhost:9092"), [("localhost".to_owned(), 9092)]);
        assert_eq!(
            servers(" a:1 ,, b.example:65535,"),
            [("a".to_owned(), 1), ("b.example".to_owned(), 65535)]
        );
        assert_eq!(
            servers("[::1]:9092,127.0.0.1:2"),
            [("::1".to_owned(), 9092), ("127.0.0.1".to_owned(), 2)]
        );
        assert_eq!(servers("PLAINTEXT://k1:9092"), [("k1".to_owned(), 9092)]);
        assert_eq!(servers("[fe80::1%eth0]:9092"), [("fe80::1%eth0".to_owned(), 9092)]);
    }

    #[test]
    fn an_url_is_refused_with_what_to_write_instead() {
        for (url, instead) in [
            ("http://localhost:9092", "`host:port` without `http://`: write `localhost:9092`"),
            ("kafka://a:1/orders", "`host:port` without `kafka://`: write `a:1`"),
            ("HTTPS://a", "`host:port` without `HTTPS://`: write `host:9092`"),
            ("a:1,tcp://[::1]:2", "`host:port` without `tcp://`: write `[::1]:2`"),
        ] {
            assert_eq!(parse_servers(url).unwrap_err(), instead);
        }
        assert_eq!(servers("INTERNAL://k1:9092"), [("k1".to_owned(), 9092)], "the name of a listener");
    }

    #[test]
    fn an_invalid_address_is_refused() {
        for text in [
            "",
            ",",
            "localhost",
            "localhost:",
            ":9092",
            "a:0",
            "a:65536",
            "a:-1",
            "a:+1",
            "::1:9092",
            "[::1]",
            "[::1]9092",
            "[x]:1",
            "a b:1",
            "http://a:1/x",
            "a/b:1",
        ] {
            assert!(parse_servers(text).is_err(), "{text:?}");
        }
    }
}
