//! How the first bytes of an input choose what is decoded. They are the API's own key and version, so that saved inputs
//! keep their meaning when APIs are added.

use offtake_wire::ApiKey;

/// In the first byte of an input of the target `differential`: a request; without it, a response. The targets
/// `response` and `request` ignore it, so that their corpora serve `differential` too.
pub const REQUEST: u8 = 0x80;

/// Splits an input into the choice and the bytes to decode. A key or version that no API has is mapped to an existing
/// one, so that few inputs are wasted.
pub fn api(input: &[u8]) -> Option<(ApiKey, i16, &[u8])> {
    let (&[key, version], body) = input.split_first_chunk::<2>()?;
    let key = key & !REQUEST;
    let api = ApiKey::from_code(key.into()).or_else(|| {
        let all = ApiKey::ALL;
        all.get(usize::from(key) % all.len()).copied()
    })?;
    let versions = api.versions();
    let version = i16::from(version);
    let version = if versions.contains(version) {
        version
    } else {
        versions.min + version % (versions.max - versions.min + 1)
    };
    Some((api, version, body))
}

/// The beginning of an input that chooses `api` at `version`.
pub fn prefix(api: ApiKey, version: i16, request: bool) -> [u8; 2] {
    let key = u8::try_from(api.code()).unwrap_or(0) | if request { REQUEST } else { 0 };
    [key, u8::try_from(version).unwrap_or(0)]
}
