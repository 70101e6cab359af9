//! [`Frames`]: reads frames from a socket.
//!
//! Each frame gets a buffer of its own, and is read straight into it: only the bytes that arrived in one read with the length are
//! copied, at most 16 KiB. A new buffer begins small and doubles as bytes arrive, so that a false length costs at most twice the
//! bytes sent (FAILURES A4, INPUT2). Up to the size of the largest frame that this connection has received, a length is trusted
//! at once, so that large responses are never moved. Large buffers are [reused](crate::frame_pool).
//!
//! Cancel-safe: dropping [`Frames::next`] loses nothing.

use std::{io, sync::Arc};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use offtake_wire::{FrameError, check_frame_len};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::{
    frame_pool::{LARGE, capacity_for},
    shared::{Shared, count},
};

/// The size of a read while no frame is begun.
const STAGING: usize = 16 * 1024;
/// The first allocation of a frame that claims to be larger.
const FIRST_ALLOCATION: usize = 64 * 1024;
/// The number of small frames in a row after which free buffers are released, because no large frame is expected soon.
const SMALL_FRAMES_BEFORE_RELEASE: u32 = 16;

/// Why no more frames can be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error("before a response")]
    Closed,
    #[error("in the middle of a response, after {have} of {length} bytes")]
    Cut { have: usize, length: usize },
    #[error("{}", describe_io_error(.0))]
    Io(io::Error),
    #[error("{0}")]
    Frame(#[from] FrameError),
    #[error("a response of {length} bytes, more than the limit of {cap}")]
    TooLarge {
        length: usize,
        cap: usize,
        /// The correlation id of its call.
        correlation: i32,
    },
    #[error("no memory for a response of {0} bytes")]
    Memory(usize),
}

/// An I/O error in plain words, without the system's error number where possible.
pub(crate) fn describe_io_error(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted => "connection reset".to_owned(),
        io::ErrorKind::BrokenPipe => "it was closed while we were writing".to_owned(),
        io::ErrorKind::TimedOut => "its host cannot be reached any more".to_owned(),
        _ => error.to_string(),
    }
}

/// Reads frames from one connection.
#[derive(Debug)]
pub(crate) struct Frames {
    shared: Arc<Shared>,
    staging: BytesMut,
    body: Option<Body>,
    cap: usize,
    /// The memory of the last frame.
    memory: usize,
    /// The size of the largest frame so far.
    largest: usize,
    /// The number of small frames since the last large one, or since free buffers were released.
    small: u32,
}

#[derive(Debug)]
struct Body {
    length: usize,
    bytes: Vec<u8>,
}

impl Frames {
    /// A reader of frames of up to `cap` bytes.
    pub(crate) fn new(shared: Arc<Shared>, cap: usize) -> Self {
        Self { shared, staging: BytesMut::new(), body: None, cap, memory: 0, largest: 0, small: 0 }
    }

    /// Sets the limit of frames to `cap` bytes.
    pub(crate) fn set_cap(&mut self, cap: usize) {
        self.cap = cap;
    }

    /// The memory of the last frame, in bytes; a buffer may be larger than the frame in it.
    pub(crate) fn memory(&self) -> usize {
        self.memory
    }

    /// The next frame, without its length.
    pub(crate) async fn next<R: AsyncRead + Unpin>(&mut self, from: &mut R) -> Result<Bytes, ReadError> {
        loop {
            if let Some(frame) = self.take()? {
                return Ok(frame);
            }
            let read = self.read(from).await.map_err(ReadError::Io)?;
            count(&self.shared.counters.bytes_in, read);
            if read == 0 {
                return Err(self.ended());
            }
        }
    }

