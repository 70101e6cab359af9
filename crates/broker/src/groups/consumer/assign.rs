//! The server-side assignors: `uniform` and `range`. Both keep the members' partitions as far as balance allows.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::Partitions;

/// A member, as input of an assignor.
#[derive(Clone, Debug)]
pub(super) struct MemberToAssign {
    pub(super) id: String,
    /// The existing topics that it reads.
    pub(super) topics: BTreeSet<Uuid>,
    /// Its part of the last target.
    pub(super) has: Partitions,
}

type Targets = BTreeMap<String, Partitions>;

/// Spreads all partitions evenly, whatever their topics.
pub(super) fn uniform(parties: Vec<MemberToAssign>, size: &dyn Fn(Uuid) -> Option<i32>) -> Targets {
    let same = parties.windows(2).all(|pair| match pair {
        [one, other] => one.topics == other.topics,
        _ => true,
    });
    let parties = retain_existing(parties, size);
    if same { homogeneous(parties, size) } else { heterogeneous(parties, size) }
}

/// Keeps only the partitions that are still read and still exist.
fn retain_existing(
    mut parties: Vec<MemberToAssign>,
    size: &dyn Fn(Uuid) -> Option<i32>,
) -> Vec<MemberToAssign> {
    for MemberToAssign { topics, has, .. } in &mut parties {
        has.retain(|topic, _| topics.contains(topic));
        for (topic, partitions) in has.iter_mut() {
            partitions.retain(|partition| size(*topic).is_some_and(|size| *partition < size));
        }
    }
    parties
}

/// All members read the same topics: each keeps up to its quota, the rest goes to those below theirs.
fn homogeneous(parties: Vec<MemberToAssign>, size: &dyn Fn(Uuid) -> Option<i32>) -> Targets {
    let Some(first) = parties.first() else { return Targets::new() };
    let all = partitions_of(&first.topics, size);
    let taken: BTreeSet<(Uuid, i32)> = parties.iter().flat_map(|party| flat(&party.has)).collect();
    let mut free: Vec<(Uuid, i32)> = all.iter().copied().filter(|one| !taken.contains(one)).collect();
    let (quota, mut extra) = (all.len() / parties.len(), all.len() % parties.len());
    let mut wanting = Vec::new();
    let mut targets = Targets::new();
    for party in parties {
        let mut quota = quota + usize::from(extra > 0);
        extra = extra.saturating_sub(1);
        let mut kept = Partitions::new();
        for (topic, partition) in flat(&party.has) {
            if quota > 0 {
                quota -= 1;
                kept.entry(topic).or_default().insert(partition);
            } else {
                free.push((topic, partition));
            }
        }
        if quota > 0 {
            wanting.push((party.id.clone(), quota));
        }
        targets.insert(party.id, kept);
    }
    let mut free = free.into_iter();
    for (id, quota) in wanting {
        for (topic, partition) in free.by_ref().take(quota) {
            targets.entry(id.clone()).or_default().entry(topic).or_default().insert(partition);
        }
    }
    targets
}

