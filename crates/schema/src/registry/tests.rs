//! The registry's client in virtual time: its requests, their frequency, and their results.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use offtake_net::http::{Answer, Endpoint};

use super::{transport::Call, transport::CallFuture, *};
use crate::{
    deserializer::Deserializer,
    error::DecodeErrorKind,
    id::SchemaType,
    payload::{Part, Payload},
    registered::Registered,
};

/// The response of a URL to a request.
#[derive(Clone)]
enum Does {
    Says(u16, String),
    Fails,
    /// Responds after this many milliseconds.
    After(u64, Box<Self>),
    Hangs,
}

/// The responses to the next requests; the last one is repeated.
#[derive(Clone, Default)]
struct Script {
    steps: Arc<Mutex<VecDeque<Does>>>,
    asked: Arc<Mutex<Vec<(usize, String)>>>,
}

struct Fake {
    urls: usize,
    script: Script,
}

impl Script {
    fn of(steps: impl IntoIterator<Item = Does>) -> Self {
        Self { steps: Arc::new(Mutex::new(steps.into_iter().collect())), asked: Arc::default() }
    }

    fn asked(&self) -> Vec<(usize, String)> {
        self.asked.lock().unwrap().clone()
    }
}

impl Transport for Fake {
    fn urls(&self) -> usize {
        self.urls
    }

    fn endpoint(&self, url: usize, path: &str) -> Option<Endpoint> {
        Endpoint::parse(&format!("http://r{url}:8081{path}"), |_| true).ok()
    }

    fn call<'a>(&'a self, url: usize, call: &'a Call) -> CallFuture<'a> {
        self.script.asked.lock().unwrap().push((url, call.path.clone()));
        let mut steps = self.script.steps.lock().unwrap();
        let step = if steps.len() > 1 { steps.pop_front() } else { steps.front().cloned() };
        Box::pin(carry_out(step.unwrap_or(Does::Hangs)))
    }
}

async fn carry_out(step: Does) -> Result<Answer, RegistryError> {
    match step {
        Does::Says(status, body) => {
            let content_type = Some("application/json".to_owned());
            Ok(Answer {
                status,
                body: body.into_bytes().into(),
                content_type,
                location: None,
                retry_after: None,
            })
        }
        Does::Fails => Err(RegistryError::new(RegistryErrorKind::Unavailable, "connection refused")),
        Does::Hangs => std::future::pending().await,
        Does::After(millis, then) => {
            wait(millis).await;
            Box::pin(carry_out(*then)).await
        }
    }
}

async fn wait(millis: u64) {
    let _ = clock::timeout(Duration::from_millis(millis), std::future::pending::<()>()).await;
}

