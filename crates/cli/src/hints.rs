//! The equivalents here of options of kcat and of Kafka's own commands, for people who type those by habit.

use clap::error::{ContextKind, ContextValue, ErrorKind};

/// Adds our spelling to the error about another tool's option, or about a topic in the place of a command.
pub(crate) fn add(mut error: clap::Error) -> clap::Error {
    let named = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.as_str(),
        _ => "",
    };
    let hint = match error.kind() {
        ErrorKind::UnknownArgument => hint(named(ContextKind::InvalidArg)).map(str::to_owned),
        ErrorKind::InvalidSubcommand if is_first_word(&error) => {
            let name = named(ContextKind::InvalidSubcommand);
            match (command(name), error.get(ContextKind::SuggestedSubcommand)) {
                (Some(ours), _) => Some(format!("Kafka's {name} is `offtake {ours}`")),
                (None, None) => Some(format!("if that is a topic: `offtake consume {name}`")),
                (None, Some(_)) => None,
            }
        }
        ErrorKind::MissingRequiredArgument if lacks(&error, "--topic ") => {
            Some("`--all-topics` means all topics that the group has committed offsets of".to_owned())
        }
        _ => None,
    };
    if let Some(hint) = hint {
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![hint.into()]));
    }
    error
}

/// Whether an option is among those that are missing.
fn lacks(error: &clap::Error, option: &str) -> bool {
    match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::Strings(missing)) => missing.iter().any(|name| name.starts_with(option)),
        _ => false,
    }
}

/// Whether the error is about the first word.
fn is_first_word(error: &clap::Error) -> bool {
    let usage = match error.get(ContextKind::Usage) {
        Some(ContextValue::StyledStr(usage)) => usage.to_string(),
        _ => String::new(),
    };
    usage.contains("offtake [")
}

/// Our command for one of Kafka's.
fn command(name: &str) -> Option<&'static str> {
    let name = name.strip_suffix(".sh").unwrap_or(name);
    Some(match name.strip_prefix("kafka-").unwrap_or(name) {
        "consumer-groups" => "groups",
        "topics" => "topics",
        "console-consumer" => "consume TOPIC",
        "console-producer" => "produce TOPIC",
        "get-offsets" => "offsets TOPIC",
        _ => return None,
    })
}