    /// The frame, if it is complete. Otherwise there is room to read more.
    fn take(&mut self) -> Result<Option<Bytes>, ReadError> {
        let mut body = match self.body.take() {
            Some(body) => body,
            None => {
                let Some(prefix) = self.staging.first_chunk::<4>().copied() else {
                    self.staging.reserve(STAGING.saturating_sub(self.staging.len()));
                    return Ok(None);
                };
                let length = match check_frame_len(prefix, self.cap) {
                    Err(FrameError::TooLarge { length, cap }) => return self.too_large(length, cap),
                    length => length?,
                };
                self.staging.advance(prefix.len());
                let used = if length < LARGE { None } else { self.shared.frame_pool.take(length) };
                Body { length, bytes: used.unwrap_or_default() }
            }
        };
        body.make_room(self.largest)?;
        let staged = self.staging.len().min(body.missing());
        if let Some(bytes) = self.staging.get(..staged) {
            body.bytes.extend_from_slice(bytes); // fits: the first allocation is larger than the staging
            self.staging.advance(staged);
        }
        if body.missing() == 0 {
            self.finished(body.length);
            self.memory = body.bytes.capacity();
            return Ok(Some(self.shared.frame_pool.wrap(body.bytes)));
        }
        self.body = Some(body);
        Ok(None)
    }

    fn finished(&mut self, length: usize) {
        self.largest = self.largest.max(length);
        self.small = if length < LARGE { self.small.saturating_add(1) } else { 0 };
        if self.small >= SMALL_FRAMES_BEFORE_RELEASE {
            self.small = 0; // a buffer that is returned later is released the next time
            self.shared.frame_pool.clear();
        }
    }

    /// Handles a length that is too large. It is believed only together with a correlation id that identifies the call.
    fn too_large(&mut self, length: usize, cap: usize) -> Result<Option<Bytes>, ReadError> {
        let Some([.., a, b, c, d]) = self.staging.first_chunk::<8>() else {
            self.staging.reserve(STAGING.saturating_sub(self.staging.len()));
            return Ok(None);
        };
        Err(ReadError::TooLarge { length, cap, correlation: i32::from_be_bytes([*a, *b, *c, *d]) })
    }

    async fn read<R: AsyncRead + Unpin>(&mut self, from: &mut R) -> io::Result<usize> {
        match &mut self.body {
            // Never read beyond the frame: the following bytes must not share its allocation.
            Some(body) => {
                let missing = body.missing();
                from.read_buf(&mut (&mut body.bytes).limit(missing)).await
            }
            None => from.read_buf(&mut self.staging).await,
        }
    }

    fn ended(&self) -> ReadError {
        match &self.body {
            Some(body) => ReadError::Cut { have: body.bytes.len(), length: body.length },
            None => match self.staging.first_chunk().map(|prefix| check_frame_len(*prefix, self.cap)) {
                Some(Err(error)) => ReadError::Frame(error),
                Some(Ok(_)) | None => ReadError::Closed,
            },
        }
    }
}

impl Body {
    fn missing(&self) -> usize {
        self.length.saturating_sub(self.bytes.len())
    }

    /// Makes room for at least one byte more, unless the frame is complete.
    fn make_room(&mut self, believed: usize) -> Result<(), ReadError> {
        let have = self.bytes.len();
        if have < self.bytes.capacity() || self.missing() == 0 {
            return Ok(());
        }
        let step = have.saturating_mul(2).max(FIRST_ALLOCATION).max(believed);
        let size = if self.length <= step { capacity_for(self.length) } else { step };
        self.bytes.try_reserve_exact(size.saturating_sub(have)).map_err(|_| ReadError::Memory(self.length))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Config, Tcp, shared::Counters};

    fn frames(cap: usize) -> Frames {
        let shared = Shared {
            config: Config::default(),
            dial: Arc::new(Tcp::default()),
            counters: Counters::default(),
            frame_pool: Arc::default(),
        };
        Frames::new(Arc::new(shared), cap)
    }

    fn frame(length: usize) -> Vec<u8> {
        let mut bytes = u32::try_from(length).unwrap().to_be_bytes().to_vec();
        bytes.extend((0..length).map(|at| (at % 251) as u8));
        bytes
    }

    #[tokio::test]
    async fn frames_arrive_whole_wherever_the_stream_was_split() {
        let lengths = [4, 5, 100, STAGING - 4, STAGING, STAGING + 1, FIRST_ALLOCATION + 1, 300_000, 4];
        let stream: Vec<u8> = lengths.iter().flat_map(|length| frame(*length)).collect();
        for chunk in [1, 3, 7, 1000, STAGING, 65_537, usize::MAX] {
            let mut script = tokio_test_reader(&stream, chunk);
            let mut frames = frames(1 << 20);
            for length in lengths {
                let got = frames.next(&mut script).await.unwrap();
                assert_eq!(got, frame(length)[4..], "length {length}, chunk {chunk}");
            }
            assert!(matches!(frames.next(&mut script).await, Err(ReadError::Closed)));
        }
    }

