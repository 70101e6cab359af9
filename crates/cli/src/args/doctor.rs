//! `doctor`.

use clap::{Args, builder::NonEmptyStringValueParser};

#[derive(Debug, Args)]
#[command(after_help = DOCTOR)]
pub(crate) struct Doctor {
    /// Also check whether this topic exists and may be read (repeatable)
    #[arg(short, long = "topic", value_name = "TOPIC", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) topics: Vec<String>,
    /// Also check whether this group may be joined (repeatable)
    #[arg(short, long = "group", value_name = "GROUP", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) groups: Vec<String>,
}

const DOCTOR: &str = "\
Exit status: 0 all is fine, 1 a step failed (the last line on stderr says the first of them).

Each step is a line, or with --json an object: broker, step, ok, detail. Of a broker nothing follows a step that failed.
The clocks of brokers are not compared: Kafka's protocol does not tell them.";
