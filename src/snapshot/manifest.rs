//! Snapshot manifests: what was backed up, when, and where its tree begins (format page 21 §3).

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::SnapshotError;
use super::entry::{Entry, parse_time};
use super::summary::Incomplete;
use crate::manifest::{Labels, Manifest, ManifestId, ManifestSet, TYPE_LABEL};
use crate::policy::SourceInfo;

/// Value of the label `type`.
pub const KIND: &str = "snapshot";
/// What the keys of tags begin with.
pub const TAG_PREFIX: &str = "tag:";
/// Bytes of a description.
pub const LONGEST_DESCRIPTION: usize = 1024;

/// A snapshot as it is stored. Keys in kopia's order; `id` is empty there and filled in when it is loaded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Snapshot {
    #[serde(with = "id_or_empty")]
    pub id: Option<ManifestId>,
    pub source: SourceInfo,
    #[serde(default)]
    pub description: String,
    #[serde(with = "time")]
    pub start_time: Timestamp,
    #[serde(with = "time")]
    pub end_time: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stats: Option<Stats>,
    #[serde(default, deserialize_with = "Incomplete::deserialize_option", skip_serializing_if = "Option::is_none")]
    pub incomplete: Option<Incomplete>,
    pub root_entry: Option<Entry>,
    /// Keys begin with [`TAG_PREFIX`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// Sorted, each once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pins: Vec<String>,
}

/// Counts of one run (format page 21 §3.1); the root entry's summary has the true totals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Stats {
    /// Bytes of files that were read, and of those that were known.
    pub total_size: u64,
    pub excluded_total_size: u64,
    /// Files read; parts of a large file count each.
    pub file_count: u64,
    /// Files and links that were known from an earlier snapshot.
    pub cached_files: u64,
    pub non_cached_files: u64,
    pub dir_count: u64,
    pub excluded_file_count: u64,
    pub excluded_dir_count: u64,
    pub ignored_error_count: u64,
    pub error_count: u64,
}

impl Snapshot {
    /// The labels under which it is saved.
    pub fn labels(&self) -> Labels {
        let mut labels = labels_of_source(&self.source);
        labels.extend(self.tags.clone());
        labels
    }

    pub fn parse(manifest: &Manifest) -> Result<Self, SnapshotError> {
        let mut snapshot: Self = manifest.parse()?;
        snapshot.id = Some(manifest.id);
        Ok(snapshot)
    }

    pub fn is_complete(&self) -> bool {
        self.incomplete.is_none()
    }
}

/// Labels that all snapshots of a source have.
pub fn labels_of_source(source: &SourceInfo) -> Labels {
    [(TYPE_LABEL, KIND), ("hostname", &source.host), ("username", &source.user_name), ("path", &source.path)]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
}

/// All snapshots whose manifests have these labels, oldest first, and the errors of those that cannot be understood.
pub fn find(manifests: &ManifestSet, labels: &Labels) -> (Vec<Snapshot>, Vec<SnapshotError>) {
    let (mut found, mut errors) = (Vec::new(), Vec::new());
    for manifest in manifests.find(labels).filter(|m| m.kind() == KIND) {
        match Snapshot::parse(manifest) {
            Ok(snapshot) => found.push(snapshot),
            Err(e) => errors.push(e),
        }
    }
    found.sort_by_key(|snapshot: &Snapshot| (snapshot.start_time, snapshot.id));
    (found, errors)
}

/// The snapshots that a new one of the same source is compared with: the newest complete one, and every incomplete
/// one since. They are given oldest first.
pub fn bases(snapshots: &[Snapshot]) -> &[Snapshot] {
    let newest_complete = snapshots.iter().rposition(Snapshot::is_complete);
    snapshots.get(newest_complete.unwrap_or(0)..).unwrap_or_default()
}

mod id_or_empty {
    use serde::{Deserialize, Deserializer, Serializer};

    use super::ManifestId;

    pub(super) fn serialize<S: Serializer>(id: &Option<ManifestId>, serializer: S) -> Result<S::Ok, S::Error> {
        match id {
            Some(id) => serializer.collect_str(id),
            None => serializer.serialize_str(""),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<ManifestId>, D::Error> {
        let text = String::deserialize(deserializer)?;
        Ok(text.parse().ok())
    }
}

mod time {
    use serde::{Deserialize, Deserializer, Serializer};

    use super::{Timestamp, parse_time};

    pub(super) fn serialize<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(time)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_time(&text).ok_or_else(|| serde::de::Error::custom(format!("{text:?} is not a time")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Samples have the labels in comment lines, and the document indented.
    #[test]
    fn snapshots_are_written_as_kopia_writes_them() {
        for name in ["manifest-snapshot.json", "manifest-snapshot-tags-pins.json", "manifest-checkpoint.json"] {
            let path = format!("{}/tests/data/samples/{name}", env!("CARGO_MANIFEST_DIR"));
            let text = std::fs::read_to_string(path).unwrap();
            let (comments, document) = text.split_at(text.find('{').unwrap());
            let snapshot: Snapshot = serde_json::from_str(document).unwrap();
            let written = crate::json::to_string(&snapshot).unwrap();
            assert_eq!(String::from_utf8(crate::json::indent(written.as_bytes())).unwrap(), document, "{name}");
            let labels: Vec<String> = snapshot.labels().iter().map(|(key, value)| format!("{key}:{value}")).collect();
            let mut expected: Vec<&str> = comments.lines().filter_map(|line| line.strip_prefix("// label ")).collect();
            expected.sort_unstable();
            assert_eq!(labels, expected, "{name}");
        }
    }
}