fn schema_answer() -> Does {
    Does::Says(200, r#"{"schema":"{\"type\":\"object\"}","schemaType":"JSON"}"#.to_owned())
}

fn unknown() -> Does {
    Does::Says(404, r#"{"error_code":40403,"message":"Schema not found"}"#.to_owned())
}

type Events = Arc<Mutex<Vec<RegistryEvent>>>;

fn registry(urls: usize, script: &Script) -> (SchemaRegistry, Events) {
    let events = Events::default();
    let told = Arc::clone(&events);
    let fake = Fake { urls, script: script.clone() };
    let events_to = Box::new(move |event| told.lock().unwrap().push(event));
    (SchemaRegistry::over(Box::new(fake), &RegistryConfig::default(), events_to), events)
}

#[tokio::test(start_paused = true)]
async fn however_many_ask_for_an_id_the_registry_is_asked_once() {
    let script = Script::of([Does::After(50, Box::new(schema_answer()))]);
    let (registry, _) = registry(1, &script);
    let found = Arc::new(AtomicUsize::new(0));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let (registry, found) = (registry.clone(), Arc::clone(&found));
        tasks.spawn(async move {
            assert_eq!(registry.schema(7).await.unwrap().kind(), SchemaType::Json);
            found.fetch_add(1, Ordering::Relaxed);
        });
    }
    tasks.join_all().await;
    assert_eq!(found.load(Ordering::Relaxed), 100);
    assert_eq!(script.asked(), [(0, "/schemas/ids/7".to_owned())]);
    assert!(registry.cached(SchemaId::Id(7)).is_some());
}

#[tokio::test(start_paused = true)]
async fn the_next_caller_sends_the_request_when_the_first_is_dropped() {
    let script = Script::of([Does::Hangs, schema_answer()]);
    let (registry, _) = registry(1, &script);
    let (first, second) = (registry.clone(), registry.clone());
    let first = tokio::task::JoinSet::from_iter([async move { drop(first.schema(7).await) }]);
    wait(1).await;
    let mut waiting = tokio::task::JoinSet::from_iter([async move { second.schema(7).await.is_ok() }]);
    wait(1).await;
    drop(first);
    assert!(waiting.join_next().await.unwrap().unwrap());
    assert_eq!(script.asked().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_id_that_is_not_there_is_waited_for_once_and_not_asked_for_again_for_a_while() {
    let script = Script::of([unknown()]);
    let (registry, events) = registry(1, &script);
    let began = clock::now();
    for _ in 0..3 {
        let error = registry.schema_within(7, Duration::MAX).await.unwrap_err();
        assert_eq!((error.kind(), error.code()), (RegistryErrorKind::NotFound, Some(40403)));
        assert_eq!((clock::now() - began).as_secs(), 3, "the first has waited for all");
    }
    assert_eq!(script.asked().len(), 6, "after 0, 0.1, 0.3, 0.7, 1.5 and 3 s");
    assert_eq!(registry.reason(SchemaId::Id(7)).unwrap().kind(), RegistryErrorKind::NotFound);
    wait(10_000).await;
    assert!(registry.schema_within(7, Duration::MAX).await.is_err());
    assert_eq!((clock::now() - began).as_secs(), 13, "it is asked for, and not waited for again");
    assert_eq!(script.asked().len(), 7);
    *script.steps.lock().unwrap() = VecDeque::from([schema_answer()]);
    wait(10_000).await;
    assert!(registry.schema(7).await.is_ok());
    assert!(events.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_id_that_another_replica_has_registered_a_moment_ago_is_found() {
    // A missing schema, and then one that refers to a missing one.
    let refers =
        r#"{"schema":"{}","schemaType":"JSON","references":[{"name":"a.json","subject":"a","version":1}]}"#;
    let refers = Does::Says(200, refers.to_owned());
    let version = Does::Says(200, r#"{"id":1,"schema":"{}","schemaType":"JSON"}"#.to_owned());
    let lacks_it = [refers.clone(), unknown(), refers, version];
    for steps in [vec![unknown(), unknown(), unknown(), schema_answer()], lacks_it.into()] {
        let questions = steps.len();
        let script = Script::of(steps);
        let (registry, _) = registry(1, &script);
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..20 {
            let registry = registry.clone();
            tasks.spawn(async move { registry.schema_within(7, Duration::from_secs(30)).await.is_ok() });
        }
        assert!(tasks.join_all().await.into_iter().all(|is_found| is_found));
        assert_eq!(script.asked().len(), questions, "all wait for the same questions");
    }
}

#[tokio::test(start_paused = true)]
async fn a_shorter_wait_reports_a_missing_schema_sooner() {
    let script = Script::of([unknown()]);
    let (registry, _) = registry(1, &script);
    let began = clock::now();
    assert!(registry.schema(7).await.is_err());
    assert_eq!((clock::now() - began).as_millis(), 0);
    let error = registry.schema_within(7, Duration::from_millis(500)).await.unwrap_err();
    assert_eq!((error.kind(), (clock::now() - began).as_millis()), (RegistryErrorKind::NotFound, 500));
    assert!(registry.schema(7).await.is_err(), "asked for a moment ago");
    assert_eq!(script.asked().len(), 3);
}

/// Otherwise a worker could treat a record as poison although its schema was registered since.
#[tokio::test(start_paused = true)]
async fn that_an_id_was_not_there_once_is_not_why_there_is_no_answer_now() {
    let script = Script::of([unknown(), Does::Hangs]);
    let (registry, _) = registry(1, &script);
    assert_eq!(registry.schema(7).await.unwrap_err().kind(), RegistryErrorKind::NotFound);
    let hung = registry.schema_within(7, Duration::from_secs(1)).await.unwrap_err();
    assert_eq!(hung.kind(), RegistryErrorKind::NotFound, "it was so a moment ago");
    wait(600_000).await;
    for limit in [1, 3, 30] {
        let error = registry.schema_within(7, Duration::from_secs(limit)).await.unwrap_err();
        assert_eq!(error.kind(), RegistryErrorKind::Unavailable, "{limit} s: {error}");
    }
}

/// The same applies to decoding without waiting: after a request without a response, nothing else is known, however it ended.
#[tokio::test(start_paused = true)]
async fn that_an_id_was_not_there_once_is_not_why_a_record_is_not_decoded_now() {
    let bytes = [&[0][..], &7_u32.to_be_bytes(), b"{}"].concat();
    let payload = Payload::new(Part::Value, "t", Some(&bytes));
    // Down without a waiting caller; down with one; silent for as long as a caller waits.
    for (fails, limit) in [(Does::Fails, 0), (Does::Fails, 30), (Does::Hangs, 1)] {
        let script = Script::of([unknown(), fails]);
        let (registry, _) = registry(1, &script);
        let by = Registered::new(registry);
        let decoded = || by.deserialize::<serde_json::Value>(&payload).unwrap_err();
        assert!(by.prepare(SchemaId::Id(7), Duration::ZERO).await.is_err());
        assert_eq!(decoded().kind(), DecodeErrorKind::UnknownSchema);
        wait(20_000).await;
        assert_eq!(decoded().kind(), DecodeErrorKind::UnknownSchema, "nobody has asked since");
        assert!(by.prepare(SchemaId::Id(7), Duration::from_secs(limit)).await.is_err());
        let error = decoded();
        assert_eq!(error.kind(), DecodeErrorKind::Unavailable, "{limit} s: {error}");
        // Once it responds, its response is the reason.
        *script.steps.lock().unwrap() = VecDeque::from([unknown()]);
        wait(20_000).await;
        assert!(by.prepare(SchemaId::Id(7), Duration::ZERO).await.is_err());
        assert_eq!(decoded().kind(), DecodeErrorKind::UnknownSchema);
    }
}

#[tokio::test(start_paused = true)]
async fn the_next_url_is_asked_where_one_fails_and_asked_first_from_then_on() {
    let script = Script::of([Does::Fails, Does::Says(500, String::new()), schema_answer(), schema_answer()]);
    let (registry, events) = registry(3, &script);
    assert!(registry.schema(1).await.is_ok());
    assert!(registry.schema(2).await.is_ok());
    let urls: Vec<usize> = script.asked().iter().map(|(url, _)| *url).collect();
    assert_eq!(urls, [0, 1, 2, 2]);
    assert!(events.lock().unwrap().is_empty(), "it answered");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_an_answer_and_no_other_url_is_asked() {
    let script = Script::of([Does::Says(401, String::new())]);
    let (registry, _) = registry(3, &script);
    assert_eq!(registry.schema(1).await.unwrap_err().kind(), RegistryErrorKind::Refused);
    assert_eq!(script.asked().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_invalid_response_does_not_count_when_another_url_gives_a_valid_one() {
    let page = || Does::Says(200, "<html>".to_owned());
    let script = Script::of([page(), Does::Says(302, String::new()), schema_answer(), schema_answer()]);
    let (found, _) = registry(3, &script);
    assert!(found.schema(1).await.is_ok() && found.schema(2).await.is_ok());
    let urls: Vec<usize> = script.asked().iter().map(|(url, _)| *url).collect();
    assert_eq!(urls, [0, 1, 2, 2]);
    // If no URL responds as a registry, that is reported without waiting.
    let script = Script::of([page()]);
    let (lost, _) = registry(2, &script);
    let error = lost.schema_within(1, Duration::MAX).await.unwrap_err();
    assert_eq!((error.kind(), script.asked().len()), (RegistryErrorKind::Malformed, 2), "{error}");
    let script = Script::of([page(), unknown()]);
    let (absent, _) = registry(2, &script);
    assert_eq!(absent.schema(1).await.unwrap_err().kind(), RegistryErrorKind::NotFound);
}

/// The URL that does not respond may be the registry: it is waited for, and no record is to blame.
#[tokio::test(start_paused = true)]
async fn while_one_url_does_not_answer_what_is_no_registrys_answer_of_another_is_none() {
    let page = || Does::Says(200, "<html>".to_owned());
    for steps in [[page(), Does::Fails], [Does::Fails, page()]] {
        let script = Script::of(steps.clone());
        let (down, events) = registry(2, &script);
        let error = down.schema(1).await.unwrap_err();
        assert_eq!((error.kind(), script.asked().len()), (RegistryErrorKind::Unavailable, 2));
        let text = error.to_string();
        assert!(
            text.contains("connection refused") && text.contains("not a schema registry's response"),
            "{text}"
        );
        assert!(matches!(events.lock().unwrap()[..], [RegistryEvent::Unavailable { .. }]));
        // Both continue in this way, and then the registry responds again.
        let both = [steps.as_slice(), &steps, &[page(), schema_answer()]].concat();
        *script.steps.lock().unwrap() = both.into();
        assert!(down.schema_within(1, Duration::MAX).await.is_ok());
        assert_eq!(script.asked().len(), 8);
        assert_eq!(events.lock().unwrap().len(), 2, "one outage");
    }
}

#[tokio::test(start_paused = true)]
async fn a_hanging_url_leaves_short_waits_time_for_the_next_url() {
    let script = Script::of([Does::Hangs, schema_answer()]);
    let (found, events) = registry(2, &script);
    let began = clock::now();
    assert!(found.schema_within(1, Duration::from_secs(3)).await.is_ok());
    assert_eq!((clock::now() - began).as_millis(), 1_500);
    assert!(found.schema(2).await.is_ok(), "the other is asked first now");
    assert!(events.lock().unwrap().is_empty());
    assert_eq!(script.asked().iter().map(|(url, _)| *url).collect::<Vec<_>>(), [0, 1, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_hanging_url_is_not_tried_first_again_after_short_waits() {
    let script = Script::of([Does::Hangs, Does::Hangs, schema_answer()]);
    let (found, _) = registry(2, &script);
    let within = |millis| clock::timeout(Duration::from_millis(millis), found.schema(1));
    assert!(within(100).await.is_none(), "that says nothing of it");
    assert!(within(2_000).await.is_none());
    assert!(within(2_000).await.unwrap().is_ok());
    assert_eq!(script.asked().iter().map(|(url, _)| *url).collect::<Vec<_>>(), [0, 0, 1]);
    // This holds even for callers that never wait for long.
    let script = Script::of(std::iter::repeat_n(Does::Hangs, 13).chain([schema_answer()]));
    let (found, _) = registry(2, &script);
    for _ in 0..13 {
        assert!(found.schema_within(1, Duration::from_millis(100)).await.is_err());
    }
    assert!(found.schema_within(1, Duration::from_millis(100)).await.is_ok());
    let urls: Vec<usize> = script.asked().iter().map(|(url, _)| *url).collect();
    assert_eq!(urls, [[0; 13].as_slice(), &[1]].concat());
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_is_down_is_asked_ever_more_seldom_until_it_answers_or_the_time_is_over() {
    let script = Script::of([Does::Fails]);
    let (registry, events) = registry(2, &script);
    let began = clock::now();
    let error = registry.schema_within(7, Duration::from_secs(30)).await.unwrap_err();
    assert!(error.is_retriable(), "{error}");
    assert_eq!((clock::now() - began).as_secs(), 30);
    let asked = script.asked().len();
    assert!((16..=24).contains(&asked), "{asked} requests in 30 s, two a time");
    assert_eq!(events.lock().unwrap().len(), 1);

    *script.steps.lock().unwrap() = VecDeque::from([schema_answer()]);
    assert!(registry.schema_within(7, Duration::MAX).await.is_ok());
    let events = events.lock().unwrap();
    assert!(matches!(events[..], [RegistryEvent::Unavailable { .. }, RegistryEvent::Available { .. }]));
}

#[tokio::test(start_paused = true)]
async fn without_time_to_wait_a_registry_that_is_down_fails_at_once_and_is_left_alone() {
    let script = Script::of([Does::Fails]);
    let (registry, _) = registry(1, &script);
    for id in 0..100 {
        assert!(registry.schema(id).await.unwrap_err().is_retriable());
    }
    assert_eq!(script.asked().len(), 1);
    assert!(registry.schema_within(7, Duration::ZERO).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_hanging_registry_costs_one_request_timeout_and_short_waits_end_sooner() {
    let script = Script::of([Does::Hangs]);
    let (registry, _) = registry(1, &script);
    let began = clock::now();
    let error = registry.schema(7).await.unwrap_err();
    assert_eq!((clock::now() - began).as_secs(), 5);
    assert!(error.to_string().contains("took longer than 5000 ms"), "{error}");
    let began = clock::now();
    assert!(registry.schema_within(8, Duration::from_millis(300)).await.is_err());
    assert_eq!((clock::now() - began).as_millis(), 300);
}

#[tokio::test(start_paused = true)]
async fn references_are_asked_for_each_once_and_have_a_bound() {
    let with = |references: &str| {
        Does::Says(
            200,
            format!(r#"{{"id":1,"schema":"{{}}","schemaType":"JSON","references":[{references}]}}"#),
        )
    };
    let reference =
        |subject: &str| format!(r#"{{"name":"{subject}.json","subject":"{subject}","version":1}}"#);
    let both = format!("{},{}", reference("a"), reference("b"));
    let script = Script::of([with(&both), with(&reference("a")), with(""), schema_answer()]);
    let (found, _) = registry(1, &script);
    assert!(found.schema(1).await.is_ok());
    let asked: Vec<String> = script.asked().into_iter().map(|(_, path)| path).collect();
    assert_eq!(asked, ["/schemas/ids/1", "/subjects/b/versions/1", "/subjects/a/versions/1"]);

    let mut steps = vec![with(&reference("s0"))];
    steps.extend((1..1000).map(|nth| with(&reference(&format!("s{nth}")))));
    let script = Script::of(steps);
    let (found, _) = registry(1, &script);
    let error = found.schema(1).await.unwrap_err();
    assert_eq!(error.kind(), RegistryErrorKind::BadSchema);
    assert!(script.asked().len() < 300);

    // If two schemas refer to the same one, they come after it, whatever their names.
    let text = SchemaText::new(SchemaType::Json, "{}").reference("x", "a", 1).reference("y", "b", 1);
    let script = Script::of([with(&reference("c")), with(""), with(&reference("c"))]);
    let (found, _) = registry(1, &script);
    let order = found.0.sender.references(&text).await.unwrap();
    assert_eq!(order.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["c.json", "y", "x"]);

    let script = Script::of([with(&reference("gone")), unknown()]);
    let (found, _) = registry(1, &script);
    let error = found.schema(1).await.unwrap_err();
    assert_eq!(error.kind(), RegistryErrorKind::BadSchema, "{error}");
    assert!(error.to_string().contains("refers to gone version 1"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn the_latest_version_is_asked_for_again_when_its_time_is_over() {
    let script =
        Script::of([Does::Says(200, r#"{"id":3,"subject":"s","version":2,"schema":"{}"}"#.to_owned())]);
    let (registry, _) = registry(1, &script);
    for _ in 0..5 {
        assert_eq!(registry.latest("s").await.unwrap().version, 2);
    }
    assert_eq!(script.asked().len(), 1);
    wait(60_000).await;
    registry.latest("s").await.unwrap();
    assert_eq!(script.asked().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_registered_schema_is_known_without_another_request() {
    let script = Script::of([Does::Says(200, r#"{"id":9}"#.to_owned())]);
    let (registry, _) = registry(1, &script);
    let schema = SchemaText::new(SchemaType::Json, "{}");
    for _ in 0..3 {
        assert_eq!(registry.register("a/b-value", &schema, true).await.unwrap(), 9);
    }
    assert_eq!(script.asked(), [(0, "/subjects/a%2Fb-value/versions?normalize=true".to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn concurrent_registrations_of_a_schema_share_one_request() {
    let schema = SchemaText::new(SchemaType::Json, "{}");
    let answers = [
        (Does::Says(200, r#"{"id":9}"#.to_owned()), Ok(9)),
        (Does::Fails, Err(RegistryErrorKind::Unavailable)),
        (Does::Hangs, Err(RegistryErrorKind::Unavailable)),
        (Does::Says(409, String::new()), Err(RegistryErrorKind::Incompatible)),
    ];
    for (does, expected) in answers {
        let script = Script::of([Does::After(50, Box::new(does))]);
        let (registry, _) = registry(1, &script);
        let began = clock::now();
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..100 {
            let (registry, schema) = (registry.clone(), schema.clone());
            tasks.spawn(async move { registry.register("s", &schema, false).await });
        }
        while let Some(ended) = tasks.join_next().await {
            assert_eq!(ended.unwrap().map_err(|error| error.kind()), expected);
        }
        assert_eq!(script.asked().len(), 1);
        assert!((clock::now() - began).as_secs() <= 5, "they do not wait one after the other");
        // A lookup is a separate request.
        let _ = registry.lookup("s", &schema, false).await;
        assert_eq!(script.asked().len(), if expected.is_ok() { 1 } else { 2 });
    }
}

#[tokio::test(start_paused = true)]
async fn the_next_caller_registers_when_the_first_is_dropped_and_latest_is_requested_once() {
    let schema = SchemaText::new(SchemaType::Json, "{}");
    let script =
        Script::of([Does::Hangs, Does::After(9, Box::new(Does::Says(200, r#"{"id":9}"#.to_owned())))]);
    let (registry, _) = registry(1, &script);
    let (one, other) = (registry.register("s", &schema, false), registry.register("s", &schema, false));
    let one = clock::timeout(Duration::from_secs(1), one);
    let (one, other) = tokio::join!(one, other);
    assert_eq!((one.is_none(), other.unwrap(), script.asked().len()), (true, 9, 2));

    let version = Does::Says(200, r#"{"id":3,"subject":"s","version":2,"schema":"{}"}"#.to_owned());
    let script = Script::of([Does::After(9, Box::new(version))]);
    let (registry, _) = self::registry(1, &script);
    let (one, other) = tokio::join!(registry.latest("s"), registry.latest("s"));
    assert!(Arc::ptr_eq(&one.unwrap(), &other.unwrap()));
    assert_eq!(script.asked().len(), 1);
}

#[test]
fn no_password_of_a_url_is_in_what_is_printed_of_a_configuration() {
    let config = RegistryConfig {
        urls: vec![
            "https://user:p@ss@host/api".to_owned(),
            "user:p@ss@host".to_owned(),
            "http://plain".to_owned(),
        ],
        ..RegistryConfig::default()
    };
    let printed = format!("{config:?}");
    assert!(!printed.contains("p@ss") && !printed.contains("user"), "{printed}");
    assert!(
        printed.contains("https://…@host/api\", \"http://…@host\"") && printed.contains("http://plain"),
        "{printed}"
    );
}

#[tokio::test(start_paused = true)]
async fn waiting_callers_do_not_ask_a_registry_that_has_just_failed() {
    let script = Script::of([Does::After(1_000, Box::new(Does::Fails))]);
    let (registry, _) = registry(1, &script);
    let mut tasks = tokio::task::JoinSet::new();
    for id in 0..100_u32 {
        let registry = registry.clone();
        tasks.spawn(async move { registry.schema(id).await });
    }
    while let Some(ended) = tasks.join_next().await {
        assert_eq!(ended.unwrap().unwrap_err().kind(), RegistryErrorKind::Unavailable);
    }
    assert_eq!(script.asked().len(), 8, "as many as are asked for at once");
}
