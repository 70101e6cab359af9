//! Counts on the wire allocate nothing. The test is alone in its process, so that nothing else changes the measured peak.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends")]

use bytes::Bytes;
use offtake_wire::{ApiKey, DecodeError, Kind, Reader, Response};

/// The peak address space of the process, in KiB.
fn peak() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmPeak:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Twenty bytes that claim two billion elements, for every response that begins in this way; then the same for each array of a
/// response that can be reached with zeros before it.
#[test]
fn input10_twenty_bytes_that_claim_billions_of_elements_reserve_no_memory() {
    let before = peak();
    let mut refused = 0;
    for &api in ApiKey::ALL {
        for version in api.versions().min..=api.versions().max {
            for zeros in 0..64 {
                for count in [[0x7f, 0xff, 0xff, 0xff, 0xff], [0xfe, 0xff, 0xff, 0xff, 0x0f]] {
                    let mut body = vec![0; zeros];
                    body.extend(count);
                    body.extend([0; 16]);
                    let mut r = Reader::new(Bytes::from(body));
                    let read = Response::decode(api, &mut r, version);
                    refused += usize::from(matches!(read, Err(DecodeError::Count { .. })));
                }
            }
        }
    }
    let grown = peak() - before;
    let arrays = ApiKey::ALL.iter().filter(|api| {
        let shape = api.response_shape(api.versions().max);
        shape.fields.iter().any(|field| matches!(field.kind, Kind::Array { .. }))
    });
    assert!(refused > 10 * arrays.count(), "the counts were reached: {refused}");
    assert!(grown < 8 << 10, "{grown} KiB for frames of a hundred bytes");
}
