//! Target `keystore`: a JKS file gives what is in it or is refused, with or without its password, and one that was mended after a
//! change is read like any other; PEM gives its sections, each once.

use sha1::{Digest, Sha1};

use crate::{
    jks::{Entries, JksError},
    meter, pem,
};

const PASSWORD: &str = "changeit";

/// A file.
pub fn run(file: &[u8]) {
    let size = file.len();
    // The entries are slices of the file. Each takes its bytes, and less than 64 to list it.
    let open = meter::within(64 * size + 4096, || read(file, None));
    match read(file, Some(PASSWORD)) {
        Ok(all) => assert_eq!(Ok(all), open, "the password makes no difference to what is read"),
        Err(JksError::Password) => {}
        Err(error) => assert_eq!(Err(error), open),
    }
    if let Some(mended) = mend(file) {
        assert_eq!(read(&mended, Some(PASSWORD)), read(&mended, None));
        assert_eq!(read(&mended, None), open, "nobody looks at the digest without a password");
    }
    let found = meter::within(8 * size + 4096, || pem::sections(file).map(|sections| sections.len()));
    if let Ok(found) = found {
        let begun = file.windows(5).filter(|window| window == b"BEGIN").count();
        assert!(found <= begun);
    }
}

/// How many certificates are trusted, and of each key its certificates and whether `keykey` reveals it.
fn read(file: &[u8], password: Option<&str>) -> Result<(usize, Vec<(usize, Option<usize>)>), JksError> {
    let entries = Entries::read(file, password)?;
    let keys =
        entries.keys.iter().map(|key| (key.chain.len(), key.reveal("keykey").ok().map(|key| key.len())));
    Ok((entries.trusted.len(), keys.collect()))
}

/// The file with the digest that its bytes have.
fn mend(file: &[u8]) -> Option<Vec<u8>> {
    let (signed, _) = file.split_last_chunk::<20>()?;
    let password: Vec<u8> = PASSWORD.encode_utf16().flat_map(u16::to_be_bytes).collect();
    let digest =
        Sha1::new().chain_update(password).chain_update(b"Mighty Aphrodite").chain_update(signed).finalize();
    Some([signed, &digest].concat())
}
