//! What a directory sums up to (format page 21 §1.3).

use jiff::Timestamp;
use serde::de::IntoDeserializer;
use serde::{Deserialize, Deserializer, Serialize};

use super::entry::{Entry, Kind, push};
use crate::json::write_lossy_string;

/// Failed entries that are listed one by one.
const LISTED_ERRORS: usize = 10;

/// Totals of a directory and everything below. None goes beyond 2^64 - 1, whatever a damaged directory says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Bytes of all files.
    #[serde(default)]
    pub size: u64,
    #[serde(default)]
    pub files: u64,
    #[serde(default)]
    pub symlinks: u64,
    /// Directories, this one included.
    #[serde(default)]
    pub dirs: u64,
    /// The newest time of any entry; of an empty directory its own.
    #[serde(default = "epoch")]
    pub max_time: Timestamp,
    #[serde(default, deserialize_with = "Incomplete::deserialize_option", skip_serializing_if = "Option::is_none")]
    pub incomplete: Option<Incomplete>,
    /// Entries that are missing because of an error.
    #[serde(default)]
    pub num_failed: u64,
    /// The same, where the policy says that the error does not matter.
    #[serde(default)]
    pub num_ignored_errors: u64,
    /// The first of them by path.
    #[serde(default)]
    pub errors: Vec<FailedEntry>,
}

fn epoch() -> Timestamp {
    Timestamp::UNIX_EPOCH
}

/// Why a snapshot does not hold everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Incomplete {
    /// Saved while the work went on.
    #[serde(rename = "checkpoint")]
    Checkpoint,
    #[serde(rename = "canceled")]
    Canceled,
    #[serde(rename = "limit reached")]
    LimitReached,
    /// A reason that this program does not know.
    #[serde(rename = "incomplete", other)]
    Other,
}

impl Incomplete {
    pub fn name(self) -> &'static str {
        match self {
            Self::Checkpoint => "checkpoint",
            Self::Canceled => "canceled",
            Self::LimitReached => "limit reached",
            Self::Other => "incomplete",
        }
    }

    /// The empty string means complete.
    pub(super) fn deserialize_option<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Self>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?.unwrap_or_default();
        if text.is_empty() {
            return Ok(None);
        }
        Self::deserialize(text.into_deserializer()).map(Some)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FailedEntry {
    /// Relative to the snapshot's root.
    pub path: String,
    pub error: String,
}

impl Summary {
    /// Of a directory with nothing in it.
    pub fn of_empty_directory(mtime: Timestamp) -> Self {
        Self {
            size: 0,
            files: 0,
            symlinks: 0,
            dirs: 1,
            max_time: mtime,
            incomplete: None,
            num_failed: 0,
            num_ignored_errors: 0,
            errors: Vec::new(),
        }
    }

    /// Of a root that is a file.
    pub fn of_file(file: &Entry) -> Self {
        Self { size: file.size, files: 1, dirs: 0, ..Self::of_empty_directory(file.mtime) }
    }

    /// Of a directory with these entries. What failed in the directory itself is added with [`fail`](Self::fail).
    pub fn of_directory(mtime: Timestamp, entries: &[Entry]) -> Self {
        let mut sum = Self::of_empty_directory(mtime);
        if !entries.is_empty() {
            sum.max_time = Timestamp::UNIX_EPOCH;
        }
        for entry in entries {
            sum.max_time = sum.max_time.max(entry.mtime);
            match (entry.kind, &entry.summary) {
                (Kind::Directory, Some(below)) => sum.add(below),
                (Kind::Directory, None) => sum.dirs = sum.dirs.saturating_add(1),
                (Kind::Symlink, _) => sum.symlinks = sum.symlinks.saturating_add(1),
                _ => {
                    sum.files = sum.files.saturating_add(1);
                    sum.size = sum.size.saturating_add(entry.size);
                }
            }
        }
        sum.list_errors();
        sum
    }

    fn add(&mut self, below: &Self) {
        self.size = self.size.saturating_add(below.size);
        self.files = self.files.saturating_add(below.files);
        self.symlinks = self.symlinks.saturating_add(below.symlinks);
        self.dirs = self.dirs.saturating_add(below.dirs);
        self.max_time = self.max_time.max(below.max_time);
        self.num_failed = self.num_failed.saturating_add(below.num_failed);
        self.num_ignored_errors = self.num_ignored_errors.saturating_add(below.num_ignored_errors);
        self.errors.extend(below.errors.iter().cloned());
        self.incomplete = self.incomplete.or(below.incomplete);
    }

    /// Adds entries that could not be stored.
    pub fn fail(&mut self, failed: impl IntoIterator<Item = (FailedEntry, bool)>) {
        for (entry, ignored) in failed {
            if ignored {
                self.num_ignored_errors = self.num_ignored_errors.saturating_add(1);
            } else {
                self.num_failed = self.num_failed.saturating_add(1);
            }
            self.errors.push(entry);
        }
        self.list_errors();
    }

    fn list_errors(&mut self) {
        self.errors.sort();
        self.errors.truncate(LISTED_ERRORS);
    }

    pub(super) fn write_json(&self, out: &mut Vec<u8>) {
        push(
            out,
            format_args!(
                "{{\"size\":{},\"files\":{},\"symlinks\":{},\"dirs\":{},\"maxTime\":\"{}\"",
                self.size, self.files, self.symlinks, self.dirs, self.max_time
            ),
        );
        if let Some(incomplete) = self.incomplete {
            push(out, format_args!(",\"incomplete\":\"{}\"", incomplete.name()));
        }
        push(out, format_args!(",\"numFailed\":{}", self.num_failed));
        if self.num_ignored_errors > 0 {
            push(out, format_args!(",\"numIgnoredErrors\":{}", self.num_ignored_errors));
        }
        if !self.errors.is_empty() {
            out.extend_from_slice(b",\"errors\":");
            let mut separator = b'[';
            for failed in &self.errors {
                out.push(separator);
                separator = b',';
                out.extend_from_slice(b"{\"path\":");
                write_lossy_string(failed.path.as_bytes(), out);
                out.extend_from_slice(b",\"error\":");
                write_lossy_string(failed.error.as_bytes(), out);
                out.push(b'}');
            }
            out.push(b']');
        }
        out.push(b'}');
    }
}
