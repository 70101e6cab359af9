//! Secrets are passed in every way that the command accepts, and no output contains them, whatever happens.

use std::{fs, path::Path, process::Command};

use offtake_broker::{Cluster, SaslMechanism};

use crate::operator::{Done, done, offtake};

/// A secret that no output may contain, as it is or in base64 (after zero to two other bytes).
const SECRET: &str = "canary-7Zq3mX9vKw2L";
const IN_BASE64: [&str; 3] =
    ["Y2FuYXJ5LTdacTNtWDl2S3cy", "NhbmFyeS03WnEzbVg5dkt3M", "jYW5hcnktN1pxM21YOXZLdzJM"];

#[track_caller]
fn is_kept(of: &Done) {
    for text in [&of.stdout, &of.stderr] {
        let found = IN_BASE64.iter().chain([&SECRET]).find(|secret| text.contains(**secret));
        assert_eq!(found, None, "{text}");
    }
}

/// An option that makes the command print more.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Verbosity {
    /// `-vv`
    Verbose,
    /// `RUST_LOG=trace`, which applies without `-v`.
    Trace,
}

/// A command that reads everything, and prints as much as it can.
fn consume(cluster: &Cluster, verbosity: Verbosity) -> Command {
    asked("consume orders --from earliest --until latest --events", cluster, verbosity)
}

fn asked(args: &str, cluster: &Cluster, verbosity: Verbosity) -> Command {
    let mut command = offtake(args);
    command.args(["--brokers", &cluster.bootstrap()]).env("CANARY", SECRET);
    match verbosity {
        Verbosity::Verbose => command.arg("-vv"),
        Verbosity::Trace => command.env("RUST_LOG", "trace"),
    };
    for name in ["AWS_PROFILE", "AWS_REGION", "AWS_WEB_IDENTITY_TOKEN_FILE"] {
        command.env_remove(name);
    }
    command
}

/// Settings, one value of which is the secret, written as `@`.
type Settings = &'static [(&'static str, &'static str)];

/// Settings that a broker accepts with the right secret.
const ACCEPTED: [Settings; 3] = [
    &[("sasl.mechanism", "PLAIN"), ("sasl.username", "alice"), ("sasl.password", "@")],
    &[("sasl.mechanism", "SCRAM-SHA-512"), ("sasl.username", "alice"), ("sasl.password", "@")],
    &[
        ("sasl.mechanism", "SCRAM-SHA-256"),
        (
            "sasl.jaas.config",
            "org.apache.kafka.common.security.scram.ScramLoginModule required username=\"alice\" password=\"@\";",
        ),
    ],
];

/// Settings that fail.
const IN_VAIN: [Settings; 6] = [
    &[("sasl.mechanism", "PLAIN"), ("sasl.username", "mallory"), ("sasl.password", "@")],
    &[
        ("sasl.mechanism", "OAUTHBEARER"),
        ("sasl.oauthbearer.token.endpoint.url", "http://127.0.0.1:1/token"),
        ("sasl.oauthbearer.client.credentials.client.id", "c"),
        ("sasl.oauthbearer.client.credentials.client.secret", "@"),
    ],
    &[
        ("sasl.mechanism", "OAUTHBEARER"),
        ("sasl.oauthbearer.token.endpoint.url", "http://127.0.0.1:1/token"),
        (
            "sasl.jaas.config",
            "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required clientId=\"c\" clientSecret=\"@\";",
        ),
    ],
    &[("sasl.mechanism", "SCRAM-SHA-256"), ("sasl.username", "alice"), ("sasl.pasword", "@")],
    &[("sasl.mechanism", "@")],
    &[
        ("security.protocol", "SSL"),
        ("ssl.keystore.location", "/no/such/file"),
        ("ssl.keystore.password", "@"),
    ],
];