fn hint(option: &str) -> Option<&'static str> {
    let option = option.split_once('=').map_or(option, |(name, _)| name);
    Some(match option {
        // kcat
        "-C" => "kcat -C is `offtake consume TOPIC`",
        "-G" => "kcat -G is `offtake consume TOPIC -g GROUP`",
        "-L" => "kcat -L is `offtake topics list`, or `offtake topics describe TOPIC`",
        "-Q" => "kcat -Q is `offtake offsets TOPIC --at TIME`",
        "-P" => "kcat -P is `offtake produce TOPIC`",
        "-t" => "the topic takes no option, as in `offtake consume TOPIC`",
        "-o" => "kcat -o is `--from WHERE`: earliest, latest, an offset, -N or @TIME",
        "-e" => "kcat -e is `--until latest`",
        "-c" => "kcat -c is `-n N`",
        "-J" => "kcat -J is `--json`",
        "-K" | "-D" => "kcat -K and -D are part of the format: `-f '%k\\t%s\\n'`",
        "-O" => "kcat -O is part of the format: `-f '%o %s\\n'`",
        "-Z" => "null is shown by `--json` (null), or in a format by %K and %S (-1)",
        "-u" => "kcat -u is not needed: records are written as soon as they come",
        "-F" => "kcat -F is `--config FILE`",
        "-s" => "kcat -s: `--json` prints text as it is, and other bytes as base64",
        "-d" => "kcat -d is `-v` or `-vv`",
        // kafka-console-consumer
        "--bootstrap-server" | "--bootstrap-servers" | "--broker-list" => {
            "the brokers are given as `-b HOST:PORT,…`"
        }
        "--topic" => "the topic takes no option, as in `offtake consume TOPIC`",
        "--from-beginning" => "it is `--from earliest`, the default without a group",
        "--offset" => "it is `--from WHERE`: earliest, latest, an offset, -N or @TIME",
        "--max-messages" => "it is `-n N`",
        "--timeout-ms" => "it is `--idle-timeout DURATION`, such as 10s",
        "--include" | "--whitelist" => "it is `offtake consume --regex PATTERN`",
        "--isolation-level" => "it is `--isolation read_committed`",
        "--property" | "--formatter" | "--formatter-property" => {
            "records are printed by `-f FMT` or `--json`"
        }
        "--consumer-property" | "--command-property" => "it is `-X KEY=VALUE`",
        "--consumer.config" | "--consumer-config" | "--command-config" => "it is `--config FILE`",
        // kafka-consumer-groups and kafka-topics
        "--list" => "it is `offtake groups list` or `offtake topics list`",
        "--describe" => "it is `offtake groups describe GROUP` or `offtake topics describe TOPIC`",
        "--delete" => "it is `offtake groups delete GROUP` or `offtake topics delete TOPIC`",
        "--create" => "it is `offtake topics create TOPIC`",
        "--reset-offsets" => "it is `offtake groups reset GROUP`",
        "--members" | "--offsets" | "--state" => {
            "`offtake groups describe GROUP` shows members, offsets and state"
        }
        "--all-groups" => {
            "`offtake groups list` has all groups and their states, `offtake lag` their offsets and lag"
        }
        "--group" | "-g" => {
            "the group takes no option, as in `offtake groups describe GROUP` or `offtake lag GROUP`"
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use crate::args::Cli;

    fn refused(line: &str) -> String {
        Cli::read(line.split(' ')).unwrap_err().to_string()
    }

    #[test]
    fn options_of_other_commands_are_answered_with_ours() {
        for (line, ours) in [
            ("offtake -C -b a:1 -t orders", "`offtake consume TOPIC`"),
            ("offtake -b a:1 -P -t orders", "`offtake produce TOPIC`"),
            ("offtake -b a:1 -L", "`offtake topics list`"),
            ("offtake consume -t orders", "`offtake consume TOPIC`"),
            ("offtake consume orders -o beginning -e", "`--from WHERE`"),
            ("offtake consume orders -e", "`--until latest`"),
            ("offtake consume orders -c 5", "`-n N`"),
            ("offtake consume --bootstrap-server a:1", "`-b HOST:PORT,…`"),
            ("offtake consume orders --from-beginning", "`--from earliest`"),
            ("offtake consume orders --timeout-ms=5000", "`--idle-timeout DURATION`"),
            ("offtake groups --describe --group g", "`offtake groups describe GROUP`"),
            ("offtake groups describe --group g", "the group takes no option"),
            ("offtake lag -g audit", "`offtake lag GROUP`"),
            ("offtake groups reset audit --to-earliest", "`--all-topics` means"),
            ("offtake my-orders", "`offtake consume my-orders`"),
            ("offtake groups describe --all-groups", "`offtake lag`"),
            ("offtake consumer-groups --describe --group g", "`offtake groups`"),
            ("offtake kafka-consumer-groups.sh --list", "`offtake groups`"),
            ("offtake kafka-topics --list", "`offtake topics`"),
            ("offtake kafka-console-consumer --topic orders", "`offtake consume TOPIC`"),
            ("offtake kafka-console-producer --topic orders", "`offtake produce TOPIC`"),
        ] {
            let refusal = refused(line);
            assert!(refusal.contains(ours), "{line}: {refusal}");
        }
        assert!(!refused("offtake topic").contains("if that is a topic"), "a command that is nearly right");
        assert!(
            !refused("offtake groups my-group").contains("if that is a topic"),
            "in the place of the second"
        );
        let refusal = refused("offtake consume orders --nonsense");
        assert!(!refusal.contains("kcat"), "{refusal}");
    }
}
