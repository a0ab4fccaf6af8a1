//! Objects: byte streams of any length, made of contents (format page 20).
//!
//! A stream is cut into chunks by a splitter, each chunk is one content. A stream of one chunk *is* that content; for
//! more, an *indirect* object lists them:
//!
//! ```json
//! {"stream":"kopia:indirect","entries":[{"l":3653876,"o":"b3e4…"},{"s":3653876,"l":8388608,"o":"2513…"}]}
//! ```
//!
//! `s` is where a piece begins, `l` its length, `o` its object; what is 0 is left out. The list is an object of its
//! own, and when it is long it is itself cut and listed.

mod chunker;
pub mod id;
mod reader;
mod writer;

pub use chunker::Chunker;
pub use id::ObjectId;
pub use reader::{Object, Piece};
use serde::{Deserialize, Serialize};
pub use writer::{ListEntry, ObjectOptions, put_bytes, put_chunk, put_list, put_stream};

use crate::content::ContentError;
use crate::format::FormatError;

/// What every list says it is; readers do not insist.
const STREAM: &str = "kopia:indirect";

#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    #[error(transparent)]
    Content(#[from] ContentError),
    #[error("object {id} is malformed: {why}")]
    Malformed { id: ObjectId, why: String },
    #[error(transparent)]
    Format(#[from] FormatError),
    /// Where the bytes of a new object come from.
    #[error("reading failed")]
    Input(#[source] std::io::Error),
}

/// A list of pieces as it is stored.
#[derive(Serialize, Deserialize)]
struct IndirectList {
    #[serde(default)]
    stream: String,
    entries: Vec<IndirectEntry>,
}

#[derive(Serialize, Deserialize)]
struct IndirectEntry {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Lists that kopia wrote: one of a file in chunks, one of a file in parts whose last part is empty.
    #[test]
    fn lists_are_written_as_kopia_writes_them() {
        for name in ["indirect-object.json", "indirect-concatenated.json"] {
            let path = format!("{}/tests/data/samples/{name}", env!("CARGO_MANIFEST_DIR"));
            let text = std::fs::read_to_string(path).unwrap();
            let list: IndirectList = serde_json::from_str(&text).unwrap();
            assert_eq!(crate::json::to_string(&list).unwrap() + "\n", text, "{name}");
        }
    }
}
