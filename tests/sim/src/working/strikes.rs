//! Blows that strike when a worker reaches a step.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use crate::{
    events::{Log, What, Who},
    plan::{Blow, Moment, Work},
    run::Cast,
};

const PRODUCE: i16 = 0;

/// Strikes the workers that reach the steps of a plan.
pub(crate) fn strike(log: &Log, work: &Work, cast: &Cast) {
    let (strikes, cast) = (work.strikes.clone(), cast.clone());
    let counts: Arc<Mutex<BTreeMap<u8, u64>>> = Arc::default();
    log.listen(move |what| {
        let Some((step, who)) = step(what) else { return };
        let mut counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(step as u8).or_default();
        *count += 1;
        for strike in strikes.iter().filter(|strike| strike.step == step && strike.nth == *count) {
            match strike.what {
                Blow::Kill => cast.kill(who.member, Some(strike.returns)),
                how => cast.halt(who.member, how, strike.returns),
            }
        }
    });
}

/// The step of an event, and its life.
fn step(what: &What) -> Option<(Moment, Who)> {
    Some(match what {
        What::Assigned { who, .. } => (Moment::Assigned, *who),
        What::HandlerBegan { who, .. } => (Moment::HandlerBegan, *who),
        What::HandlerEnded { who, .. } => (Moment::HandlerEnded, *who),
        What::Retried { who, .. } => (Moment::Retried, *who),
        What::Request { api: PRODUCE, client, .. } => {
            (Moment::LetterSent, Who::parse(client.strip_suffix('t')?)?)
        }
        What::LetterTold { who, .. } => (Moment::LetterTold, *who),
        What::CommitSent { who, .. } => (Moment::CommitSent, *who),
        What::HandedOver { who, .. } => (Moment::HandedOver, *who),
        What::Breaker { who, .. } => (Moment::Breaker, *who),
        _ => return None,
    })
}
