//! Changing manifests: what is put and deleted is collected, and written as one content at the next flush.

use std::sync::{Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde_json::value::RawValue;

use super::document::{self, Version};
use super::{Labels, ManifestError, ManifestId, ManifestSet, internal};
use crate::content::id::Prefix;
use crate::content::{Scratch, Writer};
use crate::format::CompressionAlgorithm;
use crate::json;

/// Contents with manifests from which on they are compacted into one.
const COMPACT_FROM: usize = 16;
/// How long tombstones are kept: longer than an index blob may be missing, or a client at work with what it once saw.
const KEEP_TOMBSTONES: SignedDuration = SignedDuration::from_hours(30 * 24);

#[derive(Debug, Default)]
pub struct ManifestWriter {
    pending: Mutex<Vec<Version>>,
}

impl ManifestWriter {
    /// Adds a manifest. The labels must have a type.
    pub fn put(&self, labels: Labels, data: &impl Serialize, now: Timestamp) -> Result<ManifestId, ManifestError> {
        let id = ManifestId::random()?;
        let text = json::to_string(data).map_err(internal)?;
        let data = Some(RawValue::from_string(text).map_err(internal)?);
        self.push(Version { id, labels: Some(labels), modified: now, deleted: false, data });
        Ok(id)
    }

    /// Deletes a manifest. `modified` is when it was written: its tombstone is later, whatever the clock says.
    pub fn delete(&self, id: ManifestId, modified: Timestamp, now: Timestamp) {
        let later = modified.saturating_add(SignedDuration::from_nanos(1)).unwrap_or(now);
        self.push(Version { id, labels: None, modified: now.max(later), deleted: true, data: None });
    }

    fn push(&self, version: Version) {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        // A manifest that nobody has seen yet need not be written only to be deleted.
        let before = pending.len();
        if version.deleted {
            pending.retain(|p| p.id != version.id);
        }
        if pending.len() == before {
            pending.push(version);
        }
    }

    /// Hands everything over to the contents, to be flushed with them. May block.
    pub fn write(&self, contents: &Writer) -> Result<(), ManifestError> {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        if !pending.is_empty() {
            write_content(contents, &pending)?;
            pending.clear();
        }
        Ok(())
    }
}

impl ManifestSet {
    /// Puts all manifests into one content and deletes the others, when there are many; says whether there were. All
    /// of it becomes visible at once, with the next flush. May block.
    ///
    /// Recent tombstones stay, unlike kopia's: another client may be compacting what it saw before the deletion.
    pub fn compact(&self, contents: &Writer, now: Timestamp) -> Result<bool, ManifestError> {
        // What cannot be read now may be readable again some day, and then meet tombstones that must still be there.
        let is_damaged = !self.unreadable.is_empty() || !contents.reader().indexes().damaged.is_empty();
        if self.contents.len() < COMPACT_FROM || is_damaged {
            return Ok(false);
        }
        let alive = self.iter().map(|m| Version {
            id: m.id,
            labels: Some(m.labels.clone()),
            modified: m.modified,
            deleted: false,
            data: Some(m.data.clone()),
        });
        let recent = self.tombstones.iter().filter(|t| now.duration_since(t.modified) < KEEP_TOMBSTONES);
        let versions: Vec<Version> = alive.chain(recent.cloned()).collect();
        write_content(contents, &versions)?;
        for old in &self.contents {
            contents.delete(old)?;
        }
        Ok(true)
    }
}

fn write_content(contents: &Writer, versions: &[Version]) -> Result<(), ManifestError> {
    let content = document::encode(versions)?;
    contents.put(Prefix::MANIFEST, &content, Some(CompressionAlgorithm::ZstdFastest), &mut Scratch::default())?;
    Ok(())
}
