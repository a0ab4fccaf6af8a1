//! Writing objects (format page 20 §3, §5).
//!
//! The pieces can be had one by one, so that several threads may store the chunks of one stream: [`put_chunk`] stores
//! a chunk, [`put_list`] makes an object of the chunks in their order. [`put_stream`] and [`put_bytes`] do both.
//!
//! All of it hashes, compresses and may block.

use std::io::Read;

use super::{Chunker, ListEntry, ObjectError, ObjectId, encode_list};
use crate::content::id::{ContentId, Prefix};
use crate::content::{Scratch, Writer};
use crate::format::{CompressionAlgorithm, SplitterAlgorithm};

/// How an object is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObjectOptions {
    pub prefix: Prefix,
    pub compression: Option<CompressionAlgorithm>,
    /// Of lists of pieces.
    pub metadata_compression: Option<CompressionAlgorithm>,
    pub splitter: SplitterAlgorithm,
}

/// The ids that chunks are stored under, found quicker for [`Writer::hash_lanes`] of them at once than one by one. None
/// where only storing a chunk tells.
pub fn chunk_ids(contents: &Writer, options: &ObjectOptions, chunks: &[&[u8]]) -> Vec<Option<ContentId>> {
    if is_compressed_object(contents, options) {
        return vec![None; chunks.len()];
    }
    contents.ids_of(options.prefix, chunks).into_iter().map(Some).collect()
}

/// Stores one chunk, under its id if that is known already.
pub fn put_chunk(
    contents: &Writer,
    options: &ObjectOptions,
    chunk: &[u8],
    id: Option<ContentId>,
    scratch: &mut Scratch,
) -> Result<ObjectId, ObjectError> {
    if let Some(algorithm) = options.compression
        && is_compressed_object(contents, options)
    {
        let mut compressed = Vec::new();
        if scratch.compress(algorithm, chunk, &mut compressed)? {
            let content = contents.put(options.prefix, &compressed, None, scratch)?;
            return Ok(ObjectId { content, indirection: 0, compressed: true });
        }
    }
    let Some(id) = id else {
        return Ok(ObjectId::direct(contents.put(options.prefix, chunk, options.compression, scratch)?));
    };
    contents.put_with_id(id, chunk, options.compression, scratch)?;
    Ok(ObjectId::direct(id))
}

/// Where contents cannot be compressed, data without a prefix can, as an object.
fn is_compressed_object(contents: &Writer, options: &ObjectOptions) -> bool {
    options.compression.is_some() && options.prefix.is_none() && !contents.parameters().compresses_contents()
}

/// Makes one object of its pieces; of a single piece nothing need be made.
pub fn put_list(
    contents: &Writer,
    options: &ObjectOptions,
    pieces: &[ListEntry],
    scratch: &mut Scratch,
) -> Result<ObjectId, ObjectError> {
    if let [only] = pieces {
        return Ok(only.object);
    }
    let text = encode_list(pieces).map_err(|e| ObjectError::Input(e.into()))?;
    let options = ObjectOptions {
        prefix: if options.prefix.is_none() { Prefix::INDIRECT } else { options.prefix },
        compression: options.metadata_compression,
        splitter: contents.parameters().splitter,
        ..*options
    };
    let list = put_bytes(contents, &options, &text, scratch)?;
    ObjectId::listed_in(list).ok_or_else(|| ObjectError::Malformed { id: list, why: "too many levels".to_owned() })
}

/// Stores a whole object that is in memory.
pub fn put_bytes(
    contents: &Writer,
    options: &ObjectOptions,
    bytes: &[u8],
    scratch: &mut Scratch,
) -> Result<ObjectId, ObjectError> {
    let (mut rest, mut pieces) = (bytes, Vec::new());
    while let Some((chunk, after)) = options.splitter.find_cut(rest, 0).and_then(|cut| rest.split_at_checked(cut)) {
        pieces.push(put_piece(contents, options, chunk, scratch)?);
        rest = after;
    }
    if pieces.is_empty() || !rest.is_empty() {
        pieces.push(put_piece(contents, options, rest, scratch)?);
    }
    put_list(contents, options, &pieces, scratch)
}

fn put_piece(
    contents: &Writer,
    options: &ObjectOptions,
    chunk: &[u8],
    scratch: &mut Scratch,
) -> Result<ListEntry, ObjectError> {
    Ok(ListEntry { length: chunk.len() as u64, object: put_chunk(contents, options, chunk, None, scratch)? })
}

/// Stores a stream, and gives its length too.
pub fn put_stream(
    contents: &Writer,
    options: &ObjectOptions,
    input: &mut (impl Read + ?Sized),
    scratch: &mut Scratch,
) -> Result<(ObjectId, u64), ObjectError> {
    let mut chunker = Chunker::new(options.splitter);
    let (mut chunk, mut pieces, mut length) = (Vec::new(), Vec::new(), 0);
    while chunker.next(input, &mut chunk).map_err(ObjectError::Input)? {
        let piece = put_piece(contents, options, &chunk, scratch)?;
        length += piece.length;
        pieces.push(piece);
    }
    Ok((put_list(contents, options, &pieces, scratch)?, length))
}
