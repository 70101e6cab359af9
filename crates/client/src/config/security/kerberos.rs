//! GSSAPI: `sasl.kerberos.*`, and the options of `Krb5LoginModule`.

use offtake_net::sasl::{LoginModule, Sasl};

use super::SecurityConfig;

const SERVICE: &str = "sasl.kerberos.service.name";
const PRINCIPAL: &str = "sasl.kerberos.principal";
const KEYTAB: &str = "sasl.kerberos.keytab";

impl SecurityConfig {
    /// Whether it is Kerberos although `sasl.mechanism` is not set: GSSAPI is the default of Java and
    /// librdkafka.
    pub(super) fn implies_gssapi(&self) -> bool {
        let is_module = |text: &str| {
            offtake_net::sasl::Jaas::parse(text).is_ok_and(|jaas| jaas.module() == LoginModule::Kerberos)
        };
        [SERVICE, PRINCIPAL, KEYTAB].iter().any(|name| self.get(name).is_some())
            || self.get("sasl.jaas.config").is_some_and(|setting| is_module(setting.text()))
    }

    #[cfg(not(feature = "gssapi"))]
    pub(super) fn gssapi(&self) -> Result<Sasl, String> {
        Err("`sasl.mechanism` is GSSAPI (Kerberos), and this program was built without: build it with the cargo feature `gssapi` of \
             `offtake`"
            .to_owned())
    }
}

#[cfg(feature = "gssapi")]
mod described {
    use offtake_net::sasl::{Jaas, Kerberos};

    use super::{KEYTAB, PRINCIPAL, SERVICE, Sasl, SecurityConfig};

    const MODULE: &str = "sasl.jaas.config: Krb5LoginModule";

    impl SecurityConfig {
        /// Reads nothing: tickets are requested at each authentication.
        pub(in super::super) fn gssapi(&self) -> Result<Sasl, String> {
            self.kerberos().map(Sasl::gssapi)
        }

        pub(super) fn kerberos(&self) -> Result<Kerberos, String> {
            let text = |name| self.get(name).map(|setting| setting.text().to_owned());
            let (principal, keytab) = (text(PRINCIPAL), text(KEYTAB));
            let jaas = self.jaas("GSSAPI")?;
            let kerberos = match &jaas {
                Some(_) if principal.is_some() || keytab.is_some() => {
                    return Err(format!(
                        "`sasl.jaas.config` and `{PRINCIPAL}` or `{KEYTAB}` say the same thing twice: keep one of them"
                    ));
                }
                Some(jaas) => of_jaas(jaas)?,
                None => match (principal, keytab) {
                    (Some(principal), Some(keytab)) => Kerberos::keytab(principal, path(&keytab)),
                    (None, Some(_)) => {
                        return Err(format!("`{KEYTAB}` needs `{PRINCIPAL}`: whose key in it is used"));
                    }
                    (Some(principal), None) => Kerberos::ticket_cache().with_principal(principal),
                    (None, None) => Kerberos::ticket_cache(),
                },
            };
            let of_jaas = jaas.as_ref().and_then(|jaas| jaas.text("serviceName"));
            Ok(match (text(SERVICE), of_jaas) {
                (Some(set), Some(other)) if set != other => {
                    return Err(format!(
                        "`{SERVICE}` and the option serviceName in `sasl.jaas.config` differ: keep one of them"
                    ));
                }
                (Some(name), _) => kerberos.with_service_name(name),
                (None, Some(name)) => kerberos.with_service_name(name),
                (None, None) => kerberos,
            })
        }
    }

    fn of_jaas(jaas: &Jaas) -> Result<Kerberos, String> {
        let is = |name| jaas.text(name).is_some_and(|value| value.eq_ignore_ascii_case("true"));
        let principal = jaas.text("principal");
        let keytab = match (is("useKeyTab"), jaas.text("keyTab")) {
            (false, _) => None,
            (true, Some(keytab)) if principal.is_some() => Some(path(keytab)),
            (true, Some(_)) => {
                return Err(format!(
                    "{MODULE} has useKeyTab=true and no option principal: whose key is used"
                ));
            }
            (true, None) => {
                return Err(format!("{MODULE} has useKeyTab=true and no option keyTab: its path"));
            }
        };
        let cache = is("useTicketCache").then(|| match jaas.text("ticketCache") {
            Some(name) => Kerberos::ticket_cache_at(name),
            None => Kerberos::ticket_cache(),
        });
        let cache = match (cache, principal) {
            (Some(cache), Some(principal)) => Some(cache.with_principal(principal)),
            (cache, _) => cache,
        };
        match (cache, keytab, principal) {
            (Some(cache), Some(keytab), _) => Ok(cache.or_keytab(keytab)),
            (Some(cache), None, _) => Ok(cache),
            (None, Some(keytab), Some(principal)) => Ok(Kerberos::keytab(principal, keytab)),
            (None, ..) => Err(format!(
                "{MODULE} needs useKeyTab=true with keyTab and principal, or useTicketCache=true; a password is not asked for"
            )),
        }
    }

