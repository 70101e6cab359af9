//! The values to send: words, as compressible as text. The programs of `benches/peers` send the same.

/// The number of different values, sent in turn, unless together they exceed the size below.
const DIFFERENT: usize = 1024;
const MOST_BYTES: usize = 16 << 20;

const WORDS: [&str; 16] = [
    "placed",
    "paid",
    "packed",
    "shipped",
    "delivered",
    "returned",
    "lamp",
    "chair",
    "kettle",
    "notebook",
    "umbrella",
    "bicycle",
    "coffee",
    "tea",
    "scarf",
    "clock",
];

/// Values of one size.
pub(super) struct Values {
    text: Vec<u8>,
    size: usize,
    different: u64,
}

impl Values {
    pub(super) fn of_size(size: usize) -> Self {
        let different = MOST_BYTES.checked_div(size).unwrap_or(1).clamp(1, DIFFERENT);
        let mut text = Vec::new();
        let mut random = 1_u32;
        for nth in 1..=different {
            let end = size.saturating_mul(nth);
            while text.len() < end {
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let word = WORDS.get((random >> 24) as usize % WORDS.len()).copied().unwrap_or_default();
                text.extend_from_slice(word.as_bytes());
                text.push(b' ');
            }
            text.truncate(end);
        }
        Self { text, size, different: different as u64 }
    }

    /// The value of the record with this number.
    pub(super) fn get(&self, nth: u64) -> &[u8] {
        let nth = nth.checked_rem(self.different).and_then(|nth| usize::try_from(nth).ok());
        let begin = nth.unwrap_or(0).saturating_mul(self.size);
        self.text.get(begin..begin.saturating_add(self.size)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_value_has_the_size_and_they_differ() {
        let values = Values::of_size(100);
        let all: std::collections::BTreeSet<_> = (0..1024).map(|nth| values.get(nth)).collect();
        assert!(all.iter().all(|value| value.len() == 100));
        assert_eq!(all.len(), 1024);
        assert_eq!(values.get(0), values.get(1024));
        assert_eq!(Values::of_size(0).get(7), b"");
        let large = Values::of_size(9 << 20);
        assert_eq!((large.get(3).len(), large.text.len()), (9 << 20, 9 << 20));
    }

    #[test]
    fn the_first_words_are_those_of_the_other_programs() {
        assert_eq!(Values::of_size(40).get(0), b"coffee scarf paid delivered coffee scarf");
    }
}
