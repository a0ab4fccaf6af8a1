//! Which index blobs count in a repository without epochs (format page 07 §7.2).
//!
//! All `n` blobs do, less those that a *compaction log* (`m` blob) names as its inputs, provided that all of the
//! log's outputs are there. When a repository is upgraded to epochs, a poison blob keeps old clients away.

use std::collections::HashMap;

use serde::Deserialize;

use super::index::set::DamagedIndex;
use super::{ContentError, load, sealed};
use crate::blob::{BlobError, BlobMetadata, BlobRange, Storage, list_all};
use crate::format::Crypto;

/// Beginning of index blobs' names.
pub(super) const INDEX: &str = "n";
const LOG: &str = "m";
const POISON: &str = "n00000000000000000000000000000000-repository_unreadable_by_this_kopia_version_upgrade_required";

/// The part of a compaction log that matters.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CompactionLog {
    pub input_metadata: Vec<Named>,
    pub output_metadata: Vec<Named>,
}

/// A blob that a log speaks of.
#[derive(Debug, Deserialize)]
pub struct Named {
    pub id: String,
}

/// All index blobs of a repository.
pub(super) struct Listing {
    pub(super) blobs: Vec<BlobMetadata>,
    /// By name, what took the place of those that do not count any more.
    pub(super) replaced: HashMap<String, Vec<BlobMetadata>>,
    /// Logs that cannot be read. Without a log its inputs count beside its outputs, which say the same.
    pub(super) damaged: Vec<DamagedIndex>,
}

impl Listing {
    /// The index blobs that count.
    pub(super) fn active(self) -> Vec<BlobMetadata> {
        let mut active = self.blobs;
        active.retain(|blob| !self.replaced.contains_key(blob.id.as_str()));
        active
    }
}

pub(super) async fn list(storage: &dyn Storage, crypto: &Crypto) -> Result<Listing, ContentError> {
    // Logs first: an index blob that a log's outputs replace is deleted only after the log is there.
    let logs = list_all(storage, LOG).await?;
    let blobs = list_all(storage, INDEX).await?;
    if blobs.iter().any(|blob| blob.id.as_str() == POISON) {
        return Err(BlobError::Unsupported {
            what: "the old format of a repository that was upgraded meanwhile (reconnect to it)",
            storage: storage.location(),
        }
        .into());
    }
    let mut damaged = Vec::new();
    let mut replaced = HashMap::new();
    let present: HashMap<&str, &BlobMetadata> = blobs.iter().map(|blob| (blob.id.as_str(), blob)).collect();
    for log in logs {
        let stored = match storage.get(&log.id, BlobRange::All).await {
            Err(e) if e.is_not_found() => continue,
            other => other.map_err(load::damaged),
        };
        let parsed = stored.and_then(|stored| sealed::open(crypto, &log.id, &stored)).and_then(|json| {
            serde_json::from_slice::<CompactionLog>(&json)
                .map_err(|e| ContentError::CorruptBlob { id: log.id.clone(), why: e.to_string() })
        });
        match parsed {
            Ok(parsed) => {
                let outputs: Option<Vec<BlobMetadata>> =
                    parsed.output_metadata.iter().map(|output| present.get(&*output.id).copied().cloned()).collect();
                if let Some(outputs) = outputs {
                    replaced.extend(parsed.input_metadata.into_iter().map(|input| (input.id, outputs.clone())));
                }
            }
            Err(ContentError::CorruptBlob { id, why }) => damaged.push(DamagedIndex { blob: id, why }),
            Err(e) => return Err(e),
        }
    }
    Ok(Listing { blobs, replaced, damaged })
}
