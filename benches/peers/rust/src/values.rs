//! The values that every program sends: those of `offtake bench produce`.

const DIFFERENT: u64 = 1024;

const WORDS: [&str; 16] = [
    "placed", "paid", "packed", "shipped", "delivered", "returned", "lamp", "chair", "kettle", "notebook",
    "umbrella", "bicycle", "coffee", "tea", "scarf", "clock",
];

pub struct Values {
    text: Vec<u8>,
    size: usize,
}

impl Values {
    pub fn of_size(size: usize) -> Self {
        let mut text = Vec::new();
        let mut random = 1_u32;
        for nth in 1..=DIFFERENT as usize {
            while text.len() < nth * size {
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                text.extend_from_slice(WORDS[(random >> 24) as usize % WORDS.len()].as_bytes());
                text.push(b' ');
            }
            text.truncate(nth * size);
        }
        Self { text, size }
    }

    pub fn get(&self, nth: u64) -> &[u8] {
        let begin = (nth % DIFFERENT) as usize * self.size;
        &self.text[begin..begin + self.size]
    }
}
