//! ACLs of a principal authenticated by SASL, removed and granted again while it reads.

use std::time::{Duration, Instant};

use offtake::{Consumer, ErrorKind};
use offtake_tests::{RecordSpec, V4_3_0, unique};

use super::{PASSWORD, SASL_TLS, Secured};
use crate::acls::Application;
use crate::flow::PATIENCE;

/// The reader. Tools and brokers, without a name, may do everything.
const PRINCIPAL: &str = "User:reader";

/// A cluster that denies everything not granted.
struct Guarded {
    secured: Secured,
    topics: [String; 2],
    group: String,
}

impl Guarded {
    fn start() -> Self {
        let secured = Secured::start_with(V4_3_0, |builder| {
            builder
                .property("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer")
                .property("super.users", "User:ANONYMOUS")
        });
        secured.tool.user("reader", PASSWORD, "SCRAM-SHA-256", 4096);
        Self { secured, topics: [String::new(), String::new()], group: String::new() }
    }

    /// Two topics and a group that the reader may read.
    fn renew(&mut self) {
        self.topics = [0, 1].map(|_| self.secured.tool.create_topic(&unique("orders"), 1, &[]));
        self.group = unique("readers");
        self.topics.iter().for_each(|topic| self.secured.tool.grant(PRINCIPAL, "READ", "TOPIC", topic));
        self.secured.tool.grant(PRINCIPAL, "READ", "GROUP", &self.group);
    }

    /// Writes five records to each topic.
    fn fill(&self) {
        let specs = self
            .topics
            .iter()
            .flat_map(|topic| (0..5).map(|at| RecordSpec::to(topic).partition(0).value(at.to_string())));
        self.secured.tool.produce(&specs.collect::<Vec<_>>());
    }

    async fn application(&self, protocol: &str) -> Application {
        let builder = Consumer::builder(self.secured.kafka.listener(SASL_TLS))
            .property("security.protocol", "SASL_SSL")
            .property("ssl.ca.location", self.secured.path("ca.pem").display())
            .property("sasl.mechanism", "SCRAM-SHA-256")
            .property("sasl.username", "reader")
            .property("sasl.password", PASSWORD);
        Application::start_with(builder, &self.group, protocol, &self.topics).await
    }
}

fn run(body: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(body);
}

/// `poll` fails for as long as the group may not be read, and the program subscribes again once it may.
#[test]
fn c6_a_program_that_subscribes_again_goes_on_when_the_right_to_read_its_group_is_given_back() {
    let mut of = Guarded::start();
    for protocol in ["classic", "consumer"] {
        of.renew();
        run(async {
            of.fill();
            let mut application = of.application(protocol).await;
            application.wait_read(&of.topics, 5).await;
            application.poll().await; // the records read are finished
            application.consumer.commit_finished().await.unwrap();
            of.secured.tool.withdraw(PRINCIPAL, "READ", "GROUP", &of.group);
            let deadline = Instant::now() + PATIENCE;
            while application.errors.is_empty() {
                assert!(Instant::now() < deadline, "poll says nothing: {:?}", application.told);
                application.poll().await;
            }
            of.fill();
            // Subscribing without the right is refused with the same message.
            let names = || of.topics.iter().map(String::as_str);
            application.consumer.subscribe(names()).await.unwrap();
            application.poll_for(Duration::from_secs(2)).await;
            for error in &application.errors {
                println!("{protocol}: {:?}: {error}", error.kind());
                assert!(error.is_fatal() && error.kind() == ErrorKind::Group, "{error}");
                assert!(error.to_string().contains(&of.group), "{error}");
            }
            of.secured.tool.grant(PRINCIPAL, "READ", "GROUP", &of.group);
            application.consumer.subscribe(names()).await.unwrap();
            application.wait_read(&of.topics, 10).await;
            application.consumer.close(PATIENCE).await.unwrap();
            let committed = of.secured.tool.committed(&of.group);
            assert!(
                of.topics.iter().all(|topic| committed.get(&(topic.clone(), 0)) == Some(&10)),
                "{committed:?}"
            );
        });
    }
}