    /// The path of a keytab: MIT's names may begin with the type.
    fn path(keytab: &str) -> &str {
        keytab.strip_prefix("FILE:").unwrap_or(keytab)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::SecurityProtocol;

    #[cfg(feature = "gssapi")]
    const MODULE: &str = "com.sun.security.auth.module.Krb5LoginModule required";

    fn config(settings: &[(&'static str, &str)]) -> SecurityConfig {
        let mut config =
            SecurityConfig { protocol: SecurityProtocol::SaslPlaintext, ..SecurityConfig::default() };
        for (name, value) in settings {
            config.put(name, value).unwrap();
        }
        config
    }

    #[cfg(not(feature = "gssapi"))]
    #[test]
    fn a_program_that_was_built_without_says_what_to_build_it_with() {
        for settings in [
            [("sasl.mechanism", "GSSAPI")],
            [(SERVICE, "kafka")],
            [(
                "sasl.jaas.config",
                "com.sun.security.auth.module.Krb5LoginModule required useTicketCache=true;",
            )],
        ] {
            let conflicts = config(&settings).conflicts();
            assert!(
                matches!(&conflicts[..], [one] if one.ends_with("the cargo feature `gssapi` of `offtake`")),
                "{conflicts:?}"
            );
        }
    }

    #[cfg(feature = "gssapi")]
    #[test]
    fn settings_of_java_and_of_librdkafka_are_understood() {
        use offtake_net::sasl::Kerberos;
        let jaas = |options: &str| format!("{MODULE} {options};");
        let by_key = Kerberos::keytab("alice@EXAMPLE.COM", "/etc/alice.keytab");
        let in_jaas =
            r#"useKeyTab=true storeKey=true keyTab="/etc/alice.keytab" principal="alice@EXAMPLE.COM""#;
        let cases = [
            (vec![("sasl.jaas.config", jaas(in_jaas))], by_key.clone()),
            (
                vec![("sasl.jaas.config", jaas(in_jaas)), (SERVICE, "kafka-prod".to_owned())],
                by_key.clone().with_service_name("kafka-prod"),
            ),
            (
                vec![("sasl.jaas.config", jaas(&format!("{in_jaas} serviceName=other")))],
                by_key.clone().with_service_name("other"),
            ),
            (
                vec![(
                    "sasl.jaas.config",
                    jaas(&format!("{in_jaas} useTicketCache=TRUE ticketCache='/tmp/cc'")),
                )],
                Kerberos::ticket_cache_at("/tmp/cc")
                    .with_principal("alice@EXAMPLE.COM")
                    .or_keytab("/etc/alice.keytab"),
            ),
            (vec![("sasl.jaas.config", jaas("useTicketCache=true renewTGT=true"))], Kerberos::ticket_cache()),
            (
                vec![
                    (PRINCIPAL, "alice@EXAMPLE.COM".to_owned()),
                    (KEYTAB, "FILE:/etc/alice.keytab".to_owned()),
                ],
                by_key.clone(),
            ),
            (vec![(PRINCIPAL, "alice".to_owned())], Kerberos::ticket_cache().with_principal("alice")),
            (vec![(SERVICE, "kafka".to_owned())], Kerberos::ticket_cache()),
        ];
        for (settings, expected) in cases {
            let mut all = vec![];
            for (name, value) in &settings {
                all.push((*name, value.as_str()));
            }
            // GSSAPI is the default of both.
            assert_eq!(config(&all).kerberos(), Ok(expected.clone()), "{settings:?}");
            assert_eq!(config(&all).build_sasl().unwrap().unwrap().mechanism(), "GSSAPI", "{settings:?}");
            all.push(("sasl.mechanism", "gssapi"));
            assert_eq!(config(&all).conflicts(), [] as [&str; 0], "{settings:?}");
        }
    }

    #[cfg(feature = "gssapi")]
    #[test]
    fn each_mistake_has_its_sentence() {
        let jaas = |options: &str| ("sasl.jaas.config", format!("{MODULE} {options};"));
        let of = |name, value: &str| (name, value.to_owned());
        let cases = [
            (vec![jaas("useKeyTab=true principal=a")], "no option keyTab"),
            (vec![jaas("useKeyTab=true keyTab=k")], "no option principal"),
            (vec![jaas("")], "needs useKeyTab=true with keyTab and principal, or useTicketCache=true"),
            (vec![jaas("keyTab=k principal=a")], "needs useKeyTab=true"),
            (vec![jaas("useTicketCache=true"), of(PRINCIPAL, "a")], "say the same thing twice"),
            (vec![jaas("useTicketCache=true serviceName=a"), of(SERVICE, "b")], "differ: keep one of them"),
            (vec![of(KEYTAB, "/k")], "`sasl.kerberos.keytab` needs `sasl.kerberos.principal`"),
            (
                vec![
                    of("sasl.mechanism", "GSSAPI"),
                    of("sasl.jaas.config", "PlainLoginModule required username=a password=hunter2;"),
                ],
                "PlainLoginModule does not go with sasl.mechanism=GSSAPI: name Krb5LoginModule",
            ),
        ];
        for (settings, sentence) in cases {
            let settings: Vec<_> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let conflicts = config(&settings).conflicts();
            assert!(matches!(&conflicts[..], [one] if one.contains(sentence)), "{settings:?}: {conflicts:?}");
        }
    }

    #[test]
    fn without_any_word_of_kerberos_the_mechanism_has_to_be_named() {
        for settings in [&[][..], &[("sasl.username", "alice"), ("sasl.password", "hunter2")]] {
            let conflicts = config(settings).conflicts();
            assert!(
                matches!(&conflicts[..], [one] if one.starts_with("`sasl.mechanism` is not set: set it to PLAIN")),
                "{conflicts:?}"
            );
        }
    }
}
