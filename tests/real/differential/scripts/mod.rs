//! The scripts, by subject.

use crate::differential::conversation::Conversation;

mod classic;
mod cluster;
mod commits;
mod fetch;
mod log;
mod modern;
mod topics;
mod transactions;
mod verbs;

type Script = (&'static str, fn(&mut Conversation));

/// All scripts, in the order in which they run.
pub(crate) const ALL: &[Script] = &[
    ("api versions", cluster::api_versions),
    ("metadata", topics::metadata),
    ("describe cluster", topics::describe_cluster),
    ("describe topic partitions", topics::describe_topic_partitions),
    ("create topics", topics::create_topics),
    ("delete topics", topics::delete_topics),
    ("create partitions", topics::create_partitions),
    ("configs", topics::configs),
    ("produce, all versions", log::produce_all_versions),
    ("produce, wrong", log::produce_wrong),
    ("produce, idempotent", log::idempotent),
    ("list offsets", log::list_offsets),
    ("leader epochs", log::leader_epochs),
    ("fetch, all versions", fetch::versions),
    ("fetch, sessions", fetch::sessions),
    ("fetch, long polls", fetch::long_polls),
    ("classic, find coordinator", classic::find_coordinator),
    ("delete records", log::delete_records),
    ("classic, one member", classic::one_member),
    ("classic, wrong joins", classic::wrong_joins),
    ("classic, two members", classic::two_members),
    ("classic, sessions expire", classic::sessions_expire),
    ("classic, static members", classic::static_members),
    ("classic, admin", classic::admin),
    ("commits", commits::commit_and_fetch),
    ("commits of a member", commits::commit_as_member),
    ("modern, wrong", modern::wrong),
    ("modern, life", modern::life),
    ("modern, static members", modern::static_members),
    ("modern, by pattern", modern::by_pattern),
    ("modern, from one protocol to the other", modern::from_one_protocol_to_the_other),
    ("modern, back to the classic protocol", modern::back_to_the_classic_protocol),
    ("transactions, init", transactions::init),
    ("transactions, first protocol", transactions::first_protocol),
    ("transactions, fencing", transactions::fencing),
    ("transactions, timing out", transactions::timing_out),
    ("transactions, second protocol", transactions::second_protocol),
    ("transactions, offsets", transactions::offsets_in_transactions),
    ("transactions, listing", transactions::listing_transactions),
];
