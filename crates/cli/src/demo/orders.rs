//! The sample data: orders as a shop would write them, and the handler of a service that charges for them.
//!
//! The outcome of an order depends on its bytes alone, so that every run is similar: most are charged at once,
//! some only on a retry, and a few never.

use serde::{Deserialize, Serialize};

/// How often a member retries an order that may still succeed, before it goes to the dead letters.
pub(super) const RETRIES: u32 = 3;

/// Of ten thousand orders, this many find the payment service unavailable once.
const AWAY_ONCE: u64 = 80;
/// This many find it unavailable twice.
const AWAY_TWICE: u64 = 40;
/// This many find it unavailable at every attempt.
const AWAY_ALWAYS: u64 = 4;
/// One order in this many was cut off by its writer, so that it cannot be parsed.
const ONE_IS_CUT: u64 = 2500;

const ITEMS: [&str; 8] =
    ["espresso cups", "teapot", "moka pot", "grinder", "filter papers", "kettle", "scale", "tamper"];

/// An order to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Order {
    /// The customer.
    pub(super) key: String,
    /// JSON, perhaps truncated.
    pub(super) value: Vec<u8>,
}

#[derive(Debug, Deserialize, Serialize)]
struct Written {
    order: u64,
    item: String,
    quantity: u32,
    cents: u64,
}

/// An endless sequence of orders; the same seed gives the same sequence.
#[derive(Debug)]
pub(super) struct Orders {
    random: Random,
    next: u64,
}

impl Orders {
    pub(super) fn seeded(seed: u64) -> Self {
        Self { random: Random(seed), next: 100_000 }
    }

    pub(super) fn draw(&mut self) -> Order {
        let random = &mut self.random;
        // Some customers order more often, so some partitions get more than others.
        let customer = random.below(400).min(random.below(400));
        let item = usize::try_from(random.below(8)).ok().and_then(|at| ITEMS.get(at)).unwrap_or(&"teapot");
        let quantity = 1 + u32::try_from(random.below(4)).unwrap_or(0);
        let written = Written {
            order: self.next,
            item: (*item).to_owned(),
            quantity,
            cents: 490 + 10 * random.below(900),
        };
        self.next += 1;
        let mut value = serde_json::to_vec(&written).unwrap_or_default();
        if self.random.below(ONE_IS_CUT) == 0 {
            value.truncate(value.len() / 2);
        }
        Order { key: format!("customer-{customer:03}"), value }
    }

    /// `mean`, up to a tenth more or less.
    pub(super) fn vary(&mut self, mean: f64) -> f64 {
        let wobble = i32::try_from(self.random.below(201)).unwrap_or(100) - 100;
        mean * (1.0 + f64::from(wobble) / 1000.0)
    }
}

/// Why an order was not handled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum OrderError {
    /// A retry may succeed.
    Passing(&'static str),
    /// A retry cannot succeed.
    Poison(String),
}

/// Parses an order and charges for it: attempt 0 is the first.
pub(super) fn charge(value: &[u8], attempt: u32) -> Result<(), OrderError> {
    let order: Written = serde_json::from_slice(value)
        .map_err(|error| OrderError::Poison(format!("unreadable at column {}", error.column())))?;
    let dice = digest(b"payments", &order.order.to_be_bytes()) % 10_000;
    let away = match dice {
        dice if dice < AWAY_ALWAYS => u32::MAX,
        dice if dice < AWAY_ALWAYS + AWAY_TWICE => 2,
        dice if dice < AWAY_ALWAYS + AWAY_TWICE + AWAY_ONCE => 1,
        _ => 0,
    };
    if attempt < away { Err(OrderError::Passing("the payment service did not answer")) } else { Ok(()) }
}

/// A digest to identify records: 64 bits over key and value (FNV-1a).
pub(super) fn digest(key: &[u8], value: &[u8]) -> u64 {
    let bytes = key.iter().chain(&[0xff]).chain(value);
    bytes.fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

/// SplitMix64.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn most_orders_pass_some_need_a_retry_and_a_few_never_pass() {
        let mut orders = Orders::seeded(7);
        let (mut at_once, mut later, mut never) = (0, 0, 0);
        for _ in 0..20_000 {
            let order = orders.draw();
            match (0..=RETRIES).find(|attempt| charge(&order.value, *attempt).is_ok()) {
                Some(0) => at_once += 1,
                Some(_) => later += 1,
                None => never += 1,
            }
        }
        assert!(at_once > 19_000, "{at_once}");
        assert!((100..600).contains(&later), "{later}");
        assert!((5..50).contains(&never), "{never}");
    }

    #[test]
    fn half_an_order_is_poison_and_not_tried_again() {
        assert!(
            matches!(charge(br#"{"order":1,"it"#, 0), Err(OrderError::Poison(why)) if why == "unreadable at column 14")
        );
    }

    #[test]
    fn key_and_value_both_count_in_a_digest_and_so_does_where_one_ends() {
        assert_ne!(digest(b"ab", b"c"), digest(b"a", b"bc"));
        assert_eq!(digest(b"a", b"b"), digest(b"a", b"b"));
    }
}
