//! Targets `response` and `request`: a decoded message encodes to the same, in every API and version, and takes no more
//! memory than its size accounts for.

use std::fmt::Debug;

use bytes::Bytes;
use offtake_wire::{ApiKey, DecodeError, EncodeError, Reader, Request, Response, Writer};

use crate::{meter, select};

/// Either side of a call.
trait Body: Sized + PartialEq + Debug {
    fn read(api: ApiKey, r: &mut Reader, version: i16) -> Result<Self, DecodeError>;
    fn write(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError>;
}

macro_rules! body {
    ($($side:ident),*) => {$(
        impl Body for $side {
            fn read(api: ApiKey, r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
                Self::decode(api, r, version)
            }
            fn write(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
                self.encode(w, version)
            }
        }
    )*};
}
body!(Request, Response);

/// `[api, version, body…]`
pub fn response(input: &[u8]) {
    check::<Response>(input);
}

/// `[api, version, body…]`
pub fn request(input: &[u8]) {
    check::<Request>(input);
}

/// Array elements may take sixteen times the message and a little more (the reader's guarantee), strings once the
/// message; byte fields nothing, but the message gets a reference count.
pub(crate) fn memory_for(size: usize) -> usize {
    size * 17 + (64 << 10) + 1024
}

fn check<M: Body>(input: &[u8]) {
    let Some((api, version, body)) = select::api(input) else { return };
    let body = Bytes::copy_from_slice(body);
    let limit = memory_for(body.len());
    let Ok(message) = meter::within(limit, || M::read(api, &mut Reader::new(body), version)) else { return };

    let written = write(&message, version);
    let mut r = Reader::new(written.clone());
    let again = M::read(api, &mut r, version).expect("what we write we read");
    assert_eq!(r.remaining(), 0, "{api} {version}: all of it");
    #[expect(clippy::eq_op, reason = "a message with a NaN in it is not equal to itself")]
    if message == message {
        assert_eq!(again, message, "{api} {version}");
    }
    assert_eq!(write(&again, version), written, "{api} {version}: one message, one form");
}

fn write<M: Body>(message: &M, version: i16) -> Bytes {
    let mut w = Writer::new();
    message.write(&mut w, version).expect("what was read can be written");
    w.into_bytes()
}
