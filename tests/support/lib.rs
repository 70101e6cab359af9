//! The basis of the tests: real Apache Kafka started and ended by us, Java's own clients, the `offtake` command, and a
//! proxy that causes faults. Blocking and simple: processes, threads, bounded waits.
//!
//! ```no_run
//! use offtake_tests::{JavaTool, Kafka, Offtake, RecordSpec, V4_3_0, shared, unique};
//!
//! // One broker of each version is shared by all tests of a process; take a topic of your own.
//! let at = shared(V4_3_0);
//! let topic = at.tool.create_topic(&unique("orders"), 3, &[("message.timestamp.type", "LogAppendTime")]);
//! at.tool.produce(&[RecordSpec::to(&topic).partition(0).key("k").value("v").header("h", "x")]);
//! let records = at.tool.read(&[&topic], "read_uncommitted"); // as `offtake consume --json` prints them
//! let ours = Offtake::new(["consume", &topic, "--json", "--from", "earliest", "--until", "latest"])
//!     .brokers(&at.kafka)
//!     .run();
//! assert_eq!(ours.json(), records);
//!
//! // A cluster of one's own, for tests that kill brokers.
//! let kafka = Kafka::builder().version(V4_3_0).brokers(3).property("log.segment.bytes", "1048576").start();
//! let tool = JavaTool::start(&kafka);
//! tool.create_topic("orders", 4, &[]);
//! kafka.broker(2).kill9();
//! kafka.broker(2).start();
//! ```
//!
//! Brokers are numbered by their node id, from 1. Everything started here is ended when its value is dropped, and when
//! the test process ends in any way, `kill -9` included (see [`reaper`]). `OFFTAKE_KEEP=1` keeps the folders with the
//! logs. For experiments by hand: `scripts/kafka-run VERSION PORT` and `scripts/kafka-tool BOOTSTRAP VERB KEY=VALUE…`.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot be set up fails, and says where"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "tests watch processes from outside: they wait, and have threads for it"
)]

mod boxed;
mod bytes_proxy;
mod command;
mod config;
mod dice;
mod growing;
mod java;
mod kafka;
mod member;
mod oversleep;
mod ports;
mod probe;
mod process;
mod proxy;
pub mod reaper;
mod record;
mod registry;
mod shared;
mod slow;

pub use boxed::Boxed;
pub use bytes_proxy::{ByteFault, BytesProxy, Sender};
pub use command::{Finished, Offtake, Running};
pub use dice::Dice;
pub use growing::Growing;
pub use java::JavaTool;
pub use kafka::{Broker, Builder, Kafka};
pub use kafka::{Version, Version::V2_8_2, Version::V3_9_1, Version::V4_3_0};
pub use member::{JavaMember, MemberBuilder};
pub use oversleep::Oversleep;
pub use ports::free_port;
pub use probe::{Node, brokers_known_to};
pub use proxy::{AnswerFault, Api, FaultRule, Proxy};
pub use record::RecordSpec;
pub use registry::{
    Registry, java_with_serialisers, python, python_file_with_libraries, python_with_libraries,
};
pub use shared::{Lease, Shared, guarded, shared, three_brokers, three_brokers_behind_proxies, unique};
pub use slow::SlowLoop;
