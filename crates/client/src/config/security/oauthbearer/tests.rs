use super::*;
use crate::config::SecurityProtocol;

const MODULE: &str = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required";
const HANDLER: &str = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginCallbackHandler";
const ENDPOINT: (&str, &str) = (URL, "https://idp.example.com/token");

/// OAUTHBEARER with these properties.
fn config(settings: &[(&'static str, &str)]) -> SecurityConfig {
    let mut config =
        SecurityConfig { protocol: SecurityProtocol::SaslPlaintext, ..SecurityConfig::default() };
    for (name, value) in [("sasl.mechanism", "OAUTHBEARER")].iter().chain(settings) {
        config.put(name, value).unwrap();
    }
    config
}

fn source(settings: &[(&'static str, &str)]) -> TokenSource {
    config(settings).oauthbearer().unwrap_or_else(|error| panic!("{settings:?}: {error}")).source
}

/// The error text for these properties, which must not contain secrets.
fn refused(settings: &[(&'static str, &str)]) -> String {
    let config = config(settings);
    let [conflict] = config.conflicts().try_into().unwrap_or_else(|all| panic!("{settings:?}: {all:?}"));
    assert!(!conflict.contains("hunter2") && !format!("{config:?}").contains("hunter2"), "{conflict}");
    conflict
}

#[test]
fn a_file_is_a_source_of_tokens() {
    for url in ["file:///run/token", "file:/run/token"] {
        for retriever in ["", "FileJwtRetriever", "shaded.org.apache.kafka.DefaultJwtRetriever"] {
            let TokenSource::File(file) = source(&[(URL, url), (RETRIEVER, retriever)]) else {
                panic!("{url} {retriever}")
            };
            assert_eq!(file, TokenFile::new("/run/token"));
        }
    }
}

#[test]
fn unsecured_tokens_are_made_by_javas_options_and_librdkafkas() {
    let jaas = format!("{MODULE} unsecuredLoginStringClaim_sub=\"alice\";");
    for settings in [("sasl.jaas.config", jaas.as_str()), ("sasl.oauthbearer.config", "principal=alice")] {
        let TokenSource::Unsecured(token) = source(&[settings]) else { panic!("{settings:?}") };
        assert_eq!(token, UnsecuredToken::new("alice"));
    }
}

/// Tests the error texts with and without the feature.
#[test]
fn each_mistake_of_a_source_has_its_sentence() {
    let jaas = format!("{MODULE};");
    let cases: &[(&[(&str, &str)], &str)] = &[
        (&[], "needs a source of tokens: set `sasl.oauthbearer.token.endpoint.url`"),
        (&[("sasl.jaas.config", &jaas)], "needs a source of tokens"),
        (
            &[(CLIENT_ID, "me"), (CLIENT_SECRET, "hunter2")],
            "`sasl.oauthbearer.token.endpoint.url` is not set",
        ),
        (&[("sasl.oauthbearer.method", "oidc")], "`sasl.oauthbearer.token.endpoint.url` is not set"),
        (&[(RETRIEVER, "JwtBearerJwtRetriever")], "`sasl.oauthbearer.token.endpoint.url` is not set"),
        (&[("sasl.oauthbearer.method", "hunter2")], "takes oidc or default"),
        (&[ENDPOINT, ("sasl.oauthbearer.method", "default")], "set it to oidc, or remove it"),
        (&[(URL, "file:token")], "an absolute path"),
        (&[(URL, "file:///token"), (RETRIEVER, "ClientCredentialsJwtRetriever")], "asks an endpoint"),
        (&[ENDPOINT, (RETRIEVER, "FileJwtRetriever")], "reads a file"),
        (
            &[ENDPOINT, (RETRIEVER, "com.example.hunter2")],
            "takes DefaultJwtRetriever, FileJwtRetriever, ClientCred",
        ),
        (&[("sasl.oauthbearer.config", "hunter2")], "takes principal=NAME"),
        (&[("sasl.login.refresh.buffer.seconds", "-1"), (URL, "file:///t")], "from 0 to 3600"),
        (&[("sasl.jaas.config", "PlainLoginModule required password=hunter2;")], "does not go with"),
    ];
    for (settings, sentence) in cases {
        let error = refused(settings);
        assert!(error.contains(sentence), "{settings:?}: {error}");
    }
}

#[test]
fn classes_of_java_that_do_what_is_done_here_are_fine_and_others_are_refused() {
    const LOGIN: &str = "sasl.login.callback.handler.class";
    const CLIENT: &str = "sasl.client.callback.handler.class";
    let old = HANDLER.replace("oauthbearer.OAuth", "oauthbearer.secured.OAuth");
    let shaded = format!("shaded.{HANDLER}");
    let internals = "org.apache.kafka.common.security.oauthbearer.internals";
    let validator = HANDLER.replace("OAuthBearerLoginCallbackHandler", "ClientJwtValidator");
    for (property, class) in [
        (LOGIN, HANDLER.to_owned()),
        (LOGIN, old),
        (LOGIN, shaded),
        (LOGIN, format!("{internals}.unsecured.OAuthBearerUnsecuredLoginCallbackHandler")),
        (CLIENT, "software.amazon.msk.auth.iam.IAMClientCallbackHandler".to_owned()),
        (CLIENT, format!("{internals}.OAuthBearerSaslClientCallbackHandler")),
        ("sasl.login.class", format!("{internals}.OAuthBearerRefreshingLogin")),
        ("sasl.oauthbearer.jwt.validator.class", validator),
    ] {
        let config = config(&[(URL, "file:///run/token"), (property, &class)]);
        assert_eq!(config.conflicts(), [""; 0], "{property}={class}");
    }
    for (property, class, sentence) in [
        (
            LOGIN,
            "io.strimzi.kafka.oauth.client.JaasClientOauthLoginCallbackHandler",
            "set OAuthBearerLoginCallback",
        ),
        (
            LOGIN,
            "com.example.OAuthBearerLoginCallbackHandler",
            "is a class of Java that is not supported here",
        ),
        (LOGIN, "hunter2", "can be given in code"),
        (LOGIN, "software.amazon.msk.auth.iam.IAMOAuthBearerLoginCallbackHandler", "to AWS_MSK_IAM"),
        (CLIENT, "xsoftware.amazon.msk.auth.iam.IAMClientCallbackHandler", "leave it out"),
        (CLIENT, "com.example.hunter2", "credentials from a source of your own"),
        ("sasl.login.class", "com.example.hunter2", "leave it out"),
        ("sasl.oauthbearer.jwt.validator.class", "com.example.hunter2", "validated by the broker"),
    ] {
        let error = refused(&[(URL, "file:///run/token"), (property, class)]);
        assert!(error.starts_with(&format!("`{property}` is ")) && error.contains(sentence), "{error}");
    }
    // For other mechanisms too.
    let mut plain =
        config(&[(CLIENT, "com.example.hunter2"), ("sasl.username", "a"), ("sasl.password", "b")]);
    plain.put("sasl.mechanism", "PLAIN").unwrap();
    assert!(plain.conflicts()[0].contains(CLIENT), "{:?}", plain.conflicts());
}

#[cfg(not(feature = "oidc"))]
#[test]
fn a_build_without_the_feature_names_it() {
    let error = refused(&[ENDPOINT, (CLIENT_ID, "me"), (CLIENT_SECRET, "hunter2")]);
    assert!(error.contains("build it with the cargo feature `oidc` of `offtake`"), "{error}");
}

#[cfg(feature = "oidc")]
mod endpoint {
    use std::path::Path;

    use offtake_net::{
        sasl::{Algorithm, Assertion, Grant, SignedAssertion, TokenEndpoint, UserPassword},
        tls::{Keystore, Trust, Verification},
    };

    use super::*;
    use crate::config::ClientConfig;

    const JWT_BEARER: (&str, &str) =
        ("sasl.oauthbearer.grant.type", "urn:ietf:params:oauth:grant-type:jwt-bearer");
    const KEY: (&str, &str) = ("sasl.oauthbearer.assertion.private.key.file", "/run/key.pem");

    fn endpoint(settings: &[(&'static str, &str)]) -> (TokenEndpoint, Grant) {
        let settings: Vec<_> = [ENDPOINT].iter().chain(settings).copied().collect();
        let TokenSource::Endpoint(endpoint, grant) = source(&settings) else { panic!("{settings:?}") };
        (endpoint, grant)
    }

    /// The id, the secret and the scope.
    async fn client(grant: Grant) -> (UserPassword, Option<String>, bool) {
        let Grant::ClientSecret { client, scope, urlencode_header } = grant else { panic!("{grant:?}") };
        (client.fetch().await.unwrap(), scope, urlencode_header)
    }

    fn signed(grant: Grant) -> (SignedAssertion, Option<String>) {
        match grant {
            Grant::ClientAssertion { assertion: Assertion::Signed(assertion), client_id, .. } => {
                (*assertion, client_id)
            }
            Grant::JwtBearer { assertion: Assertion::Signed(assertion), scope } => (*assertion, scope),
            grant => panic!("{grant:?}"),
        }
    }

    #[tokio::test]
    async fn javas_properties_and_the_options_that_it_had_before_say_the_same() {
        let properties = [
            (CLIENT_ID, "me"),
            (CLIENT_SECRET, "hunter2"),
            ("sasl.oauthbearer.scope", "kafka"),
            ("sasl.login.callback.handler.class", HANDLER),
        ];
        let jaas = format!("{MODULE} clientId=me clientSecret=\"hunter2\" scope=kafka extension_tenant=t;");
        let options = [("sasl.jaas.config", jaas.as_str())];
        for settings in [&properties[..], &options] {
            let (client, scope, urlencode) = client(endpoint(settings).1).await;
            assert_eq!((client, scope.as_deref()), (UserPassword::new("me", "hunter2"), Some("kafka")));
            assert!(!urlencode);
        }
        let both =
            [("sasl.jaas.config", jaas.as_str()), (CLIENT_ID, "you"), ("sasl.oauthbearer.scope", "all")];
        let (client, scope, _) = client(endpoint(&both).1).await;
        assert_eq!(
            (client, scope.as_deref()),
            (UserPassword::new("you", "hunter2"), Some("all")),
            "as in Java"
        );
        let settings: Vec<_> = [ENDPOINT].into_iter().chain(options).collect();
        let extensions = config(&settings).oauthbearer().unwrap().extensions;
        assert_eq!(extensions, Extensions::new([("tenant", "t")]).unwrap());
    }

    #[tokio::test]
    async fn librdkafkas_names_say_the_same() {
        let mut config = ClientConfig::default();
        for (name, value) in [
            ("security.protocol", "sasl_ssl"),
            ("sasl.mechanisms", "OAUTHBEARER"),
            ("sasl.oauthbearer.method", "OIDC"),
            ("sasl.oauthbearer.token.endpoint.url", ENDPOINT.1),
            ("sasl.oauthbearer.client.id", "me"),
            ("sasl.oauthbearer.client.secret", "hunter2"),
            ("sasl.oauthbearer.scope", "kafka"),
            ("sasl.oauthbearer.grant.type", "client_credentials"),
            ("sasl.oauthbearer.extensions", "tenant=t"),
            ("https.ca.location", "/etc/ca.pem"),
        ] {
            config.set(name, value).unwrap();
        }
        let described = config.security.oauthbearer().unwrap();
        assert_eq!(described.extensions, Extensions::new([("tenant", "t")]).unwrap());
        let TokenSource::Endpoint(endpoint, grant) = described.source else { panic!("not an endpoint") };
        assert_eq!(client(grant).await.0, UserPassword::new("me", "hunter2"));
        let Trust::Pem(pem) = endpoint.tls.trust else { panic!("{:?}", endpoint.tls.trust) };
        assert_eq!(pem.property, "https.ca.location");
        config.set("https.ca.location", "probe").unwrap();
        let TokenSource::Endpoint(endpoint, _) = config.security.oauthbearer().unwrap().source else {
            panic!("not an endpoint")
        };
        assert_eq!(endpoint.tls.trust, Trust::System);
        let shown = format!("{:?}", config.security);
        assert!(!shown.contains("hunter2"), "{shown}");
    }

    /// The provider's current value is used for each request.
    #[tokio::test]
    async fn the_secret_is_looked_up_again() {
        let file = std::env::temp_dir().join(format!("offtake-oidc-{}", std::process::id()));
        std::fs::write(&file, "secret=first\n").unwrap();
        let mut config =
            SecurityConfig { protocol: SecurityProtocol::SaslPlaintext, ..SecurityConfig::default() };
        config.set_provider("config.providers", "file").unwrap().unwrap();
        let class = "org.apache.kafka.common.config.provider.FileConfigProvider";
        config.set_provider("config.providers.file.class", class).unwrap().unwrap();
        config.put("sasl.mechanism", "OAUTHBEARER").unwrap();
        config.put(URL, ENDPOINT.1).unwrap();
        config.put(CLIENT_ID, "me").unwrap();
        config.put(CLIENT_SECRET, &format!("${{file:{}:secret}}", file.display())).unwrap();
        let TokenSource::Endpoint(_, Grant::ClientSecret { client, .. }) =
            config.oauthbearer().unwrap().source
        else {
            panic!("no secret")
        };
        assert_eq!(client.fetch().await.unwrap(), UserPassword::new("me", "first"));
        std::fs::write(&file, "secret=second\n").unwrap();
        assert_eq!(client.fetch().await.unwrap(), UserPassword::new("me", "second"));
        std::fs::remove_file(file).unwrap();
    }

    #[test]
    fn times_are_javas() {
        let secret = [(CLIENT_ID, "me"), (CLIENT_SECRET, "hunter2")];
        let (endpoint_, _) = endpoint(&secret);
        let defaults = [endpoint_.connect_timeout, endpoint_.read_timeout].map(|time| time.as_secs());
        assert_eq!(defaults, [10, 10]);
        let mut set = secret.to_vec();
        set.extend([
            ("sasl.login.connect.timeout.ms", "1001"),
            ("sasl.login.read.timeout.ms", "1002"),
            ("sasl.login.retry.backoff.ms", "1003"),
            ("sasl.login.retry.backoff.max.ms", "1004"),
        ]);
        let (set, _) = endpoint(&set);
        let times = [set.connect_timeout, set.read_timeout, set.retry_backoff, set.retry_backoff_max];
        assert_eq!(times.map(|time| time.as_millis()), [1001, 1002, 1003, 1004]);
    }

    /// As in Java: the options of JAAS apply, not those for brokers.
    #[test]
    fn the_endpoint_has_a_trust_of_its_own() {
        let secret = "clientId=me clientSecret=hunter2";
        let of_brokers = [("ssl.truststore.location", "/brokers.jks"), ("ssl.truststore.type", "JKS")];
        let jaas = format!("{MODULE} {secret};");
        let settings = [&of_brokers[..], &[("sasl.jaas.config", &jaas)]].concat();
        assert_eq!(endpoint(&settings).0.tls.trust, Trust::System);
        let jaas = format!(
            "{MODULE} {secret} ssl.truststore.location='/idp.p12' ssl.truststore.password='hunter2' \
             ssl.endpoint.identification.algorithm='';"
        );
        let tls = endpoint(&[("sasl.jaas.config", &jaas)]).0.tls;
        let Trust::Keystore(Keystore { path, password, .. }) = tls.trust else { panic!("{:?}", tls.trust) };
        assert_eq!((path.as_path(), password.is_some()), (Path::new("/idp.p12"), true));
        assert_eq!(tls.verification, Verification::Full, "the name is always compared");
    }

    #[test]
    fn an_assertion_stands_for_the_secret_or_is_the_grant() {
        let all = [
            KEY,
            ("sasl.oauthbearer.assertion.private.key.passphrase", "hunter2"),
            ("sasl.oauthbearer.assertion.algorithm", "es256"),
            ("sasl.oauthbearer.assertion.template.file", "/run/template.json"),
            ("sasl.oauthbearer.assertion.claim.aud", "idp"),
            ("sasl.oauthbearer.assertion.claim.iss", "me"),
            ("sasl.oauthbearer.assertion.claim.sub", "alice"),
            ("sasl.oauthbearer.assertion.claim.exp.seconds", "600"),
            ("sasl.oauthbearer.assertion.claim.nbf.seconds", "30"),
            ("sasl.oauthbearer.assertion.claim.jti.include", "true"),
            ("sasl.oauthbearer.scope", "kafka"),
        ];
        let bearers = [JWT_BEARER, (RETRIEVER, "org.apache.kafka.x.JwtBearerJwtRetriever")];
        for bearer in bearers {
            let settings = [&all[..], &[bearer]].concat();
            let (assertion, scope) = signed(endpoint(&settings).1);
            assert_eq!(scope.as_deref(), Some("kafka"), "it is the grant");
            assert_eq!(assertion.algorithm, Algorithm::Es256);
            assert_eq!(assertion.private_key_file, Path::new("/run/key.pem"));
            assert_eq!(assertion.template_file.as_deref(), Some(Path::new("/run/template.json")));
            let claims = [("aud", "idp"), ("iss", "me"), ("sub", "alice")];
            assert_eq!(assertion.claims, claims.map(|(name, value)| (name.to_owned(), value.to_owned())));
            assert_eq!((assertion.lifetime.as_secs(), assertion.not_before.as_secs()), (600, 30));
            assert!(assertion.has_id && assertion.passphrase.is_some());
            assert!(!format!("{assertion:?}").contains("hunter2"));
        }
        // As in Java, an assertion is preferred to the secret if its file or its issuer is configured.
        let secret = [(CLIENT_ID, "id"), (CLIENT_SECRET, "hunter2")];
        let (_, client_id) = signed(endpoint(&[&all[..], &secret].concat()).1);
        assert_eq!(client_id.as_deref(), Some("id"));
        let file = ("sasl.oauthbearer.assertion.file", "/run/assertion");
        let grant = endpoint(&[&secret[..], &[file]].concat()).1;
        assert!(matches!(grant, Grant::ClientAssertion { assertion: Assertion::File(_), .. }), "{grant:?}");
        assert!(matches!(endpoint(&[&secret[..], &[KEY]].concat()).1, Grant::ClientSecret { .. }));
        let (defaults, client_id) = signed(endpoint(&[KEY]).1);
        assert_eq!((defaults.algorithm, client_id), (Algorithm::Rs256, None));
    }

    #[test]
    fn each_mistake_of_an_endpoint_has_its_sentence() {
        let secret = [ENDPOINT, (CLIENT_ID, "me"), (CLIENT_SECRET, "hunter2")];
        let iss = ("sasl.oauthbearer.assertion.claim.iss", "me");
        let jaas = |options: &str| format!("{MODULE} {options};");
        let type_of_a_store = jaas("ssl.truststore.location='/x' ssl.truststore.type=hunter2");
        let truststore = jaas("ssl.truststore.location='/x'");
        let cases: &[(&[(&str, &str)], &str)] = &[
            (
                &[ENDPOINT],
                "`sasl.oauthbearer.client.credentials.client.id` is not set, nor the option clientId",
            ),
            (&[ENDPOINT, (CLIENT_ID, "me")], "client.secret` is not set, nor the option clientSecret"),
            (&[ENDPOINT, (CLIENT_ID, " "), (CLIENT_SECRET, "hunter2")], "client.id` is not set"),
            (&[(URL, "http://idp.example.com/token"), secret[1], secret[2]], "over https only"),
            (&[(URL, "https://a:hunter2@idp.example.com/token"), secret[1], secret[2]], "a user name"),
            (&[(URL, "idp.example.com"), secret[1], secret[2]], "token.endpoint.url: it"),
            (&[secret[0], secret[1], secret[2], ("sasl.login.read.timeout.ms", "0")], "from 1 to"),
            (&[secret[0], secret[1], secret[2], ("sasl.login.retry.backoff.ms", "soon")], "a whole number"),
            (
                &[secret[0], secret[1], secret[2], ("sasl.oauthbearer.header.urlencode", "yes")],
                "true or false",
            ),
            (&[ENDPOINT, ("sasl.oauthbearer.grant.type", "password")], "takes client_credentials or urn:"),
            (&[ENDPOINT, JWT_BEARER, (RETRIEVER, "ClientCredentialsJwtRetriever")], "two different grants"),
            (&[ENDPOINT, JWT_BEARER], "an assertion needs `sasl.oauthbearer.assertion.private.key.file`"),
            (&[ENDPOINT, iss], "an assertion needs"),
            (&[ENDPOINT, KEY, iss, ("sasl.oauthbearer.assertion.algorithm", "none")], "RS256 or ES256"),
            (&[ENDPOINT, KEY, ("sasl.oauthbearer.assertion.claim.exp.seconds", "86401")], "from 0 to 86400"),
            (&[ENDPOINT, KEY, ("sasl.oauthbearer.assertion.claim.nbf.seconds", "3601")], "from 0 to 3600"),
            (&[ENDPOINT, KEY, ("sasl.oauthbearer.assertion.claim.jti.include", "1")], "true or false"),
            (
                &[secret[0], secret[1], secret[2], ("sasl.jaas.config", &type_of_a_store)],
                "`sasl.jaas.config`: `ssl.truststore.type` takes JKS, PKCS12 or PEM",
            ),
            (
                &[secret[0], secret[1], secret[2], ("https.ca.location", "/x"), ("https.ca.pem", "hunter2")],
                "say the same thing twice",
            ),
            (
                &[
                    secret[0],
                    secret[1],
                    secret[2],
                    ("https.ca.pem", "hunter2"),
                    ("sasl.jaas.config", &truststore),
                ],
                "say the same thing twice",
            ),
        ];
        for (settings, sentence) in cases {
            let error = refused(settings);
            assert!(error.contains(sentence), "{settings:?}: {error}");
        }
    }

    /// A conflict is detected without reading a file; building reads them.
    #[test]
    fn files_of_the_endpoints_tls_are_read_when_it_is_built() {
        let jaas =
            format!("{MODULE} clientId=me clientSecret=hunter2 ssl.truststore.location='/nowhere.p12';");
        let config = config(&[ENDPOINT, ("sasl.jaas.config", &jaas)]);
        assert_eq!(config.conflicts(), [""; 0]);
        let error = config.build_sasl().unwrap_err();
        assert!(error.contains("TLS of the token endpoint") && error.contains("/nowhere.p12"), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
}
