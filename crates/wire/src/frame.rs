//! Frames: the length, the header, and the body.
//!
//! A client checks the length with [`check_frame_len`] before it allocates memory, finds the call of a response by
//! [`correlation_id`], and decodes the response with [`decode_response`]. A broker uses [`decode_request`] and
//! [`encode_response`].

use bytes::Bytes;

use crate::{Api, ApiKey, DecodeError, EncodeError, Message, Reader, Request, Response, Writer};

/// Every frame begins with at least a correlation id.
const SMALLEST_FRAME: usize = 4;

/// Why a frame is refused because of its length.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Below zero.
    #[error("frame length {length}: this is not a Kafka broker, or the connection is out of step")]
    Negative {
        /// The length on the wire.
        length: i32,
    },
    /// Too short for the header that every frame has.
    #[error("a frame of {length} bytes is too short for a header")]
    TooShort {
        /// The length on the wire.
        length: usize,
    },
    /// Larger than allowed.
    #[error("a frame of {length} bytes, {cap} at most")]
    TooLarge {
        /// The length on the wire.
        length: usize,
        /// The largest length allowed.
        cap: usize,
    },
    /// The bytes belong to an HTTP response.
    #[error(
        "the other end speaks HTTP, not Kafka: is this the port of a REST proxy, a registry or a web server?"
    )]
    Http,
    /// The bytes are a TLS alert: the peer expects TLS.
    #[error("the other end speaks TLS, and we do not: this listener needs security.protocol SSL or SASL_SSL")]
    TlsAlert,
    /// The bytes begin a TLS handshake.
    #[error(
        "the other end begins a TLS handshake, as a client would: this is not the plain-text port of a broker"
    )]
    TlsHandshake,
}

/// The length of the frame with the prefix `prefix`, at most `cap`.
///
/// A length beyond the limit is often no length at all. The first bytes of an HTTP response and of a TLS record are recognised,
/// and the error says so.
pub fn check_frame_len(prefix: [u8; 4], cap: usize) -> Result<usize, FrameError> {
    let signed = i32::from_be_bytes(prefix);
    let length = usize::try_from(signed).map_err(|_| FrameError::Negative { length: signed })?;
    if length > cap {
        return Err(match prefix {
            [b'H', b'T', b'T', b'P'] => FrameError::Http,
            [0x15, 0x03, ..] => FrameError::TlsAlert,
            [0x16, 0x03, ..] => FrameError::TlsHandshake,
            _ => FrameError::TooLarge { length, cap },
        });
    }
    if length < SMALLEST_FRAME {
        return Err(FrameError::TooShort { length });
    }
    Ok(length)
}

/// The header of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHeader {
    /// The API key as a number, because a client may use an API that is unknown here.
    pub api_key: i16,
    /// The version of the body.
    pub api_version: i16,
    /// The correlation id, which the response repeats.
    pub correlation_id: i32,
    /// `client.id`.
    pub client_id: Option<String>,
}

impl RequestHeader {
    /// Decodes header version 1 or 2, as required by the API and its version. For an unknown API, decodes the part common to all
    /// versions.
    pub fn decode(r: &mut Reader) -> Result<Self, DecodeError> {
        r.set_context("RequestHeader");
        let (api_key, api_version, correlation_id) = (r.i16()?, r.i16()?, r.i32()?);
        let client_id = r.nullable_string(false)?; // never compact
        if ApiKey::from_code(api_key).is_some_and(|api| api.is_flexible(api_version)) {
            r.tagged_fields(|_, _| Ok(false))?;
        }
        Ok(Self { api_key, api_version, correlation_id, client_id })
    }
}

/// Encodes a complete frame, including the length, of any request.
pub fn encode_request(
    correlation_id: i32,
    client_id: Option<&str>,
    version: i16,
    request: &Request,
) -> Result<Bytes, EncodeError> {
    let w = Writer::frame();
    request_frame(w, request.api_key(), correlation_id, client_id, version, |w| request.encode(w, version))?
        .into_frame()
}

