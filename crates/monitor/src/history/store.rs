//! The storage of frames: numbered files in a folder, or memory.

use std::{
    collections::VecDeque,
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use super::{
    Damage, FramePosition, HistoryError,
    frame::{HEAD, Head},
};

/// The first bytes of a file.
const MAGIC: &[u8; 8] = b"offtlag1";
/// The number of files in the ring.
const FILES: u64 = 8;
/// The minimum size of a ring.
const LEAST: u64 = 64 << 10;

#[derive(Debug)]
pub(super) enum Store {
    Memory { frames: VecDeque<(u64, Vec<u8>)>, most: u64, size: u64, next: u64 },
    Folder(Folder),
}

#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    most: u64,
    /// The number and size of each file, the oldest first. The last one is open for writing if `open` is set.
    files: VecDeque<(u64, u64)>,
    open: Option<File>,
    /// The file that was read last.
    read: Option<(u64, File)>,
    /// Held while this process uses the folder.
    _lock: File,
}

/// The contents of a file.
pub(super) struct Scan {
    pub(super) places: Vec<FramePosition>,
    pub(super) damage: Option<String>,
}

impl Store {
    pub(super) fn memory(most: u64) -> Self {
        Self::Memory { frames: VecDeque::new(), most, size: 0, next: 0 }
    }

    /// Opens the folder. Also returns the numbers of the existing files.
    pub(super) fn open(path: &Path, most: u64) -> Result<(Self, Vec<u64>), HistoryError> {
        let failed = |error: io::Error| HistoryError::Io(path.display().to_string(), error);
        fs::create_dir_all(path).map_err(failed)?;
        let lock = lock(path)?;
        let mut files: Vec<(u64, u64)> = Vec::new();
        for entry in fs::read_dir(path).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if let Some(number) = entry.file_name().to_str().and_then(number) {
                files.push((number, entry.metadata().map_err(failed)?.len()));
            }
        }
        files.sort_unstable();
        let numbers = files.iter().map(|(number, _)| *number).collect();
        let folder = Folder {
            path: path.to_owned(),
            most: most.max(LEAST),
            files: files.into(),
            open: None,
            read: None,
            _lock: lock,
        };
        Ok((Self::Folder(folder), numbers))
    }

    /// Appends a frame. Returns its file and its position there.
    pub(super) fn append(&mut self, frame: &[u8]) -> io::Result<(u64, u64)> {
        match self {
            Self::Memory { frames, most, size, next } => {
                if frame.len() as u64 > *most {
                    return Err(too_large(frame, *most));
                }
                *next += 1;
                *size += frame.len() as u64;
                frames.push_back((*next, frame.to_owned()));
                Ok((*next, 0))
            }
            Self::Folder(folder) => folder.append(frame),
        }
    }

    /// Deletes the oldest files until the rest is small enough. Returns their numbers.
    pub(super) fn make_room(&mut self) -> Vec<u64> {
        let mut gone = Vec::new();
        match self {
            Self::Memory { frames, most, size, .. } => {
                while *size > *most {
                    let Some((number, frame)) = frames.pop_front() else { break };
                    *size -= frame.len() as u64;
                    gone.push(number);
                }
            }
            Self::Folder(folder) => {
                while folder.files.len() > 1 && folder.size() > folder.most {
                    let Some((number, _)) = folder.files.pop_front() else { break };
                    folder.read = None;
                    if let Err(error) = fs::remove_file(folder.file(number)) {
                        tracing::warn!("the history's oldest file cannot be deleted: {error}");
                    }
                    gone.push(number);
                }
            }
        }
        gone
    }

    pub(super) fn read(&mut self, file: u64, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        match self {
            Self::Memory { frames, .. } => {
                let begin = usize::try_from(offset).unwrap_or(usize::MAX);
                let found = frames.binary_search_by_key(&file, |(number, _)| *number).ok();
                let frame = found.and_then(|at| frames.get(at));
                let end = begin.saturating_add(length);
                let bytes = frame.and_then(|(_, frame)| frame.get(begin..end));
                bytes.map(<[u8]>::to_owned).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
            }
            Self::Folder(folder) => folder.read(file, offset, length),
        }
    }

    /// Reads the heads and directories of a file. Removes an incomplete frame at its end.
    pub(super) fn scan(&mut self, file: u64) -> io::Result<Scan> {
        match self {
            Self::Memory { .. } => Ok(Scan { places: Vec::new(), damage: None }),
            Self::Folder(folder) => folder.scan(file),
        }
    }

    /// Renames a damaged file to `history.damaged`, in place of an earlier one. Returns the message.
    pub(super) fn set_aside(&mut self, file: u64, why: &str) -> Damage {
        match self {
            Self::Memory { .. } => Damage(why.to_owned()),
            Self::Folder(folder) => folder.set_aside(file, why),
        }
    }
}

impl Folder {
    fn file(&self, number: u64) -> PathBuf {
        self.path.join(format!("{number:010}.lag"))
    }

    fn size(&self) -> u64 {
        self.files.iter().map(|(_, size)| size).sum()
    }

