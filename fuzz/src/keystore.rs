//! Target `keystore`: a JKS file yields its contents or is refused, with or without its password, and one that was
//! modified and repaired is read like any other; PEM yields its sections, each once. So does PKCS12, within its budget,
//! and every part read from a certificate is contained in it.

use sha1::{Digest, Sha1};

use crate::{
    certificate::Certificate,
    jks::{Entries, JksError},
    meter,
    pbe::Budget,
    pem,
    pkcs12::{Contents, Pkcs12Error},
};

const PASSWORD: &str = "changeit";
/// The budget of hashing for one input.
const ROUNDS: u32 = 500;

/// Checks a file.
pub fn run(file: &[u8]) {
    let size = file.len();
    // The entries are slices of the file. Each takes its bytes, and less than 64 for the list.
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
    for password in ["", PASSWORD] {
        // scrypt takes as much as its budget allows.
        let read = meter::within(64 * size + (2 << 20), || {
            Contents::read(file, password, Budget { rounds: ROUNDS, memory: 1 << 20 })
        });
        let nothing = Contents::read(file, password, Budget { rounds: 0, memory: 0 });
        match (read, nothing) {
            (Ok(contents), _) => {
                let certificates = contents.certificates.iter().map(|stored| stored.der.len());
                assert!(contents.keys.iter().map(|key| key.len()).chain(certificates).sum::<usize>() <= size);
                contents.certificates.iter().for_each(|stored| certificate(&stored.der));
            }
            (Err(error), Err(other)) => assert!(error == other || other == Pkcs12Error::TakesTooLong),
            (Err(error), Ok(_)) => panic!("{error:?} with a budget, and not without"),
        }
    }
    certificate(file);
}

/// A truncated certificate is refused, and every compared or shown part was in it.
fn certificate(der: &[u8]) {
    let read = meter::within(64 * der.len() + (16 << 10), || Certificate::parse(der));
    let Some(read) = read else { return };
    for raw in [&read.raw_subject, &read.raw_issuer, &read.public_key] {
        assert!(der.windows(raw.len()).any(|part| part == raw));
    }
    assert!(read.hosts.len() <= 8);
    for text in read.hosts.iter().chain([&read.subject, &read.issuer]) {
        assert!(!text.chars().any(char::is_control) && text.chars().count() <= 10 * 200 + 1);
    }
    assert!(der.split_last().is_none_or(|(_, cut)| Certificate::parse(cut).is_none()));
}

/// The number of trusted certificates, and for each key its certificates and the length of the key that `keykey`
/// reveals, if it does.
fn read(file: &[u8], password: Option<&str>) -> Result<(usize, Vec<(usize, Option<usize>)>), JksError> {
    let entries = Entries::read(file, password)?;
    let keys =
        entries.keys.iter().map(|key| (key.chain.len(), key.reveal("keykey").ok().map(|key| key.len())));
    Ok((entries.trusted.len(), keys.collect()))
}

/// The file with a digest that matches its bytes.
fn mend(file: &[u8]) -> Option<Vec<u8>> {
    let (signed, _) = file.split_last_chunk::<20>()?;
    let password: Vec<u8> = PASSWORD.encode_utf16().flat_map(u16::to_be_bytes).collect();
    let digest =
        Sha1::new().chain_update(password).chain_update(b"Mighty Aphrodite").chain_update(signed).finalize();
    Some([signed, &digest].concat())
}
