//! Sends one real broker every request that we support, in every version, and saves its answers as seeds of the target
//! `response`:
//!
//! ```text
//! scripts/kafka-run 4.3.0 9092 &
//! cargo run --manifest-path fuzz/Cargo.toml --example capture -- 127.0.0.1:9092 kafka-4.3.0
//! ```
//!
//! The broker has to be a fresh one. Of versions whose answers look alike the first and the last are saved.

mod ask;

use std::{
    collections::BTreeSet,
    env, fs,
    io::{Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use offtake_fuzz::select;
use offtake_wire::{ApiKey, Request, Response, check_frame_len, decode_response, encode_request};

struct Broker {
    stream: TcpStream,
    next_id: i32,
    /// The folder, and the prefix of each file name.
    folder: PathBuf,
    name: String,
    saved: BTreeSet<(ApiKey, i16)>,
}

impl Broker {
    /// Sends a request. Saves the answer if it is the first in its version.
    fn ask(&mut self, version: i16, request: impl Into<Request>) -> Response {
        let (response, body) = self.call(version, request.into());
        let api = response.api_key();
        if self.saved.insert((api, version)) {
            let versions = api.versions();
            let alike =
                version > versions.min && api.response_shape(version) == api.response_shape(version - 1);
            if version == versions.max || !alike {
                self.save("", api, version, &body);
            }
        }
        response
    }

    /// Sends a request, and saves the answer under a name of its own.
    fn ask_named(&mut self, name: &str, version: i16, request: impl Into<Request>) -> Response {
        let (response, body) = self.call(version, request.into());
        self.save(&format!("-{name}"), response.api_key(), version, &body);
        response
    }

    fn call(&mut self, version: i16, request: Request) -> (Response, Bytes) {
        let (api, id) = (request.api_key(), self.next_id);
        self.next_id += 1;
        let frame = encode_request(id, Some("capture"), version, &request).expect("a sound request");
        self.stream.write_all(&frame).expect("the broker listens");
        let mut prefix = [0; 4];
        self.stream.read_exact(&mut prefix).expect("the broker answers");
        let mut frame = vec![0; check_frame_len(prefix, 1 << 20).expect("a frame")];
        self.stream.read_exact(&mut frame).expect("the broker answers");
        let frame = Bytes::from(frame);
        let read = decode_response(frame.clone(), api, version).expect("a sound response");
        assert_eq!((read.correlation_id, read.trailing), (id, 0), "{api} {version}");
        // The id, and the end of the tagged fields, which no broker sends.
        let header = if api.response_header_version(version) >= 1 { 5 } else { 4 };
        (read.response, frame.slice(header..))
    }

    fn save(&self, suffix: &str, api: ApiKey, version: i16, body: &[u8]) {
        let path = self.folder.join(format!("{}-{}-{version}{suffix}", self.name, api.name()));
        fs::write(path, [&select::prefix(api, version, false), body].concat())
            .expect("the corpus can be written");
    }
}

fn main() {
    let mut arguments = env::args().skip(1);
    let (Some(address), Some(name)) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: capture ADDRESS NAME");
        std::process::exit(2);
    };
    let stream = TcpStream::connect(&address).unwrap_or_else(|error| panic!("{address}: {error}"));
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/response");
    fs::create_dir_all(&folder).expect("the corpus can be written");
    let mut broker = Broker { stream, next_id: 1, folder, name, saved: BTreeSet::new() };
    ask::everything(&mut broker);
    for &api in ApiKey::ALL {
        for version in api.versions().min..=api.versions().max {
            // Kafka 4.3 has InitProducerId 6 (KIP-939), but disabled.
            let is_off = (api, version) == (ApiKey::InitProducerId, 6);
            assert!(is_off || broker.saved.contains(&(api, version)), "{api} {version} was not asked");
        }
    }
    println!("{} versions of {} APIs", broker.saved.len(), ApiKey::ALL.len());
}
