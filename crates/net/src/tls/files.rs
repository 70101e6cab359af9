//! Files that may change: read completely, up to a limit, and compared by their metadata.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use zeroize::Zeroizing;

use super::TlsConfigError;

/// The size limit; larger files are no certificates or keys.
const LARGEST: u64 = 16 << 20;
/// In a folder, this many files are checked for changes; beyond that, only added and removed files are noticed.
const MOST_IN_A_FOLDER: usize = 4_096;
/// A file that is written twice within the resolution of its timestamps looks unchanged: for this long after a change, another
/// may follow unnoticed.
const RESOLUTION: Duration = Duration::from_secs(2);

/// Reads a complete file.
pub(super) fn read(property: &'static str, path: &Path) -> Result<Zeroizing<Vec<u8>>, TlsConfigError> {
    let error = |why: String| TlsConfigError::unreadable(property, path, &why);
    let metadata = fs::metadata(path).map_err(|e| error(describe(&e)))?;
    if !metadata.is_file() {
        return Err(error("it is not a regular file".to_owned())); // reading a pipe could block for ever
    }
    if metadata.len() > LARGEST {
        return Err(error(format!("it has more than {LARGEST} bytes")));
    }
    let mut bytes =
        Zeroizing::new(Vec::with_capacity(usize::try_from(metadata.len() + 1).unwrap_or_default()));
    let file = File::open(path).map_err(|e| error(describe(&e)))?;
    file.take(LARGEST).read_to_end(&mut bytes).map_err(|e| error(describe(&e)))?;
    Ok(bytes)
}

fn describe(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such file".to_owned(),
        io::ErrorKind::PermissionDenied => "this process may not read it".to_owned(),
        _ => error.to_string(),
    }
}

/// The metadata of some files at one time.
#[derive(Debug)]
pub(super) struct Snapshot {
    files: Vec<Option<Stamp>>,
    taken: SystemTime,
}

/// Metadata that changes with a file. `None` if the system has no such metadata.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    length: u64,
    /// The inode and the time of its last status change, which even a copied modification time cannot hide.
    identity: Option<(u64, i64, i64)>,
}

impl Snapshot {
    /// Takes a snapshot of these files, which may not exist, and of the files in these folders.
    pub(super) fn take(paths: &[PathBuf], now: SystemTime) -> Self {
        let mut files = Vec::new();
        for path in paths {
            let metadata = fs::metadata(path).ok();
            files.push(metadata.as_ref().map(Stamp::of));
            if metadata.is_some_and(|metadata| metadata.is_dir()) {
                files.extend(in_folder(path));
            }
        }
        Self { files, taken: now }
    }

    /// Whether there is no sign that the files have changed since `earlier`.
    pub(super) fn looks_same(&self, earlier: &Self) -> bool {
        self.files == earlier.files
    }

    /// Whether the files have certainly not changed between `earlier` and this.
    pub(super) fn is_same(&self, earlier: &Self) -> bool {
        self.files == earlier.files
            && earlier.files.iter().flatten().all(|stamp| stamp.is_settled(earlier.taken))
    }
}

/// The stamps of the files in a folder, in an order that does not depend on the system.
fn in_folder(folder: &Path) -> impl Iterator<Item = Option<Stamp>> + use<> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<_> = entries.take(MOST_IN_A_FOLDER).map(|entry| entry.path()).collect();
    paths.sort_unstable();
    paths.into_iter().map(|path| fs::metadata(path).ok().as_ref().map(Stamp::of))
}

impl Stamp {
    fn of(metadata: &fs::Metadata) -> Self {
        #[cfg(unix)]
        let identity = {
            use std::os::unix::fs::MetadataExt;
            Some((metadata.ino(), metadata.ctime(), metadata.ctime_nsec()))
        };
        #[cfg(not(unix))]
        let identity = None;
        Self { modified: metadata.modified().ok(), length: metadata.len(), identity }
    }

    fn is_settled(&self, now: SystemTime) -> bool {
        let changed = self.identity.and_then(|(_, seconds, _)| {
            SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(u64::try_from(seconds).ok()?))
        });
        changed.or(self.modified).is_some_and(|changed| {
            let apart = now.duration_since(changed).unwrap_or_else(|future| future.duration());
            apart >= RESOLUTION
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_in_a_folder_that_changes_in_place_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("0a1b2c3d.0");
        fs::write(&file, "one").unwrap();
        let paths = [folder.path().to_owned(), folder.path().join("none")];
        let now = SystemTime::UNIX_EPOCH;
        let first = Snapshot::take(&paths, now);
        assert!(Snapshot::take(&paths, now).looks_same(&first));
        // The folder itself remains unchanged.
        fs::write(&file, "another").unwrap();
        assert!(!Snapshot::take(&paths, now).looks_same(&first));
    }
}
