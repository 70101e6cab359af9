//! Round trips of every message, in every version and both directions, with samples created without the tables, and with damaged
//! variants of them.
use bytes::Bytes;
use offtake_wire::{
    ApiKey, DecodeError, Decoded, ProduceRequest, Reader, Request, RequestHeader, Response, Shape, Uuid,
    Writer, check_frame_len, decode_request, decode_response, encode_request, encode_request_parts,
    encode_response,
    frame::correlation_id,
    messages::produce::{PartitionProduceData, TopicProduceData},
};
use proptest::prelude::*;

use crate::sample::{Dice, sample};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    Request,
    Response,
}

/// A message to decode and encode.
#[derive(Clone, Copy, Debug)]
struct Subject {
    api: ApiKey,
    version: i16,
    way: Way,
}

#[derive(Debug, PartialEq)]
enum Any {
    Request(Request),
    Response(Response),
}

impl Subject {
    fn all() -> Vec<Self> {
        let versions = |api: ApiKey| api.versions().min..=api.versions().max;
        let both = |(api, version)| [Way::Request, Way::Response].map(|way| Self { api, version, way });
        ApiKey::ALL.iter().flat_map(|&api| versions(api).map(move |v| (api, v))).flat_map(both).collect()
    }

    fn shape(self) -> Shape {
        match self.way {
            Way::Request => self.api.request_shape(self.version),
            Way::Response => self.api.response_shape(self.version),
        }
    }

    fn decode(self, bytes: &[u8]) -> Result<Any, DecodeError> {
        let mut r = Reader::new(Bytes::copy_from_slice(bytes));
        let any = match self.way {
            Way::Request => Request::decode(self.api, &mut r, self.version).map(Any::Request)?,
            Way::Response => Response::decode(self.api, &mut r, self.version).map(Any::Response)?,
        };
        r.finish()?;
        Ok(any)
    }

    fn encode(self, any: &Any) -> Vec<u8> {
        let mut w = Writer::new();
        match any {
            Any::Request(request) => request.encode(&mut w, self.version).unwrap(),
            Any::Response(response) => response.encode(&mut w, self.version).unwrap(),
        }
        w.into_bytes().to_vec()
    }
}

#[test]
fn a_message_with_something_in_every_field_comes_back_byte_for_byte() {
    let subjects = Subject::all();
    assert_eq!(subjects.len(), 2 * 190, "both directions of all that the schemas have");
    for subject in subjects {
        let bytes = sample(&subject.shape(), &mut Dice(7), true);
        let message = subject.decode(&bytes).unwrap_or_else(|error| panic!("{subject:?}: {error}"));
        assert_eq!(subject.encode(&message), bytes, "{subject:?}");
    }
}

#[test]
fn a_message_cut_short_anywhere_is_refused() {
    for subject in Subject::all() {
        let bytes = sample(&subject.shape(), &mut Dice(11), true);
        for end in 0..bytes.len() {
            let cut = subject.decode(&bytes[..end]);
            assert!(cut.is_err(), "{subject:?} read from {end} of {} bytes", bytes.len());
        }
    }
}

#[test]
fn a_version_outside_the_table_is_refused_both_ways() {
    for &api in ApiKey::ALL {
        let versions = api.versions();
        for version in [versions.min - 1, versions.max + 1, -1, i16::MIN, i16::MAX] {
            for way in [Way::Request, Way::Response] {
                let read = Subject { api, version, way }.decode(&[0; 64]);
                assert!(
                    matches!(read, Err(DecodeError::Version { version: v, .. }) if v == version),
                    "{read:?}"
                );
                let latest = Subject { api, version: versions.max, way };
                let written = match latest.decode(&sample(&latest.shape(), &mut Dice(3), true)).unwrap() {
                    Any::Request(request) => request.encode(&mut Writer::new(), version),
                    Any::Response(response) => response.encode(&mut Writer::new(), version),
                };
                assert!(written.is_err(), "{api} {version}");
            }
        }
    }
}

