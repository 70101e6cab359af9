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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_taken_in_every_form_that_programs_have_them_in() {
        let (text, list) = ("a:1,b:2".to_owned(), vec!["a:1".to_owned(), "b:2".to_owned()]);
        for servers in [
            BootstrapServers::from("a:1,b:2"),
            BootstrapServers::from(&text),
            BootstrapServers::from(text.clone()),
            BootstrapServers::from(["a:1", "b:2"]),
            BootstrapServers::from(&["a:1", "b:2"]),
            BootstrapServers::from(list.as_slice()),
            BootstrapServers::from(&list),
            BootstrapServers::from(list.clone()),
        ] {
            assert_eq!(servers.to_string(), text);
        }
    }
}
