//! Lists of pieces, the text of indirect objects (format page 20 §3).

use serde::{Deserialize, Serialize};

use super::ObjectId;
use crate::json;

/// What every list says it is; readers do not insist.
const STREAM: &str = "kopia:indirect";

/// A piece of an object, in the order of the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListEntry {
    /// Bytes.
    pub length: u64,
    pub object: ObjectId,
}

#[derive(Serialize, Deserialize)]
struct Raw {
    #[serde(default)]
    stream: String,
    entries: Vec<RawEntry>,
}

#[derive(Serialize, Deserialize)]
struct RawEntry {
    #[serde(default, rename = "s", skip_serializing_if = "is_zero")]
    start: u64,
    #[serde(default, rename = "l", skip_serializing_if = "is_zero")]
    length: u64,
    #[serde(rename = "o")]
    object: ObjectId,
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// Reads a list: its pieces follow each other without a gap, and their lengths add up to less than 2^64.
pub fn parse_list(text: &[u8]) -> Result<Vec<ListEntry>, String> {
    let raw: Raw = serde_json::from_slice(text).map_err(|e| e.to_string())?;
    let mut end: u64 = 0;
    let mut pieces = Vec::with_capacity(raw.entries.len());
    for RawEntry { start, length, object } in raw.entries {
        if start != end {
            return Err("its pieces overlap or leave a gap".to_owned());
        }
        end = end.checked_add(length).ok_or("it is too long")?;
        pieces.push(ListEntry { length, object });
    }
    Ok(pieces)
}

/// The text of a list.
pub fn encode_list(pieces: &[ListEntry]) -> serde_json::Result<Vec<u8>> {
    let mut start = 0;
    let entries = pieces.iter().map(|piece| {
        let entry = RawEntry { start, length: piece.length, object: piece.object };
        start += piece.length;
        entry
    });
    let mut text = json::to_vec(&Raw { stream: STREAM.to_owned(), entries: entries.collect() })?;
    text.push(b'\n');
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lists that kopia wrote: one of a file in chunks, one of a file in parts whose last part is empty.
    #[test]
    fn lists_are_written_as_kopia_writes_them() {
        for name in ["indirect-object.json", "indirect-concatenated.json"] {
            let path = format!("{}/tests/data/samples/{name}", env!("CARGO_MANIFEST_DIR"));
            let text = std::fs::read(path).unwrap();
            let pieces = parse_list(&text).unwrap();
            assert!(encode_list(&pieces).unwrap() == text, "{name}");
        }
    }
}
