//! Target `engine`: a broker that treats one answer after the other as the input says, and a whole consumer that reads
//! from it, in virtual time. The invariants are in `crates/consumer/tests/hostile/script.rs`, which plays the saved
//! inputs, too.

use crate::{meter, script};

/// For the consumer, the embedded cluster and the connections between them, each of which holds 64 KiB in each direction.
const MEMORY: usize = 48 << 20;

/// `[how the consumer reads, what the application does, step…]`
pub fn run(input: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime");
    meter::within(MEMORY, || runtime.block_on(script::play(input)));
}
