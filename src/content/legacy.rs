//! Which index blobs count in a repository without epochs (format page 07 §7.2).
//!
//! All `n` blobs do, less those that a *compaction log* (`m` blob) names as its inputs, provided that all of the
//! log's outputs are there. When a repository is upgraded to epochs, a poison blob keeps old clients away.

use std::collections::HashSet;

use serde::Deserialize;

use super::index::set::DamagedIndex;
use super::{ContentError, sealed};
use crate::blob::{BlobError, BlobMetadata, BlobRange, Storage, list_all};
use crate::format::Crypto;

/// Beginning of index blobs' names.
pub(super) const INDEX: &str = "n";
const LOG: &str = "m";
const POISON: &str = "n00000000000000000000000000000000-repository_unreadable_by_this_kopia_version_upgrade_required";

/// The part of a compaction log that matters.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CompactionLog {
    input_metadata: Vec<Named>,
    output_metadata: Vec<Named>,
}

#[derive(Deserialize)]
struct Named {
    id: String,
}

/// The index blobs that count, and the logs that cannot be read. Without a log its inputs count beside its
/// outputs, which say the same.
pub(super) async fn active(
    storage: &dyn Storage,
    crypto: &Crypto,
) -> Result<(Vec<BlobMetadata>, Vec<DamagedIndex>), ContentError> {
    // Logs first: an index blob that a log's outputs replace is deleted only after the log is there.
    let logs = list_all(storage, LOG).await?;
    let mut active = list_all(storage, INDEX).await?;
    if active.iter().any(|blob| blob.id.as_str() == POISON) {
        return Err(BlobError::Unsupported {
            what: "the old format of a repository that was upgraded meanwhile (reconnect to it)",
            storage: storage.location(),
        }
        .into());
    }
    let mut damaged = Vec::new();
    let mut replaced: HashSet<String> = HashSet::new();
    let present: HashSet<String> = active.iter().map(|blob| blob.id.to_string()).collect();
    for log in logs {
        let stored = match storage.get(&log.id, BlobRange::All).await {
            Ok(stored) => stored,
            Err(e) if e.is_not_found() => continue,
            Err(e) => return Err(e.into()),
        };
        let parsed = sealed::open(crypto, &log.id, &stored).and_then(|json| {
            serde_json::from_slice::<CompactionLog>(&json)
                .map_err(|e| ContentError::CorruptBlob { id: log.id.clone(), why: e.to_string() })
        });
        match parsed {
            Ok(parsed) if parsed.output_metadata.iter().all(|output| present.contains(&output.id)) => {
                replaced.extend(parsed.input_metadata.into_iter().map(|input| input.id));
            }
            Ok(_) => {}
            Err(ContentError::CorruptBlob { id, why }) => damaged.push(DamagedIndex { blob: id, why }),
            Err(e) => return Err(e),
        }
    }
    active.retain(|blob| !replaced.contains(blob.id.as_str()));
    Ok((active, damaged))
}
