//! Ports that no other process uses, and that stay reserved while a broker is down.

use std::fs::File;
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, Ordering};

/// Below Linux's range for outgoing connections, so that a restarted broker finds its port free.
const FIRST: u16 = 18_000;
const COUNT: u16 = 14_000;

/// A port on loopback that no other test process gets while this one lives.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Processes begin at different ports, so that they rarely check each other's claims.
    let start = std::process::id().wrapping_mul(2654435761) >> 16;
    for _ in 0..COUNT {
        let step = u32::from(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = FIRST + u16::try_from((start + step) % u32::from(COUNT)).expect("less than COUNT");
        if claim(port) && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
    panic!("no port is free between {FIRST} and {}", FIRST + COUNT);
}

/// A claim is a file with the id of its process; the claim of a dead process is void.
fn claim(port: u16) -> bool {
    let folder = std::env::temp_dir().join("offtake-ports");
    std::fs::create_dir_all(&folder).expect("a folder for the claims");
    let path: PathBuf = folder.join(port.to_string());
    if let Ok(owner) = std::fs::read_to_string(&path) {
        if Path::new("/proc").join(owner.trim()).exists() {
            return false;
        }
        std::fs::remove_file(&path).ok();
    }
    File::create_new(&path).is_ok_and(|mut file| write!(file, "{}", std::process::id()).is_ok())
}