/// The same as consecutive parts, without copying large byte fields.
pub fn encode_request_parts(
    correlation_id: i32,
    client_id: Option<&str>,
    version: i16,
    request: &Request,
) -> Result<Vec<Bytes>, EncodeError> {
    let w = Writer::frame_in_parts();
    request_frame(w, request.api_key(), correlation_id, client_id, version, |w| request.encode(w, version))?
        .into_frame_parts()
}

/// Encodes a complete frame, including the length, of a request of a known type.
pub fn encode_api_request<R: Api>(
    correlation_id: i32,
    client_id: Option<&str>,
    version: i16,
    request: &R,
) -> Result<Bytes, EncodeError> {
    let w = Writer::frame();
    request_frame(w, R::KEY, correlation_id, client_id, version, |w| request.encode(w, version))?.into_frame()
}

/// The correlation id at the beginning of every response.
pub fn correlation_id(frame: &Bytes) -> Result<i32, DecodeError> {
    let mut r = Reader::new(frame.clone());
    r.set_context("ResponseHeader.correlation_id");
    r.i32()
}

/// A decoded response.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded<T> {
    /// The correlation id of its request.
    pub correlation_id: i32,
    /// The response.
    pub response: T,
    /// The number of bytes left after the known fields: 0 for every broker that follows the protocol.
    pub trailing: usize,
}

/// Decodes a frame, without its length, that answers a request of `api` at `version`.
pub fn decode_response(frame: Bytes, api: ApiKey, version: i16) -> Result<Decoded<Response>, DecodeError> {
    response_frame(frame, api, version, |r| Response::decode(api, r, version))
}

/// Like [`decode_response`], for a request of a known type.
pub fn decode_api_response<R: Api>(frame: Bytes, version: i16) -> Result<Decoded<R::Response>, DecodeError> {
    response_frame(frame, R::KEY, version, |r| R::Response::decode(r, version))
}

/// Decodes a frame, without its length, sent by a client. No bytes may be left over.
pub fn decode_request(frame: Bytes) -> Result<(RequestHeader, Request), DecodeError> {
    let mut r = Reader::new(frame);
    let header = RequestHeader::decode(&mut r)?;
    let api = ApiKey::from_code(header.api_key).ok_or(DecodeError::ApiKey(header.api_key))?;
    let request = Request::decode(api, &mut r, header.api_version)?;
    r.finish()?;
    Ok((header, request))
}

/// Encodes a complete frame, including the length, of the response to a request at `version`.
pub fn encode_response(correlation_id: i32, version: i16, response: &Response) -> Result<Bytes, EncodeError> {
    let mut w = Writer::frame();
    w.i32(correlation_id);
    if response.api_key().response_header_version(version) >= 1 {
        w.tagged_fields(&[])?;
    }
    response.encode(&mut w, version)?;
    w.into_frame()
}

fn request_frame(
    mut w: Writer,
    api: ApiKey,
    correlation_id: i32,
    client_id: Option<&str>,
    version: i16,
    body: impl FnOnce(&mut Writer) -> Result<(), EncodeError>,
) -> Result<Writer, EncodeError> {
    w.set_context("RequestHeader.client_id");
    w.i16(api.code());
    w.i16(version);
    w.i32(correlation_id);
    w.nullable_string(false, client_id)?; // never compact
    if api.request_header_version(version) >= 2 {
        w.tagged_fields(&[])?;
    }
    body(&mut w)?;
    Ok(w)
}

fn response_frame<T>(
    frame: Bytes,
    api: ApiKey,
    version: i16,
    body: impl FnOnce(&mut Reader) -> Result<T, DecodeError>,
) -> Result<Decoded<T>, DecodeError> {
    let mut r = Reader::new(frame);
    r.set_context("ResponseHeader");
    let correlation_id = r.i32()?;
    if api.response_header_version(version) >= 1 {
        r.tagged_fields(|_, _| Ok(false))?;
    }
    let response = body(&mut r)?;
    Ok(Decoded { correlation_id, response, trailing: r.remaining() })
}