    fn append(&mut self, frame: &[u8]) -> io::Result<(u64, u64)> {
        let length = frame.len() as u64;
        if length + MAGIC.len() as u64 > self.most / 2 {
            return Err(too_large(frame, self.most));
        }
        let room = |size: u64| size >= MAGIC.len() as u64 && size + length <= self.most / FILES;
        if !self.files.back().is_some_and(|(_, size)| room(*size)) {
            self.begin_file()?;
        } else if self.open.is_none() {
            // This is the last file of an earlier process, or one with a failed write, whose bytes must not stay before the next
            // frame.
            let file = OpenOptions::new().append(true).open(self.file_of_last())?;
            file.set_len(self.files.back().map_or(0, |(_, size)| *size))?;
            self.open = Some(file);
        }
        let Some((number, size)) = self.files.back_mut() else { return Err(io::ErrorKind::NotFound.into()) };
        let Some(open) = &mut self.open else { return Err(io::ErrorKind::NotFound.into()) };
        match open.write_all(frame) {
            Ok(()) => {
                let offset = *size;
                *size += length;
                Ok((*number, offset))
            }
            Err(error) => {
                self.open = None;
                Err(error)
            }
        }
    }

    fn file_of_last(&self) -> PathBuf {
        self.file(self.files.back().map_or(0, |(number, _)| *number))
    }

    fn begin_file(&mut self) -> io::Result<()> {
        let number = self.files.back().map_or(1, |(number, _)| number + 1);
        // An existing file is the result of a failed start, for example on a full disk.
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(self.file(number))?;
        file.write_all(MAGIC)?;
        self.files.push_back((number, MAGIC.len() as u64));
        self.open = Some(file);
        Ok(())
    }

    fn read(&mut self, number: u64, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        if self.read.as_ref().is_none_or(|(open, _)| *open != number) {
            self.read = Some((number, File::open(self.file(number))?));
        }
        let Some((_, file)) = &mut self.read else { return Err(io::ErrorKind::NotFound.into()) };
        file.seek(SeekFrom::Start(offset))?;
        let mut bytes = vec![0; length];
        file.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn scan(&mut self, number: u64) -> io::Result<Scan> {
        let size = self.files.iter().find(|(file, _)| *file == number).map_or(0, |(_, size)| *size);
        let mut scan = Scan { places: Vec::new(), damage: None };
        if size < MAGIC.len() as u64 {
            return self.cut(number, 0).map(|()| scan); // it was just begun
        }
        if self.read(number, 0, MAGIC.len())? != MAGIC {
            scan.damage = Some("it does not begin with the header of a history file".to_owned());
            return Ok(scan);
        }
        let mut offset = MAGIC.len() as u64;
        while offset < size {
            let left = size - offset;
            let head = if left < HEAD as u64 { None } else { Head::read(&self.read(number, offset, HEAD)?) };
            let whole = head.map(|head| HEAD as u64 + u64::from(head.directory) + u64::from(head.blocks));
            let (Some(head), Some(whole)) = (head, whole.filter(|whole| *whole <= left)) else {
                // It is incomplete, as left by a killed process, or its length is damaged.
                self.cut(number, offset)?;
                break;
            };
            let length = usize::try_from(head.directory).unwrap_or(usize::MAX).saturating_add(HEAD - 4);
            if crc32c::crc32c(&self.read(number, offset + 4, length)?) != head.checksum {
                scan.damage = Some(format!("a checksum is wrong at byte {offset}"));
                break;
            }
            scan.places.push(FramePosition { at: head.at, file: number, offset, directory: head.directory });
            offset += whole;
        }
        Ok(scan)
    }

    /// Truncates a file to this size.
    fn cut(&mut self, number: u64, size: u64) -> io::Result<()> {
        OpenOptions::new().write(true).open(self.file(number))?.set_len(size)?;
        if let Some(file) = self.files.iter_mut().find(|(file, _)| *file == number) {
            file.1 = size;
        }
        Ok(())
    }

    fn set_aside(&mut self, number: u64, why: &str) -> Damage {
        self.read = None;
        self.files.retain(|(file, _)| *file != number);
        let path = self.file(number);
        let aside = self.path.join("history.damaged");
        let became = match fs::rename(&path, &aside) {
            Ok(()) => format!("it is now {}", aside.display()),
            Err(error) => format!("and cannot be set aside ({error})"),
        };
        Damage(format!(
            "the history's file {} is damaged ({why}): {became}, and a new one is begun",
            path.display()
        ))
    }
}

fn too_large(frame: &[u8], most: u64) -> io::Error {
    let (need, most) = (frame.len().div_ceil(1 << 10), most >> 10);
    io::Error::other(format!("a round takes {need} KiB, which {most} KiB in all are too small for"))
}

fn number(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".lag")?;
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

/// Locks a folder until the process ends, in whatever way.
fn lock(path: &Path) -> Result<File, HistoryError> {
    let failed = |error: io::Error| HistoryError::Io(path.display().to_string(), error);
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(path.join("lock"));
    let file = file.map_err(failed)?;
    #[cfg(unix)]
    if rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_err() {
        return Err(HistoryError::InUse(path.display().to_string()));
    }
    Ok(file)
}
