//! The measured systems, and how a member of each is started.

use std::fmt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use offtake_tests::V4_3_0;

use crate::settings::Settings;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// The classic protocol with the cooperative-sticky assignor (KIP-429).
    Cooperative,
    /// `group.protocol=consumer`.
    Kip848,
}

impl Protocol {
    pub(crate) const ALL: [Self; 2] = [Self::Cooperative, Self::Kip848];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Cooperative => "cooperative",
            Self::Kip848 => "kip848",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum System {
    Offtake,
    /// An older build of ours.
    Before,
    Java,
    Librdkafka,
    FranzGo,
}

impl fmt::Display for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The settings of a member of any system.
pub(crate) struct Place<'a> {
    pub(crate) bootstrap: &'a str,
    pub(crate) group: &'a str,
    pub(crate) topic: &'a str,
    pub(crate) client: &'a str,
    pub(crate) protocol: Protocol,
    /// The session timeout of every member, where it is not the default.
    pub(crate) session: Option<Duration>,
    /// How long its listener takes for its first revocation.
    pub(crate) revokes: Option<Duration>,
}

impl System {
    pub(crate) const ALL: [Self; 4] = [Self::Offtake, Self::Java, Self::Librdkafka, Self::FranzGo];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Offtake => "offtake",
            Self::Before => "before",
            Self::Java => "java",
            Self::Librdkafka => "librdkafka",
            Self::FranzGo => "franz-go",
        }
    }

    /// Why it cannot be measured with that protocol here, if so.
    pub(crate) fn obstacle(self, protocol: Protocol, settings: &Settings) -> Option<String> {
        match self {
            Self::Librdkafka if settings.slow > 0 => Some("kcat has no listener".to_owned()),
            Self::Offtake | Self::Before | Self::Java => None,
            Self::FranzGo => settings.franz.is_none().then(|| "no Go program: say --franz FILE".to_owned()),
            Self::Librdkafka => {
                let Ok(asked) = Command::new("kcat").arg("-V").output() else {
                    return Some("there is no kcat".to_owned());
                };
                let said = String::from_utf8_lossy(&asked.stdout).into_owned();
                let version = said.split_once("librdkafka ").map_or("?", |(_, rest)| rest);
                let version = version.split([' ', ')']).next().unwrap_or("?");
                // `group.protocol` was added as a preview in 2.4.
                let mut parts = version.split('.').map_while(|part| part.parse::<u32>().ok());
                let new = (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) >= (2, 4);
                (protocol == Protocol::Kip848 && !new)
                    .then(|| format!("librdkafka {version} does not know group.protocol=consumer"))
            }
        }
    }

    /// kcat ends only by signals; the others leave when stdin ends.
    pub(crate) fn leaves_on_signal(self) -> bool {
        self == Self::Librdkafka
    }

    pub(crate) fn member(self, settings: &Settings, place: &Place<'_>) -> Command {
        let mut command = self.plain_member(settings, place);
        for (name, time) in [("SESSION_MS", place.session), ("REVOKE_MS", place.revokes)] {
            command.env_remove(name).envs(time.map(|time| (name, time.as_millis().to_string())));
        }
        command
    }

    fn plain_member(self, settings: &Settings, place: &Place<'_>) -> Command {
        let Place { bootstrap, group, topic, client, protocol, .. } = *place;
        match self {
            Self::Offtake | Self::Before => {
                let other = settings.before.clone().filter(|_| self == Self::Before);
                let program = other.or_else(|| std::env::current_exe().ok());
                let mut command = Command::new(program.unwrap_or_else(|| PathBuf::from("rebalance")));
                command.args(["member", bootstrap, group, topic, client, protocol.name()]);
                command
            }
            Self::FranzGo => {
                let mut command = Command::new(settings.franz.clone().unwrap_or_default());
                command.args([bootstrap, group, topic, client, protocol.name()]);
                command
            }
            Self::Java => {
                let configs = match protocol {
                    Protocol::Cooperative => {
                        r#"{"partition.assignment.strategy":"org.apache.kafka.clients.consumer.CooperativeStickyAssignor"}"#
                    }
                    Protocol::Kip848 => r#"{"group.protocol":"consumer"}"#,
                };
                let mut command = V4_3_0.java();
                command
                    .arg("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn")
                    .args(["Tool", bootstrap, "deliver"])
                    .args([format!("group={group}"), format!("topic={topic}"), format!("client={client}")])
                    .arg(format!("configs={configs}"));
                command
            }
            Self::Librdkafka => {
                let mut command = Command::new("kcat");
                command.args(["-q", "-u", "-b", bootstrap, "-G", group, "-f", "%s\n"]);
                command.args(["-X", &format!("client.id={client}"), "-X", "auto.offset.reset=earliest"]);
                command.args(["-X", "partition.assignment.strategy=cooperative-sticky", topic]);
                command
            }
        }
    }
}