#[test]
fn a_frame_comes_back_with_its_header() {
    for subject in Subject::all() {
        let Subject { api, version, .. } = subject;
        let body = sample(&subject.shape(), &mut Dice(13), true);
        let headers =
            if api.is_flexible(version) { (1, usize::from(api != ApiKey::ApiVersions)) } else { (0, 0) };
        match subject.decode(&body).unwrap() {
            Any::Request(request) => {
                let frame = encode_request(-2, Some("me"), version, &request).unwrap();
                let parts = encode_request_parts(-2, Some("me"), version, &request).unwrap();
                assert_eq!(parts.concat(), frame, "{subject:?}");
                assert_eq!(unframed(&frame).len(), 2 + 2 + 4 + 4 + headers.0 + body.len(), "{subject:?}");
                let (header, read) = decode_request(unframed(&frame)).unwrap();
                let client_id = Some("me".to_owned());
                let sent = RequestHeader {
                    api_key: api.code(),
                    api_version: version,
                    correlation_id: -2,
                    client_id,
                };
                assert_eq!((header, read), (sent, request));
            }
            Any::Response(response) => {
                let frame = encode_response(-2, version, &response).unwrap();
                assert_eq!(unframed(&frame).len(), 4 + headers.1 + body.len(), "{subject:?}");
                assert_eq!(correlation_id(&unframed(&frame)), Ok(-2));
                let read = decode_response(unframed(&frame), api, version).unwrap();
                assert_eq!(read, Decoded { correlation_id: -2, response, trailing: 0 });
            }
        }
    }
}

/// The bytes after the length, which must be correct.
fn unframed(frame: &Bytes) -> Bytes {
    let length = check_frame_len(*frame.first_chunk().unwrap(), frame.len()).unwrap();
    assert_eq!(length, frame.len() - 4);
    frame.slice(4..)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_message_comes_back_byte_for_byte(which in any::<prop::sample::Index>(), seed: u64) {
        let subject = *which.get(&Subject::all());
        let bytes = sample(&subject.shape(), &mut Dice(seed), false);
        let message = subject.decode(&bytes).map_err(|error| TestCaseError::fail(format!("{subject:?}: {error}")))?;
        prop_assert_eq!(subject.encode(&message), bytes);
    }

    /// Damaged bytes either fail to decode, or decode to a message that survives a round trip.
    #[test]
    fn a_damaged_message_is_refused_or_stable(
        which in any::<prop::sample::Index>(),
        seed: u64,
        edits in prop::collection::vec((any::<prop::sample::Index>(), damage()), 1..6),
    ) {
        let subject = *which.get(&Subject::all());
        let mut bytes = sample(&subject.shape(), &mut Dice(seed), false);
        for (at, edit) in edits {
            if !bytes.is_empty() {
                edit.apply(&mut bytes, at);
            }
        }
        stable(subject, &bytes)?;
    }

    #[test]
    fn noise_is_refused_or_stable(
        which in any::<prop::sample::Index>(),
        bytes in prop::collection::vec(prop_oneof![Just(0), Just(1), Just(0xff), any::<u8>()], 0..200),
    ) {
        stable(*which.get(&Subject::all()), &bytes)?;
    }
}

fn stable(subject: Subject, bytes: &[u8]) -> Result<(), TestCaseError> {
    if let Ok(message) = subject.decode(bytes) {
        let again = subject.decode(&subject.encode(&message));
        prop_assert_eq!(again.as_ref(), Ok(&message), "{:?}", subject);
    }
    Ok(())
}

#[derive(Clone, Debug)]
enum Damage {
    Set(u8),
    Flip(u8),
    Insert(Vec<u8>),
    Remove,
    Cut,
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        prop_oneof![Just(0), Just(0x7f), Just(0x80), Just(0xff), any::<u8>()].prop_map(Damage::Set),
        (0..8_u8).prop_map(|bit| Damage::Flip(1 << bit)),
        prop::collection::vec(any::<u8>(), 1..6).prop_map(Damage::Insert),
        Just(Damage::Remove),
        Just(Damage::Cut),
    ]
}

impl Damage {
    fn apply(self, bytes: &mut Vec<u8>, at: prop::sample::Index) {
        let at = at.index(bytes.len());
        match self {
            Self::Set(byte) => bytes[at] = byte,
            Self::Flip(bit) => bytes[at] ^= bit,
            Self::Insert(more) => drop(bytes.splice(at..at, more)),
            Self::Remove => drop(bytes.remove(at)),
            Self::Cut => bytes.truncate(at),
        }
    }
}

#[test]
fn records_are_written_from_where_they_lie() {
    let records = Bytes::from(vec![7; 100_000]);
    let data = vec![PartitionProduceData { index: 3, records: Some(records.clone()) }; 2];
    let topic = TopicProduceData { name: "orders".to_owned(), topic_id: Uuid::ZERO, partition_data: data };
    let request = ProduceRequest { transactional_id: None, acks: -1, timeout_ms: 1, topic_data: vec![topic] };
    // Flexible versions have tagged fields after the last records.
    for (version, count) in [(8, 4), (12, 5)] {
        let parts = encode_request_parts(1, None, version, &request.clone().into()).unwrap();
        let places: Vec<_> = parts.iter().map(|part| part.as_ptr()).collect();
        assert_eq!((parts.len(), places[1], places[3]), (count, records.as_ptr(), records.as_ptr()));
        assert_eq!(parts.concat(), encode_request(1, None, version, &request.clone().into()).unwrap());
    }
}
