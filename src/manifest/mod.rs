//! Manifests: small JSON documents with labels, found by them (format page 08).
//!
//! Snapshots and policies are manifests. A content with prefix `m` holds any number of entries, as gzipped JSON:
//!
//! ```json
//! {"entries":[{"id":"32 hex","labels":{"type":"snapshot",…},"modified":"…","data":{…}}]}
//! ```
//!
//! Nothing is changed in place: a new version is a new manifest and a *tombstone* (`deleted`) for the old one. So the
//! state is the union of all entries, of each id the latest, less the tombstones; it does not matter in which order
//! clients wrote. [`ManifestSet`] is that state, [`ManifestWriter`] collects changes for the next flush.

pub mod document;
mod load;
mod write;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
pub use load::{ManifestSet, UnreadableManifests};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
pub use write::ManifestWriter;

use crate::content::ContentError;

/// Labels by which a manifest is found.
pub type Labels = BTreeMap<String, String>;

/// The label every manifest has.
pub const TYPE_LABEL: &str = "type";

/// 16 random bytes, as text 32 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ManifestId([u8; 16]);

impl ManifestId {
    pub(crate) fn random() -> Result<Self, ManifestError> {
        let mut id = [0; 16];
        getrandom::fill(&mut id).map_err(|e| ManifestError::Internal(e.into()))?;
        Ok(Self(id))
    }
}

impl fmt::Display for ManifestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for ManifestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is not a manifest id")]
pub struct InvalidManifestId(pub String);

impl FromStr for ManifestId {
    type Err = InvalidManifestId;

    fn from_str(text: &str) -> Result<Self, InvalidManifestId> {
        let mut id = [0; 16];
        let lower_case = !text.bytes().any(|b| b.is_ascii_uppercase());
        match hex::decode_to_slice(text, &mut id) {
            Ok(()) if lower_case => Ok(Self(id)),
            _ => Err(InvalidManifestId(text.to_owned())),
        }
    }
}

impl Serialize for ManifestId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ManifestId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A manifest as it is found.
#[derive(Clone, Debug)]
pub struct Manifest {
    pub id: ManifestId,
    pub labels: Labels,
    pub modified: Timestamp,
    /// The document, as it was written.
    pub data: Box<RawValue>,
}

impl Manifest {
    pub fn kind(&self) -> &str {
        self.labels.get(TYPE_LABEL).map_or("", String::as_str)
    }

    /// Whether the manifest has all of these labels.
    pub fn has(&self, labels: &Labels) -> bool {
        labels.iter().all(|(key, value)| self.labels.get(key) == Some(value))
    }

    pub fn parse<T: for<'de> Deserialize<'de>>(&self) -> Result<T, ManifestError> {
        serde_json::from_str(self.data.get()).map_err(|source| ManifestError::Malformed {
            id: self.id,
            kind: self.kind().to_owned(),
            source,
        })
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    #[error("manifest {0} does not exist")]
    NotFound(ManifestId),
    #[error("{kind} manifest {id} cannot be understood")]
    Malformed { id: ManifestId, kind: String, source: serde_json::Error },
    #[error(transparent)]
    Content(#[from] ContentError),
    #[error("unexpected: {0}")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

fn internal(e: impl std::error::Error + Send + Sync + 'static) -> ManifestError {
    ManifestError::Internal(Box::new(e))
}