    #[tokio::test]
    async fn a4_memory_follows_the_bytes_received_and_not_the_length_claimed() {
        let (mut near, far) = tokio::io::duplex(1 << 20);
        let mut stream = 90_000_000u32.to_be_bytes().to_vec();
        stream.extend(vec![7; 100_000]);
        tokio::io::AsyncWriteExt::write_all(&mut near, &stream).await.unwrap();
        drop(near);
        let mut frames = frames(100 << 20);
        let mut far = far;
        let end = frames.next(&mut far).await.unwrap_err();
        assert!(matches!(end, ReadError::Cut { have: 100_000, length: 90_000_000 }), "{end}");
        assert!(frames.body.unwrap().bytes.capacity() <= 200_000);
    }

    #[tokio::test]
    async fn a_length_once_made_good_is_believed_and_the_frame_is_never_moved() {
        let stream = [frame(500_000), frame(500_000)].concat();
        let mut script = tokio_test_reader(&stream, 100_000);
        let mut frames = frames(1 << 20);
        frames.next(&mut script).await.unwrap();
        frames.staging.reserve(STAGING);
        while frames.body.is_none() {
            frames.read(&mut script).await.unwrap();
            assert!(frames.take().unwrap().is_none());
        }
        assert_eq!(frames.body.unwrap().bytes.capacity(), capacity_for(500_000));
    }

    #[tokio::test]
    async fn p1_a_frame_is_told_with_the_whole_of_its_buffer() {
        let mut frames = frames(1 << 20);
        let stream = [frame(100), frame(300_000)].concat();
        let mut script = tokio_test_reader(&stream, 100_000);
        assert_eq!((frames.next(&mut script).await.unwrap().len(), frames.memory()), (100, 100));
        drop(frames.shared.frame_pool.wrap(vec![0; 1_000_000]));
        assert_eq!((frames.next(&mut script).await.unwrap().len(), frames.memory()), (300_000, 1_000_000));
    }

    #[tokio::test]
    async fn memory_that_comes_back_in_a_lull_goes_with_the_next() {
        let lull: Vec<u8> = (0..SMALL_FRAMES_BEFORE_RELEASE).flat_map(|_| frame(4)).collect();
        let mut frames = frames(1 << 20);
        for late in [true, false] {
            let mut stream = &lull[..];
            for _ in 0..SMALL_FRAMES_BEFORE_RELEASE {
                frames.next(&mut stream).await.unwrap();
            }
            if late {
                drop(frames.shared.frame_pool.wrap(vec![0; LARGE]));
            }
        }
        assert!(frames.shared.frame_pool.take(LARGE).is_none());
    }

    #[tokio::test]
    async fn lengths_that_cannot_be_end_the_stream() {
        for (stream, says) in [
            (&[0xff, 0xff, 0xff, 0xff][..], "-1"),
            (&[0, 0, 0, 0], "too short"),
            (&[0, 0, 0, 3, 1, 1, 1], "too short"),
            (&[0x7f, 0xff, 0xff, 0xff], "2147483647"),
            (b"HTTP/1.1 400 Bad Request", "HTTP"),
            (&[0x15, 3, 3, 0, 2, 2, 40], "TLS"),
        ] {
            let mut stream = stream;
            let end = frames(1 << 20).next(&mut stream).await.unwrap_err();
            assert!(end.to_string().contains(says), "{end}");
        }
    }

    /// Returns at most `chunk` bytes per read.
    fn tokio_test_reader(stream: &[u8], chunk: usize) -> impl AsyncRead + Unpin + use<> {
        struct Chunks(Vec<u8>, usize, usize);
        impl AsyncRead for Chunks {
            fn poll_read(
                mut self: std::pin::Pin<&mut Self>,
                _: &mut std::task::Context<'_>,
                buf: &mut tokio::io::ReadBuf<'_>,
            ) -> std::task::Poll<io::Result<()>> {
                let n = self.2.min(buf.remaining()).min(self.0.len() - self.1);
                buf.put_slice(&self.0[self.1..self.1 + n]);
                self.1 += n;
                std::task::Poll::Ready(Ok(()))
            }
        }
        Chunks(stream.to_vec(), 0, chunk)
    }
}
