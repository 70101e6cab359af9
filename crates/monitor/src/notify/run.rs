//! The loop of all webhooks.

use std::collections::HashMap;

use hyper::Uri;
use serde_json::Value;
use tokio::{
    sync::watch,
    task::{Id, JoinError, JoinSet},
    time::Instant,
};

use super::{Webhook, notifier::Notifier, payload::payload, send::Refusal};
use crate::{
    Settings,
    clock::{now, wall_clock},
    view::View,
};

/// A target, and whether it was logged as unreachable.
struct Target {
    notifier: Notifier,
    is_failing: bool,
    /// The task that is sending a message to it.
    task: Option<Id>,
}

/// Notifies all targets with `send`. Never ends; may be dropped at any await.
pub(crate) async fn run<S>(
    mut views: watch::Receiver<View>,
    mut settings: watch::Receiver<Settings>,
    send: impl Fn(Uri, Value) -> S,
) where
    S: Future<Output = Result<(), Refusal>> + Send + 'static,
{
    let mut targets: Vec<Target> = Vec::new();
    let mut sending: JoinSet<Result<(), Refusal>> = JoinSet::new();
    update(&mut targets, &settings.borrow_and_update().webhooks);
    loop {
        for target in &mut targets {
            if let Some(notification) = target.notifier.poll_transmit(now()) {
                let webhook = target.notifier.webhook();
                let cluster = {
                    let settings = settings.borrow();
                    views.borrow().cluster(settings.cluster_name.as_deref()).to_owned()
                };
                let body = payload(webhook.format, &cluster, &notification);
                target.task = Some(sending.spawn(send(webhook.address.clone(), body)).id());
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
            Some(sent) = sending.join_next_with_id() => finish(&mut targets, sent),
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

/// Handles the result of a sending task. A task that panicked has not sent anything.
fn finish(targets: &mut [Target], sent: Result<(Id, Result<(), Refusal>), JoinError>) {
    let (task, sent) = sent.unwrap_or_else(|error| (error.id(), Err(error.to_string())));
    // If the target is missing, it was removed from the settings meanwhile.
    let Some(target) = targets.iter_mut().find(|target| target.task == Some(task)) else { return };
    target.task = None;
    target.notifier.sent(now(), sent.is_ok());
    let host = target.notifier.webhook().host();
    match sent {
        Ok(()) if target.is_failing => {
            target.is_failing = false;
            tracing::info!("the webhook at {host} accepts messages again");
        }
        Err(why) if !target.is_failing => {
            target.is_failing = true;
            tracing::warn!("the webhook at {host} failed, and is retried: {why}");
        }
        Ok(()) | Err(_) => {}
    }
}

/// Updates the targets. A target keeps its identity as long as its address stays: it keeps its past notices, and gets their ends
/// under the new settings.
fn update(targets: &mut Vec<Target>, webhooks: &[Webhook]) {
    let mut before = std::mem::take(targets);
    let mut wanted: Vec<&Webhook> = Vec::new();
    for webhook in webhooks {
        if !wanted.contains(&webhook) {
            wanted.push(webhook); // otherwise it is listed twice
        }
    }
    // Two may have the same address, for example for two severities: unchanged ones are matched first.
    let mut known = HashMap::new();
    let same: [fn(&Webhook, &Webhook) -> bool; 2] =
        [|left, right| left == right, |left, right| left.address == right.address];
    for is_same in same {
        for (nth, webhook) in wanted.iter().enumerate() {
            let at = before.iter().position(|target| is_same(target.notifier.webhook(), webhook));
            if let (Some(at), false) = (at, known.contains_key(&nth)) {
                known.insert(nth, before.swap_remove(at));
            }
        }
    }
    for (nth, webhook) in wanted.into_iter().enumerate() {
        let target = known.remove(&nth).map(|mut target| {
            target.notifier.configure(webhook.clone());
            target
        });
        let new = || Target { notifier: Notifier::new(webhook.clone()), is_failing: false, task: None };
        targets.push(target.unwrap_or_else(new));
    }
}

async fn until(wake: Option<Instant>) {
    match wake {
        Some(wake) => tokio::time::sleep_until(wake).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod handover_tests;
#[cfg(test)]
mod tests;
