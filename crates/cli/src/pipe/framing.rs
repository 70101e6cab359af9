//! The framing of records and answers: one per line, or each with a length before it.

use offtake::OwnedRecord;

use crate::{
    args::Framing,
    text::{json, row},
};

/// A longer answer is invalid, as nobody wants to store it.
pub(super) const LONGEST_ANSWER: usize = 1 << 20;
const LENGTH: usize = 4;

/// Appends a record in the handler's format; or returns why that is impossible.
pub(super) fn push_record(
    framing: Framing,
    out: &mut Vec<u8>,
    record: &OwnedRecord,
    attempt: u32,
) -> Result<(), String> {
    let mut json = Vec::new();
    let row = row::of_owned(record);
    match framing {
        Framing::Lines => {
            json::push_open_row(&mut json, row);
            json::push_number(&mut json, b",\"attempt\":", i64::from(attempt));
            json.extend_from_slice(b"}\n");
            out.append(&mut json);
        }
        Framing::Length => {
            let (key, value) = (row.key.unwrap_or_default(), row.value.unwrap_or_default());
            json::push_place(&mut json, &row);
            for (name, bytes) in
                [(b",\"key_length\":".as_slice(), row.key), (b",\"value_length\":".as_slice(), row.value)]
            {
                match bytes {
                    Some(bytes) => {
                        json::push_number(&mut json, name, i64::try_from(bytes.len()).unwrap_or(0))
                    }
                    None => json.extend_from_slice(&[name, b"null"].concat()),
                }
            }
            json::push_headers(&mut json, row.headers);
            json::push_number(&mut json, b",\"attempt\":", i64::from(attempt));
            json.push(b'}');
            let length = json.len().saturating_add(key.len()).saturating_add(value.len());
            let length =
                u32::try_from(length.saturating_add(LENGTH)).map_err(|_| "it is too long for a frame")?;
            out.extend_from_slice(&length.to_be_bytes());
            out.extend_from_slice(&u32::try_from(json.len()).unwrap_or(0).to_be_bytes());
            out.append(&mut json);
            out.extend_from_slice(key);
            out.extend_from_slice(value);
        }
    }
    Ok(())
}

/// Splits a handler's output into answers as it arrives.
#[derive(Debug)]
pub(super) struct Answers {
    framing: Framing,
    bytes: Vec<u8>,
    /// Bytes before this are done.
    begin: usize,
    /// There is no line end before this.
    searched: usize,
}

impl Answers {
    pub(super) fn new(framing: Framing) -> Self {
        Self { framing, bytes: Vec::new(), begin: 0, searched: 0 }
    }

    pub(super) fn receive(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.begin.min(self.bytes.len()));
        self.searched = self.searched.saturating_sub(self.begin);
        self.begin = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// The next complete answer; or why there will be none.
    pub(super) fn next(&mut self) -> Result<Option<&[u8]>, String> {
        let found = match self.framing {
            Framing::Lines => self.line(),
            Framing::Length => self.frame()?,
        };
        match found {
            Some((begin, end, next)) => {
                (self.begin, self.searched) = (next, next);
                Ok(self.bytes.get(begin..end))
            }
            None if self.bytes.len().saturating_sub(self.begin) > LONGEST_ANSWER => Err(too_long()),
            None => Ok(None),
        }
    }

    /// The start and end of the next line, and the start of the one after it.
    fn line(&mut self) -> Option<(usize, usize, usize)> {
        let rest = self.bytes.get(self.searched..).unwrap_or_default();
        let Some(at) = rest.iter().position(|byte| *byte == b'\n') else {
            self.searched = self.bytes.len();
            return None;
        };
        let end = self.searched.saturating_add(at);
        Some((self.begin, end, end.saturating_add(1)))
    }

    fn frame(&self) -> Result<Option<(usize, usize, usize)>, String> {
        let rest = self.bytes.get(self.begin..).unwrap_or_default();
        let Some((length, rest)) = rest.split_first_chunk::<LENGTH>() else { return Ok(None) };
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        if length > LONGEST_ANSWER {
            return Err(too_long());
        }
        let begin = self.begin.saturating_add(LENGTH);
        let end = begin.saturating_add(length);
        Ok((rest.len() >= length).then_some((begin, end, end)))
    }
}

fn too_long() -> String {
    format!("it wrote more than {LONGEST_ANSWER} bytes without a complete answer")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All answers in output that arrives in pieces of this size.
    fn answers(framing: Framing, bytes: &[u8], piece: usize) -> Result<Vec<Vec<u8>>, String> {
        let mut answers = Answers::new(framing);
        let mut found = Vec::new();
        for piece in bytes.chunks(piece) {
            answers.receive(piece);
            while let Some(answer) = answers.next()? {
                found.push(answer.to_vec());
            }
        }
        Ok(found)
    }

    #[test]
    fn answers_come_whole_in_whatever_pieces_they_come() {
        let lines = b"ok\n\nretry x\r\npoison";
        let mut frames = Vec::new();
        for answer in [b"ok".as_slice(), b"", b"retry\nx"] {
            frames.extend_from_slice(&u32::try_from(answer.len()).unwrap().to_be_bytes());
            frames.extend_from_slice(answer);
        }
        frames.extend_from_slice(&[0, 0, 0]);
        for piece in 1..=lines.len() {
            let found = answers(Framing::Lines, lines, piece).unwrap();
            assert_eq!(found, [b"ok".as_slice(), b"", b"retry x\r"], "the last one has no end yet: {piece}");
            let found = answers(Framing::Length, &frames, piece).unwrap();
            assert_eq!(found, [b"ok".as_slice(), b"", b"retry\nx"], "{piece}");
        }
    }

    #[test]
    fn an_answer_without_an_end_is_not_kept() {
        let endless = vec![b'x'; LONGEST_ANSWER + 1];
        assert!(answers(Framing::Lines, &endless, 4096).is_err());
        assert_eq!(answers(Framing::Lines, &endless[1..], 4096), Ok(Vec::new()));
        assert!(
            answers(Framing::Length, b"Traceback", 9).is_err(),
            "as a length this is more than a gigabyte"
        );
        assert!(answers(Framing::Length, &[0, 0x10, 0, 1], 4).is_err());
        assert_eq!(answers(Framing::Length, &[0, 0x10, 0, 0], 4), Ok(Vec::new()));
        let mut many = Answers::new(Framing::Lines);
        for _ in 0..1000 {
            many.receive(&b"ok\n".repeat(1000));
            while many.next().unwrap().is_some() {}
        }
        many.receive(b"");
        assert_eq!(many.bytes.len(), 0, "what was read is not kept");
    }
}
