use std::{
    future::ready,
    sync::{Arc, Mutex},
    time::Duration,
};

use offtake_lag::{GroupReport, Report, Severity};

use super::*;

/// The sent messages in order.
type Sent = Arc<Mutex<Vec<Value>>>;

fn webhook() -> Webhook {
    let mut webhook = Webhook::new("http://alerts.example/hook").unwrap();
    (webhook.pending_for, webhook.resolve_after) = (Duration::ZERO, Duration::ZERO);
    webhook
}

fn view(severity: Severity) -> View {
    let group = GroupReport { group: "audit".to_owned(), severity, ..GroupReport::default() };
    let mut view = View::default();
    view.on_report(Arc::new(Report { groups: vec![group], ..Report::default() }), 0.1);
    view
}

/// Runs for this many seconds of virtual time.
async fn passes<F: Future>(work: F, seconds: u64) {
    assert!(tokio::time::timeout(Duration::from_secs(seconds), work).await.is_err(), "the loop never ends");
}

#[tokio::test(start_paused = true)]
async fn a_message_whose_sending_panics_is_sent_again() {
    let (views, sent) = (watch::Sender::new(View::default()), Sent::default());
    let settings = watch::Sender::new(Settings { webhooks: vec![webhook()], ..Settings::default() });
    let send = |_, body| {
        let mut sent = sent.lock().unwrap();
        sent.push(body);
        let is_first = sent.len() == 1;
        async move {
            assert!(!is_first, "the first panics");
            Ok(())
        }
    };
    let running = run(views.subscribe(), settings.subscribe(), send);
    views.send_replace(view(Severity::DataLoss));
    // The first change of the view that it sees is notified.
    passes(
        async {
            tokio::join!(running, async {
                tokio::task::yield_now().await;
                views.send_replace(view(Severity::DataLoss));
            })
        },
        60,
    )
    .await;
    let sent = sent.lock().unwrap();
    assert_eq!(sent.len(), 2, "{sent:?}");
    assert_eq!(sent[0]["alerts"][0]["fingerprint"], sent[1]["alerts"][0]["fingerprint"]);
}

/// As after SIGHUP: the end of a condition is notified even if its beginning was notified under other settings.
#[tokio::test(start_paused = true)]
async fn a_target_with_other_settings_knows_what_it_was_told() {
    let (views, sent) = (watch::Sender::new(View::default()), Sent::default());
    let settings =
        watch::Sender::new(Settings { webhooks: vec![webhook(), webhook()], ..Settings::default() });
    let send = |_, body| {
        sent.lock().unwrap().push(body);
        ready(Ok(()))
    };
    let rounds = async {
        for severity in [Severity::High, Severity::High, Severity::Healthy, Severity::Healthy] {
            tokio::time::timeout(Duration::from_secs(40), std::future::pending::<()>()).await.unwrap_err();
            views.send_replace(view(severity));
            settings
                .send_modify(|settings| settings.webhooks[0].repeat_interval += Duration::from_secs(3600));
            settings.send_modify(|settings| settings.webhooks.truncate(1));
        }
    };
    let running = run(views.subscribe(), settings.subscribe(), send);
    passes(async { tokio::join!(running, rounds) }, 300).await;
    let sent = sent.lock().unwrap();
    let told: Vec<_> = sent.iter().map(|body| body["status"].as_str().unwrap()).collect();
    assert_eq!(told, ["firing", "resolved"], "{sent:?}");
}
