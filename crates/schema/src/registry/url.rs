//! [`RegistryUrl`]: a registry's URL, possibly with a user and a password, which no error and no log shows.

use offtake_net::http::Endpoint;
use zeroize::Zeroizing;

use super::{
    error::{RegistryError, conflict},
    transport::basic,
};
use crate::percent;

/// Splits URLs at commas.
pub(super) fn split(urls: &str) -> Vec<String> {
    urls.split(',').map(str::trim).filter(|url| !url.is_empty()).map(str::to_owned).collect()
}

/// A registry's URL.
pub(super) struct RegistryUrl {
    pub(super) base: Endpoint,
    /// `Basic …`, if it has a user and a password.
    pub(super) authorization: Option<Zeroizing<String>>,
}

impl RegistryUrl {
    pub(super) fn parse(text: &str) -> Result<Self, RegistryError> {
        let parts = Parts::of(text);
        let shown = parts.shown();
        let wrong = |reason: &str| conflict(format!("the registry's URL {shown} cannot be used: {reason}"));
        if parts.rest.contains('@') {
            return Err(wrong(
                "in a user, a password or a path `/` is written %2F, `?` %3F, `#` %23 and `@` %40",
            ));
        }
        if parts.rest.contains(['?', '#']) {
            return Err(wrong("it has a query or a fragment"));
        }
        let base = Endpoint::parse(&shown, |_| true).map_err(|reason| wrong(&reason))?;
        let base = base.with_path(parts.rest.trim_end_matches('/'));
        let authorization = match parts.user_info.map(|info| info.split_once(':')) {
            None => None,
            Some(None) => return Err(wrong("its user has no password")),
            Some(Some((user, password))) => {
                let decoded = |text| {
                    percent::decoded(text).ok_or_else(|| wrong("its user or password is wrongly encoded"))
                };
                Some(basic(&decoded(user)?, &decoded(password)?))
            }
        };
        Ok(Self { base, authorization })
    }
}

/// The URL for display: without user, password and query.
pub(super) fn shown(text: &str) -> String {
    let parts = Parts::of(text);
    let shown = parts.shown();
    match (parts.user_info, shown.split_once("://")) {
        (Some(_), Some((scheme, rest))) if !rest.starts_with(HIDDEN) => format!("{scheme}://{HIDDEN}{rest}"),
        _ => shown,
    }
}

/// Replaces a user and a password.
const HIDDEN: &str = "…@";

struct Parts<'a> {
    /// `http` if it has none: `localhost:8081`, as often written.
    scheme: &'a str,
    user_info: Option<&'a str>,
    host: &'a str,
    /// The path and everything after it.
    rest: &'a str,
}

impl<'a> Parts<'a> {
    fn of(text: &'a str) -> Self {
        let (scheme, rest) = text.trim().split_once("://").unwrap_or(("http", text.trim()));
        let (authority, rest) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let (user_info, host) = match authority.rsplit_once('@') {
            Some((user_info, host)) => (Some(user_info), host),
            None => (None, authority),
        };
        Self { scheme, user_info, host, rest }
    }

    fn shown(&self) -> String {
        // A password with a slash in it looks like a host, a port and a path.
        let (host, rest) = match self.rest.rsplit_once('@') {
            Some((_, after)) => (HIDDEN, after),
            None => (self.host, self.rest),
        };
        let path = rest.split(['?', '#']).next().unwrap_or_default();
        format!("{}://{host}{path}", self.scheme)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_may_have_a_path_a_user_and_no_scheme() {
        for (url, shown, authorization) in [
            ("localhost:8081", "http://localhost:8081", None),
            ("http://h:8080/apis/ccompat/v7/", "http://h:8080/apis/ccompat/v7", None),
            ("http://a:b%40c@h/x", "http://h/x", Some("Basic YTpiQGM=")),
            ("http://[::1]:1", "http://[::1]:1", None),
        ] {
            let url = RegistryUrl::parse(url).unwrap();
            assert_eq!(url.base.shown(), shown);
            assert_eq!(url.authorization.as_deref().map(String::as_str), authorization);
        }
    }

    #[test]
    fn a_url_that_cannot_be_used_is_shown_without_its_password() {
        for url in [
            "",
            "ftp://a:hunter2@h",
            "http://hunter2@h",
            "http://a:hunter2@h/x?y=z",
            "http://h/x?token=hunter2",
            "http://h?token=hunter2",
            "http://a:hunter2@",
            "http://a:%zz@h",
            "http://a:hun/hunter2@h",
            "http://a:/hunter2@h:8081/x",
            "http://a:hunter2?@h",
            "http://a:#hunter2@h",
            "a:hun/hunter2@h",
            "http://a:1/hunter2@h",
            "http://hunter2:1/hunter2@h",
        ] {
            let Err(error) = RegistryUrl::parse(url) else { panic!("{url} is taken") };
            assert!(!error.to_string().contains("hunter2"), "{error}");
            assert!(!shown(url).contains("hunter2"), "{}", shown(url));
        }
    }

    #[test]
    fn urls_are_split_at_commas() {
        assert_eq!(split("http://a:8081, http://b:8081,"), ["http://a:8081", "http://b:8081"]);
    }
}
