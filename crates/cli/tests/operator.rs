//! The command in an operator's day, against the embedded broker.

use std::process::{Command, Output};

use offtake_broker::Cluster;
use serde_json::Value;

/// A cluster, and the command pointed at it.
struct At {
    cluster: Cluster,
}

impl At {
    /// With topic `orders`: two partitions of ten records, `k0` to `k9` and `v0` to `v9`.
    async fn start() -> Self {
        let cluster = Cluster::start().await.unwrap();
        cluster.create_topic("orders", 2).unwrap();
        for partition in 0..2 {
            for nth in 0..10 {
                let (key, value) = (format!("k{nth}"), format!("v{nth}"));
                cluster.produce("orders", partition, Some(key.as_bytes()), Some(value.as_bytes())).unwrap();
            }
        }
        Self { cluster }
    }

    /// The command with these arguments, separated by blanks.
    fn command(&self, args: &str) -> Command {
        let mut command = offtake(args);
        command.args(["--brokers", &self.cluster.bootstrap()]);
        command
    }

    fn run(&self, args: &str) -> Done {
        done(&mut self.command(args))
    }

    /// What the group has committed, by partition, as a plan that changes nothing tells it.
    fn committed(&self, group: &str) -> Vec<i64> {
        let plan = self.run(&format!("groups reset {group} --topic orders --to-latest --json")).json();
        plan.iter().filter_map(|row| row["from"].as_i64()).collect()
    }
}

/// The command without a cluster; nothing in the environment says where one is.
fn offtake(args: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_offtake"));
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("OFFTAKE_") || name.starts_with("KAFKA_")) {
            command.env_remove(name);
        }
    }
    command.args(args.split_whitespace()).env("OFFTAKE_CONFIG", "").env_remove("RUST_LOG");
    command
}

/// How a command ended.
#[derive(Debug)]
struct Done {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

fn done(command: &mut Command) -> Done {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Done { code: status.code(), stdout: text(stdout), stderr: text(stderr) }
}

impl Done {
    fn json(&self) -> Vec<Value> {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// It was refused as wrong usage, in these words.
    #[track_caller]
    fn refused(&self, words: &str) {
        assert_eq!((self.code, self.stdout.as_str()), (Some(2), ""), "{self:?}");
        assert!(self.stderr.contains(words), "{words}: {}", self.stderr);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn seconds_are_not_taken_for_milliseconds() {
    let at = At::start().await;
    for command in [
        "groups reset audit --topic orders --to-datetime 1795346206 --execute",
        "consume orders --from @1795346206 --until latest",
        "offsets orders --at 1795346206",
    ] {
        at.run(command).refused("1970-01-21T18:42:26.206Z, so it looks like seconds: write 1795346206000");
    }
    assert!(at.committed("audit").is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_measurement_moves_no_group() {
    let at = At::start().await;
    assert_eq!(at.run("consume orders -g audit --from earliest -n 7").code, Some(0));
    let before = at.committed("audit");
    assert_eq!(before.iter().sum::<i64>(), 7);
    for threads in 0..2 {
        let measured = at.run(&format!("bench consume orders -g audit --threads {threads} --json")).json();
        assert_eq!(measured[0]["records"], 13, "it reads on from where the group stands");
        assert_eq!(at.committed("audit"), before);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_the_cluster_is_may_stand_in_a_variable_or_a_file() {
    let at = At::start().await;
    let brokers = at.cluster.bootstrap();
    let topics = |set: &dyn Fn(&mut Command)| {
        let mut command = offtake("topics list --json");
        set(&mut command);
        done(&mut command)
    };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("offtake/config.properties");
    std::fs::create_dir(folder.path().join("offtake")).unwrap();
    std::fs::write(&file, format!("bootstrap.servers={brokers}\nacks=all\n")).unwrap();
    for variable in ["OFFTAKE_BROKERS", "OFFTAKE_X_BOOTSTRAP_SERVERS", "KAFKA_BOOTSTRAP_SERVERS"] {
        let listed = topics(&|command| {
            command.env(variable, &brokers);
        });
        assert_eq!(listed.json()[0]["topic"], "orders", "{variable}");
    }
    let listed = topics(&|command| {
        command.env_remove("OFFTAKE_CONFIG").env("XDG_CONFIG_HOME", folder.path());
    });
    assert_eq!(listed.json()[0]["topic"], "orders");
    assert!(listed.stderr.contains("not properties of a consumer: acks"), "{listed:?}");
    let missing = topics(&|command| {
        command.env("OFFTAKE_CONFIG", folder.path().join("nosuch"));
    });
    missing.refused("nosuch");
}