/// A way to pass a setting.
#[derive(Clone, Copy, Debug)]
enum Way {
    Argument,
    Variable,
    File,
    /// A reference in a file, by this text in place of the secret.
    Reference(&'static str),
}

const WAYS: [Way; 6] = [
    Way::Argument,
    Way::Variable,
    Way::File,
    Way::Reference("${env:CANARY}"),
    Way::Reference("${file:FOLDER/secrets.properties:canary}"),
    Way::Reference("${directory:FOLDER:canary}"),
];

impl Way {
    fn apply(self, command: &mut Command, settings: Settings, folder: &Path) {
        let secret = match self {
            Self::Reference(reference) => reference.replace("FOLDER", folder.to_str().unwrap()),
            Self::Argument | Self::Variable | Self::File => SECRET.to_owned(),
        };
        let protocol = [("security.protocol", "SASL_PLAINTEXT"), ("config.providers", "env,file,directory")];
        let settings =
            protocol.iter().chain(settings).map(|(name, value)| (*name, value.replace('@', &secret)));
        match self {
            Self::Argument => {
                for (name, value) in settings {
                    command.arg("-X").arg(format!("{name}={value}"));
                }
            }
            Self::Variable => {
                for (name, value) in settings {
                    command.env(format!("OFFTAKE_X_{}", name.replace('.', "_").to_uppercase()), value);
                }
            }
            Self::File | Self::Reference(_) => {
                let file = folder.join("client.properties");
                let lines: Vec<_> = settings.map(|(name, value)| format!("{name}={value}")).collect();
                fs::write(&file, lines.join("\n")).unwrap();
                command.arg("--config").arg(file);
            }
        }
    }
}

async fn secured() -> (Cluster, tempfile::TempDir) {
    let mut builder = Cluster::builder().topic("orders", 1);
    for mechanism in [SaslMechanism::Plain, SaslMechanism::ScramSha256, SaslMechanism::ScramSha512] {
        builder = builder.sasl_user(mechanism, "alice", SECRET);
    }
    let cluster = builder.start().await.unwrap();
    cluster.produce("orders", 0, None, Some(b"one")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("secrets.properties"), format!("canary={SECRET}\n")).unwrap();
    fs::write(folder.path().join("canary"), SECRET).unwrap();
    (cluster, folder)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_that_is_accepted_is_not_shown() {
    let (cluster, folder) = secured().await;
    for (nth, way) in WAYS.into_iter().enumerate() {
        for verbosity in [Verbosity::Verbose, Verbosity::Trace] {
            let mut command = consume(&cluster, verbosity);
            way.apply(&mut command, ACCEPTED[nth % ACCEPTED.len()], folder.path());
            let of = done(&mut command);
            is_kept(&of);
            assert_eq!((of.code, of.stdout.trim()), (Some(0), "one"), "{way:?}: {}", of.stderr);
            assert!(of.stderr.contains("\"event\""), "{}", of.stderr);
            assert_eq!(of.stderr.contains("TRACE"), verbosity == Verbosity::Trace, "{}", of.stderr);
            let warns = of.stderr.contains("others on this machine can see a command's arguments");
            assert_eq!(warns, matches!(way, Way::Argument), "{}", of.stderr);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_that_leads_to_nothing_is_not_shown() {
    let (cluster, folder) = secured().await;
    for (nth, settings) in IN_VAIN.into_iter().enumerate() {
        for way in [WAYS[nth % WAYS.len()], WAYS[(nth + 2) % WAYS.len()]] {
            let mut command = consume(&cluster, [Verbosity::Verbose, Verbosity::Trace][nth % 2]);
            way.apply(&mut command, settings, folder.path());
            let of = done(command.args(["-X", "default.api.timeout.ms=2000"]));
            is_kept(&of);
            assert!(of.code.is_some_and(|code| code == 1 || code == 2), "{way:?}: {of:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_and_the_keys_of_aws_are_not_shown() {
    let (cluster, folder) = secured().await;
    let protocol = ["-X", "security.protocol=SASL_PLAINTEXT", "-X", "default.api.timeout.ms=20000", "-X"];
    let aws = ["-X", "sasl.jaas.config=software.amazon.msk.auth.iam.IAMLoginModule required;"];
    let profile = folder.path().join("credentials");
    let keys =
        format!("aws_access_key_id=AKIA\naws_secret_access_key={SECRET}\naws_session_token={SECRET}\n");
    fs::write(&profile, format!("[default]\n{keys}")).unwrap();
    let token =
        format!("sasl.oauthbearer.token.endpoint.url=file://{}", folder.path().join("canary").display());
    let key = folder.path().join("key.pem");
    fs::write(&key, format!("-----BEGIN PRIVATE KEY-----\n{SECRET}\n-----END PRIVATE KEY-----\n")).unwrap();

    let of_aws = |name: &str| {
        let mut command = consume(&cluster, Verbosity::Trace);
        command.args(protocol).arg("sasl.mechanism=AWS_MSK_IAM").args(aws).env("AWS_REGION", "eu-west-1");
        match name {
            "variables" => {
                let secrets = ["AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"].map(|name| (name, SECRET));
                command.env("AWS_ACCESS_KEY_ID", "AKIA").envs(secrets);
            }
            _ => {
                command.env("AWS_SHARED_CREDENTIALS_FILE", &profile).env("AWS_CONFIG_FILE", "/dev/null");
                command.env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY");
            }
        }
        done(&mut command)
    };
    let all = [of_aws("variables"), of_aws("profile")];
    let oauth = |more: &[String]| {
        let mut command = consume(&cluster, Verbosity::Trace);
        command.args(protocol).arg("sasl.mechanism=OAUTHBEARER").args(more);
        done(&mut command)
    };
    let assertion = [
        "sasl.oauthbearer.token.endpoint.url=http://127.0.0.1:1/token".to_owned(),
        "sasl.oauthbearer.jwt.retriever.class=org.apache.kafka.common.security.oauthbearer.JwtBearerJwtRetriever".to_owned(),
        format!("sasl.oauthbearer.assertion.private.key.file={}", key.display()),
        format!("sasl.oauthbearer.assertion.private.key.passphrase={SECRET}"),
        "sasl.oauthbearer.assertion.claim.iss=offtake".to_owned(),
    ];
    let assertion: Vec<_> = assertion.into_iter().flat_map(|property| ["-X".to_owned(), property]).collect();
    for of in all.into_iter().chain([oauth(&["-X".to_owned(), token]), oauth(&assertion)]) {
        is_kept(&of);
        // The broker accepts neither mechanism.
        assert!(of.code.is_some_and(|code| code == 1 || code == 2), "{of:?}");
        assert!(
            of.stderr.contains("AWS_MSK_IAM")
                || of.stderr.contains("OAUTHBEARER")
                || of.stderr.contains("assertion"),
            "{of:?}"
        );
    }
}

/// What is asked of a cluster, and of a registry whose password is the secret too (for which `@` stands).
const COMMANDS: [&str; 12] = [
    "topics list",
    "topics describe orders",
    "offsets orders",
    "groups list",
    "groups describe readers",
    "groups reset readers --topic orders --to-earliest",
    "lag",
    "doctor --topic orders --group readers",
    "doctor --topic orders --json",
    "dlq list orders",
    "produce orders",
    "schemas list --registry http://127.0.0.1:1 -X basic.auth.user.info=alice:@",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_command_shows_a_secret() {
    let (cluster, folder) = secured().await;
    for (nth, args) in COMMANDS.into_iter().enumerate() {
        let args = args.replace('@', SECRET);
        for (settings, is_right) in [(ACCEPTED[nth % ACCEPTED.len()], true), (IN_VAIN[0], false)] {
            let mut command = asked(&args, &cluster, [Verbosity::Verbose, Verbosity::Trace][nth % 2]);
            WAYS[nth % WAYS.len()].apply(&mut command, settings, folder.path());
            let of = done(command.args(["-X", "default.api.timeout.ms=20000"]));
            is_kept(&of);
            let ends_well = of.code == Some(0);
            match args.split(' ').next().unwrap_or_default() {
                "schemas" => assert!(!ends_well && of.stderr.contains("127.0.0.1:1"), "{args}: {of:?}"),
                // A group that does not exist, and nothing to send.
                "groups" | "produce" => assert!(of.code.is_some_and(|code| code < 3), "{args}: {of:?}"),
                _ => assert_eq!(ends_well, is_right, "{args}: {of:?}"),
            }
        }
    }
}