/// The members read different topics: free partitions go to the reader with the fewest, then partitions move from the
/// member with the most to one with at least two fewer, as long as there is such a pair.
fn heterogeneous(parties: Vec<MemberToAssign>, size: &dyn Fn(Uuid) -> Option<i32>) -> Targets {
    let read: BTreeSet<Uuid> = parties.iter().flat_map(|party| party.topics.iter().copied()).collect();
    let mut owner: BTreeMap<(Uuid, i32), usize> = BTreeMap::new();
    let mut load = vec![0_usize; parties.len()];
    for (index, party) in parties.iter().enumerate() {
        for one in flat(&party.has) {
            owner.insert(one, index);
        }
    }
    for index in owner.values() {
        if let Some(load) = load.get_mut(*index) {
            *load += 1;
        }
    }
    let readers = |topic: &Uuid| {
        let topic = *topic;
        let reads =
            move |(index, party): (usize, &MemberToAssign)| party.topics.contains(&topic).then_some(index);
        parties.iter().enumerate().filter_map(reads).collect::<Vec<_>>()
    };
    let mut free: Vec<(Uuid, i32)> =
        partitions_of(&read, size).into_iter().filter(|one| !owner.contains_key(one)).collect();
    // Partitions with the fewest readers first.
    free.sort_by_key(|(topic, partition)| (readers(topic).len(), *partition));
    let of = |load: &[usize], index: usize| load.get(index).copied().unwrap_or(usize::MAX);
    for one in free {
        let least = readers(&one.0).into_iter().min_by_key(|index| (of(&load, *index), *index));
        if let Some(least) = least {
            owner.insert(one, least);
            if let Some(load) = load.get_mut(least) {
                *load += 1;
            }
        }
    }
    // Each move brings two loads closer, so the loop ends.
    while let Some((one, to)) = owner.iter().find_map(|(one, from)| {
        let to = readers(&one.0).into_iter().min_by_key(|index| (of(&load, *index), *index))?;
        (of(&load, to) + 1 < of(&load, *from)).then_some((*one, to))
    }) {
        if let Some(from) = owner.insert(one, to) {
            load.iter_mut().enumerate().for_each(|(index, load)| match index {
                _ if index == from => *load -= 1,
                _ if index == to => *load += 1,
                _ => {}
            });
        }
    }
    let mut targets: Targets = parties.iter().map(|party| (party.id.clone(), Partitions::new())).collect();
    for ((topic, partition), index) in owner {
        if let Some(target) = parties.get(index).and_then(|party| targets.get_mut(&party.id)) {
            target.entry(topic).or_default().insert(partition);
        }
    }
    targets
}

/// Topic by topic: each reader gets consecutive partitions, and readers of the same rank get the same numbers of every topic.
pub(super) fn range(parties: Vec<MemberToAssign>, size: &dyn Fn(Uuid) -> Option<i32>) -> Targets {
    let parties = retain_existing(parties, size);
    let read: BTreeSet<Uuid> = parties.iter().flat_map(|party| party.topics.iter().copied()).collect();
    let mut targets: Targets = parties.iter().map(|party| (party.id.clone(), Partitions::new())).collect();
    for topic in read {
        let readers: Vec<&MemberToAssign> =
            parties.iter().filter(|party| party.topics.contains(&topic)).collect();
        let count = usize::try_from(size(topic).unwrap_or(0)).unwrap_or(0);
        let (quota, mut extra) = (count / readers.len().max(1), count % readers.len().max(1));
        let mut kept: BTreeSet<i32> = BTreeSet::new();
        let mut wanting = Vec::new();
        for party in readers {
            let has: Vec<i32> = party.has.get(&topic).into_iter().flatten().copied().collect();
            let keeps_extra = has.len() > quota && extra > 0;
            extra -= usize::from(keeps_extra);
            let keeps: BTreeSet<i32> = has.iter().copied().take(quota + usize::from(keeps_extra)).collect();
            if !keeps_extra {
                wanting.push((&party.id, quota.saturating_sub(keeps.len())));
            }
            kept.extend(&keeps);
            if !keeps.is_empty() {
                targets.entry(party.id.clone()).or_default().insert(topic, keeps);
            }
        }
        let mut free = (0..size(topic).unwrap_or(0)).filter(|partition| !kept.contains(partition));
        for (id, wants) in wanting {
            let wants = wants + usize::from(extra > 0);
            extra = extra.saturating_sub(1);
            let gets: Vec<i32> = free.by_ref().take(wants).collect();
            if !gets.is_empty() {
                targets.entry(id.clone()).or_default().entry(topic).or_default().extend(gets);
            }
        }
    }
    targets
}

fn flat(partitions: &Partitions) -> impl Iterator<Item = (Uuid, i32)> + '_ {
    partitions.iter().flat_map(|(topic, all)| all.iter().map(move |one| (*topic, *one)))
}

fn partitions_of(topics: &BTreeSet<Uuid>, size: &dyn Fn(Uuid) -> Option<i32>) -> Vec<(Uuid, i32)> {
    topics.iter().flat_map(|topic| (0..size(*topic).unwrap_or(0)).map(move |one| (*topic, one))).collect()
}
