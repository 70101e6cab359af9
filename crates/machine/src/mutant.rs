//! Bugs that Kafka clients have shipped, put back one at a time (FAILURES §2), to see that the simulation finds each.
//!
//! They exist only in builds with `RUSTFLAGS="--cfg offtake_mutants"`; anywhere else [`mutant!`](crate::mutant!) is
//! `false` to the compiler.

/// Whether this historic bug, by its number in the catalogue, is to be made.
#[macro_export]
macro_rules! mutant {
    ($number:literal) => {
        $crate::mutant::is($number)
    };
}

#[cfg(not(offtake_mutants))]
#[doc(hidden)]
pub const fn is(_: u8) -> bool {
    false
}

#[cfg(offtake_mutants)]
mod chosen {
    use std::sync::atomic::{AtomicU8, Ordering};

    static CHOSEN: AtomicU8 = AtomicU8::new(0);

    /// Makes this bug, and no other, in the whole process; 0 makes none.
    pub fn choose(number: u8) {
        CHOSEN.store(number, Ordering::Relaxed);
    }

    #[doc(hidden)]
    pub fn is(number: u8) -> bool {
        CHOSEN.load(Ordering::Relaxed) == number
    }
}

#[cfg(offtake_mutants)]
pub use chosen::{choose, is};
