//! The loop of all webhooks.

use tokio::{sync::watch, task::JoinSet, time::Instant};

use super::{
    Webhook,
    notifier::Notifier,
    payload::payload,
    send::{Refusal, send},
};
use crate::{
    Settings,
    clock::{now, wall_clock},
    view::View,
};

/// A target, and whether it was said that it cannot be reached.
struct Target {
    notifier: Notifier,
    is_failing: bool,
}

/// Tells all targets. Never ends; may be dropped at any await.
pub(crate) async fn run(mut views: watch::Receiver<View>, mut settings: watch::Receiver<Settings>) {
    let mut targets: Vec<Target> = Vec::new();
    let mut sending: JoinSet<(Webhook, Result<(), Refusal>)> = JoinSet::new();
    update(&mut targets, &settings.borrow_and_update().webhooks);
    loop {
        for target in &mut targets {
            if let Some(notification) = target.notifier.poll_transmit(now()) {
                let webhook = target.notifier.webhook().clone();
                let cluster = {
                    let settings = settings.borrow();
                    views.borrow().cluster(settings.cluster_name.as_deref()).to_owned()
                };
                let body = payload(webhook.format, &cluster, &notification);
                sending.spawn(async move {
                    let sent = send(webhook.address.clone(), body).await;
                    (webhook, sent)
                });
            }
        }
        let wake = targets.iter().filter_map(|target| target.notifier.poll_timeout(now())).min();
        tokio::select! {
            changed = views.changed() => {
                if changed.is_err() {
                    return; // the monitor is gone
                }
                observe(&mut targets, &views.borrow_and_update());
            }
            changed = settings.changed() => match changed {
                Ok(()) => update(&mut targets, &settings.borrow_and_update().webhooks),
                Err(_) => return,
            },
            Some(sent) = sending.join_next() => {
                if let Ok((webhook, sent)) = sent {
                    finish(&mut targets, &webhook, sent);
                }
            }
            () = until(wake) => {}
        }
    }
}

fn observe(targets: &mut [Target], view: &View) {
    let round = match (&view.failure, &view.report) {
        (Some(failure), _) => Err(failure.as_str()),
        (None, Some(report)) => Ok(&**report),
        (None, None) => return,
    };
    for target in targets {
        target.notifier.observe(now(), wall_clock(), round);
    }
}

fn finish(targets: &mut [Target], webhook: &Webhook, sent: Result<(), Refusal>) {
    // One that is not there any more was taken out of the settings meanwhile.
    let Some(target) = targets.iter_mut().find(|target| target.notifier.webhook() == webhook) else { return };
    target.notifier.sent(now(), sent.is_ok());
    match sent {
        Ok(()) if std::mem::take(&mut target.is_failing) => {
            tracing::info!("the webhook at {} takes messages again", webhook.host());
        }
        Err(why) if !target.is_failing => {
            target.is_failing = true;
            tracing::warn!("the webhook at {} takes no message, and is tried again: {why}", webhook.host());
        }
        Ok(()) | Err(_) => {}
    }
}

/// A target whose settings are what they were goes on as it is.
fn update(targets: &mut Vec<Target>, webhooks: &[Webhook]) {
    let mut before = std::mem::take(targets);
    for webhook in webhooks {
        if targets.iter().any(|target| target.notifier.webhook() == webhook) {
            continue; // named twice
        }
        let known = before.iter().position(|target| target.notifier.webhook() == webhook);
        targets.push(match known {
            Some(at) => before.swap_remove(at),
            None => Target { notifier: Notifier::new(webhook.clone()), is_failing: false },
        });
    }
}

async fn until(wake: Option<Instant>) {
    match wake {
        Some(wake) => tokio::time::sleep_until(wake).await,
        None => std::future::pending().await,
    }
}
