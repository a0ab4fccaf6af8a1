//! What one content with manifests holds: gzipped JSON (format page 08).

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{Labels, ManifestError, ManifestId, internal};
use crate::format::gunzip;
use crate::json;

/// A version of a manifest, or its tombstone. Keys in kopia's order.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Version {
    pub id: ManifestId,
    /// Null in a tombstone.
    pub labels: Option<Labels>,
    pub modified: Timestamp,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deleted: bool,
    /// Null in a tombstone.
    #[serde(default)]
    pub data: Option<Box<RawValue>>,
}

#[derive(Serialize, Deserialize)]
struct Document<V> {
    entries: V,
}

/// Bytes of JSON that any content may have, and bytes for each of its own that a larger one may have.
const LONGEST: usize = 64 << 20;
const LARGEST_FACTOR: usize = 256;

/// The versions that a content holds.
pub fn decode(content: &[u8]) -> Result<Vec<Version>, String> {
    let limit = LONGEST.max(content.len().saturating_mul(LARGEST_FACTOR));
    parse(&gunzip(content, limit).map_err(|e| e.to_string())?)
}

/// The versions in a content's JSON.
pub fn parse(json: &[u8]) -> Result<Vec<Version>, String> {
    let document: Document<Vec<Version>> = serde_json::from_slice(json).map_err(|e| e.to_string())?;
    Ok(document.entries)
}

/// The content that holds these versions.
pub fn encode(versions: &[Version]) -> Result<Vec<u8>, ManifestError> {
    let mut text = json::to_vec(&Document { entries: versions }).map_err(internal)?;
    text.push(b'\n');
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(&text).map_err(internal)?;
    gzip.finish().map_err(internal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_does_not_become_arbitrarily_long() {
        let document = |filling: usize| {
            let json = format!("{{\"entries\":[]{}}}", " ".repeat(filling)).into_bytes();
            let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
            gzip.write_all(&json).unwrap();
            gzip.finish().unwrap()
        };
        assert_eq!(decode(&document(LONGEST - 100)).unwrap().len(), 0);
        let refused = decode(&document(LONGEST)).unwrap_err();
        assert!(refused.contains("more than"), "{refused}");
    }

    #[test]
    fn contents_that_are_cut_or_have_a_tail_are_refused() {
        let content = encode(&[]).unwrap();
        assert_eq!(decode(&content).unwrap().len(), 0);
        assert!(decode(&content[..content.len() - 1]).is_err());
        assert!(decode(&[&content[..], b"x"].concat()).is_err());
    }
}
