//! The output buffers of codecs, and their reuse.
//!
//! A buffer is handed out as `Bytes`, and a second handle to it is kept. When that is the only handle left, nobody can see the
//! buffer any more, and it is used again; it was initialised once and stays so. Output much smaller than its buffer is copied out
//! instead, so that a detached record keeps no more than a few times its batch alive.

use bytes::{Bytes, BytesMut};

use super::Fault;

/// The default limit of the buffers kept, in bytes, and of the largest of them.
const KEPT: usize = 4 << 20;
const LARGEST_KEPT: usize = 1 << 20;
const SMALLEST: usize = 64 << 10;
/// A buffer is handed out only if at least one part in this many is output.
const DENSITY: usize = 4;

pub(super) struct Buffers {
    kept: Vec<Bytes>,
    most: usize,
}

impl Default for Buffers {
    fn default() -> Self {
        Self::with_buffer_limit(KEPT)
    }
}

impl Buffers {
    /// Keeps at most this many bytes.
    pub(super) fn with_buffer_limit(most: usize) -> Self {
        Self { kept: Vec::new(), most }
    }

    fn get(&mut self, size: usize) -> BytesMut {
        let fits = |buffer: &Bytes| buffer.len() >= size && buffer.is_unique();
        // The newest is most likely in the processor's cache.
        if let Some(index) = self.kept.iter().rposition(fits)
            && let Ok(buffer) = self.kept.swap_remove(index).try_into_mut()
        {
            return buffer;
        }
        BytesMut::zeroed(size)
    }

    fn keep(&mut self, buffer: &Bytes) {
        if buffer.len() > LARGEST_KEPT {
            return;
        }
        self.kept.push(buffer.clone());
        while self.kept.iter().map(Bytes::len).sum::<usize>() > self.most {
            self.kept.remove(0);
        }
    }
}

/// The output so far, and room for more up to the limit.
pub(super) struct Output<'a> {
    buffers: &'a mut Buffers,
    /// Initialised completely; the first `filled` bytes are output.
    buffer: BytesMut,
    filled: usize,
    limit: usize,
}

impl<'a> Output<'a> {
    /// `compressed` is the size of the input, which determines the first allocation.
    pub(super) fn new(buffers: &'a mut Buffers, limit: usize, compressed: usize) -> Self {
        let size = compressed.saturating_mul(2).clamp(SMALLEST, LARGEST_KEPT).max(compressed);
        let size = size.checked_next_power_of_two().unwrap_or(size);
        let buffer = buffers.get(size.min(limit.saturating_add(1)));
        Self { buffers, buffer, filled: 0, limit }
    }

    /// The number of bytes written so far.
    pub(super) fn filled(&self) -> usize {
        self.filled
    }

    /// The number of bytes that may still be written.
    pub(super) fn allowed(&self) -> usize {
        self.limit.saturating_sub(self.filled)
    }

    /// Room for at least `least` bytes more, unless the limit forbids it. There is always room for one byte beyond the limit, so
    /// that a stream that ends exactly at the limit differs from a longer one.
    pub(super) fn room(&mut self, least: usize) -> Result<&mut [u8], Fault> {
        let (_, room) = self.split(least)?;
        Ok(room)
    }

    /// The written bytes, and the room after them.
    pub(super) fn split(&mut self, least: usize) -> Result<(&[u8], &mut [u8]), Fault> {
        let most = self.limit.saturating_add(1);
        let need = self.filled.checked_add(least).filter(|need| *need <= most).ok_or(Fault::TooLarge)?;
        if need > self.buffer.len() {
            let size = self.buffer.len().saturating_mul(2).max(need).min(most);
            self.buffer.resize(size, 0);
        }
        let (written, room) = self.buffer.split_at_mut_checked(self.filled).ok_or(Fault::TooLarge)?;
        Ok((written, room))
    }

    /// Notes that `count` bytes of the room were written.
    pub(super) fn advance(&mut self, count: usize) -> Result<(), Fault> {
        self.filled = self.filled.saturating_add(count).min(self.buffer.len());
        if self.filled > self.limit { Err(Fault::TooLarge) } else { Ok(()) }
    }

    pub(super) fn written(&self, from: usize) -> &[u8] {
        self.buffer.get(from..self.filled).unwrap_or_default()
    }

    pub(super) fn finish(self) -> Bytes {
        let whole = self.buffer.freeze();
        self.buffers.keep(&whole);
        if self.filled.saturating_mul(DENSITY) < whole.len() {
            return Bytes::copy_from_slice(whole.get(..self.filled).unwrap_or_default());
        }
        whole.slice(..self.filled.min(whole.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(buffers: &mut Buffers, data: &[u8]) -> Bytes {
        let mut output = Output::new(buffers, 4 << 20, data.len() / 3);
        let room = output.room(data.len()).expect("below the limit");
        room[..data.len()].copy_from_slice(data);
        output.advance(data.len()).expect("below the limit");
        output.finish()
    }

    #[test]
    fn a_buffer_is_used_again_when_nobody_holds_it() {
        let mut buffers = Buffers::default();
        let first = write(&mut buffers, &[1; 50_000]);
        let address = first.as_ptr();
        let second = write(&mut buffers, &[2; 50_000]);
        assert_eq!(buffers.kept.len(), 2, "the first is still held");
        assert!(first.iter().all(|byte| *byte == 1) && second.iter().all(|byte| *byte == 2));
        drop(first);
        assert_eq!(write(&mut buffers, &[3; 50_000]).as_ptr(), address);
        assert_eq!(buffers.kept.len(), 2);
    }

    #[test]
    fn small_output_does_not_keep_a_large_buffer() {
        let mut buffers = Buffers::default();
        let small = write(&mut buffers, b"small");
        assert_eq!(&small[..], b"small");
        assert!(small.is_unique(), "a copy of its own");
        assert!(buffers.kept.iter().all(Bytes::is_unique), "the buffer is free again");
    }

    #[test]
    fn kept_buffers_are_bounded() {
        let mut buffers = Buffers::default();
        let held: Vec<_> = (0..100).map(|_| write(&mut buffers, &[5; 50_000])).collect();
        let kept = |buffers: &Buffers| buffers.kept.iter().map(Bytes::len).sum::<usize>();
        assert_eq!(kept(&buffers), KEPT);
        drop(held);
        assert_eq!(write(&mut buffers, &vec![7; LARGEST_KEPT * 2]).len(), LARGEST_KEPT * 2);
        assert!(buffers.kept.iter().all(|buffer| buffer.len() <= LARGEST_KEPT));
    }
}
