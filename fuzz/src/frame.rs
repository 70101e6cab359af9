//! Target `frame`: a stream yields the same frames wherever it is cut and however often the reader is dropped in
//! between; the content of a frame can be encoded back.

use std::{
    io,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use offtake_wire::{
    ApiKey, check_frame_len, decode_request, decode_response, encode_request, encode_response,
    frame::correlation_id,
};
use tokio::io::{AsyncRead, ReadBuf};

use crate::{frames::Frames, meter, select, shared::Shared};

/// `[cap, pieces, api, version, stream…]`
pub fn run(input: &[u8]) {
    let Some((&[cap, pieces], rest)) = input.split_first_chunk() else { return };
    let Some((api, version, stream)) = select::api(rest) else { return };
    let cap = [100 << 20, 64, 1000, 1 << 20][usize::from(cap % 4)];
    let size = stream.len();
    // Twice the received bytes, the staging, a first step, and the list of frames.
    let (frames, end) = meter::within(24 * size + (96 << 10), || read(stream, cap, None));
    assert_eq!(read(stream, cap, Some(pieces)), (frames.clone(), end), "the pieces make no difference");

    let mut rest = stream;
    for frame in frames {
        let (prefix, after) = rest.split_first_chunk::<4>().expect("it came from there");
        assert_eq!(check_frame_len(*prefix, cap), Ok(frame.len()));
        let (body, after) = after.split_at(frame.len());
        assert_eq!(body, frame);
        rest = after;
        response(&frame, api, version);
        request(&frame);
    }
}

/// All frames, and how the stream ended. In pieces: after each the reader may be dropped and called again.
fn read(stream: &[u8], cap: usize, pieces: Option<u8>) -> (Vec<Bytes>, String) {
    let mut from = Pieces { left: stream, dice: pieces.map(u64::from), waits: false };
    let mut frames = Frames::new(Arc::new(Shared::default()), cap);
    let mut all = Vec::new();
    loop {
        let next = pin!(frames.next(&mut from));
        match next.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(frame)) => all.push(frame),
            Poll::Ready(Err(end)) => return (all, end.to_string()),
            Poll::Pending => {}
        }
    }
}

/// A socket on which a stream arrives: at once, or in pieces with waiting between them.
struct Pieces<'a> {
    left: &'a [u8],
    dice: Option<u64>,
    waits: bool,
}

impl AsyncRead for Pieces<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut size = self.left.len();
        if let Some(dice) = &mut self.dice {
            *dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            size = 1 + (*dice >> 33) as usize % [1, 3, 16, 500][(*dice >> 60) as usize % 4];
            self.waits = !self.waits;
            if self.waits {
                return Poll::Pending;
            }
        }
        let (piece, left) = self.left.split_at(size.min(self.left.len()).min(buf.remaining()));
        buf.put_slice(piece);
        self.left = left;
        Poll::Ready(Ok(()))
    }
}

fn response(frame: &Bytes, api: ApiKey, version: i16) {
    let id = correlation_id(frame).expect("no frame is shorter");
    let Ok(read) = decode_response(frame.clone(), api, version) else { return };
    assert_eq!(read.correlation_id, id);
    let written = encode_response(id, version, &read.response).expect("what was read can be written");
    let again = decode_response(body(written), api, version).expect("what we write we read");
    assert_eq!((again.correlation_id, again.response, again.trailing), (id, read.response, 0));
}

fn request(frame: &Bytes) {
    let Ok((header, request)) = decode_request(frame.clone()) else { return };
    let (id, version) = (header.correlation_id, header.api_version);
    let written = encode_request(id, header.client_id.as_deref(), version, &request)
        .expect("what was read can be written");
    assert_eq!(decode_request(body(written)), Ok((header, request)));
}

/// A frame of ours without its length, which must be right.
fn body(frame: Bytes) -> Bytes {
    let prefix = *frame.first_chunk().expect("every frame has a length");
    assert_eq!(check_frame_len(prefix, usize::MAX), Ok(frame.len() - 4));
    frame.slice(4..)
}
