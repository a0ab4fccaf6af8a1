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
mod list;
mod reader;
mod writer;

pub use chunker::Chunker;
pub use id::ObjectId;
pub use list::{ListEntry, encode_list, parse_list};
pub use reader::{Object, Piece};
pub use writer::{ObjectOptions, chunk_ids, put_bytes, put_chunk, put_list, put_stream};

use crate::content::ContentError;
use crate::format::FormatError;

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
