//! Reading objects (format page 20 §6).
//!
//! [`Object::open`] resolves an id into its leaf pieces, each one content. What is read then is up to the caller: a
//! piece at a time, in any order, from any thread.

use super::{ListEntry, ObjectError, ObjectId, parse_list};
use crate::bytes::Bytes;
use crate::content::Reader;
use crate::content::id::ContentId;
use crate::format::{Length, decompress};

/// Levels of lists in lists that are followed; the largest objects need three.
const DEEPEST: usize = 16;
/// The longest chunk a splitter makes.
const LONGEST_CHUNK: usize = 16 << 20;

/// One content of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Where it begins in the object.
    pub start: u64,
    pub length: u64,
    pub content: ContentId,
    /// Whether the content is compressed as an object.
    pub compressed: bool,
}

/// An object that can be read: its leaf pieces, contiguous, from 0 on.
#[derive(Clone, Debug)]
pub struct Object {
    id: ObjectId,
    pieces: Vec<Piece>,
}

impl Object {
    /// Resolves an id; reads the lists of an indirect object, not its data.
    pub async fn open(contents: &Reader, id: ObjectId) -> Result<Self, ObjectError> {
        let mut pieces = Vec::new();
        Self::resolve(contents, id, None, &mut pieces, 0).await?;
        Ok(Self { id, pieces })
    }

    /// Whether all contents of an object are there, as far as the indexes know. Reads lists, but no data.
    pub async fn is_stored(contents: &Reader, id: ObjectId) -> bool {
        if id.list().is_none() {
            return contents.has(&id.content);
        }
        match Self::open(contents, id).await {
            Ok(object) => object.pieces.iter().all(|piece| contents.has(&piece.content)),
            Err(_) => false,
        }
    }

    /// Appends the leaf pieces of an object whose length is known from a list.
    async fn resolve(
        contents: &Reader,
        id: ObjectId,
        known_length: Option<u64>,
        pieces: &mut Vec<Piece>,
        depth: usize,
    ) -> Result<(), ObjectError> {
        let start = end_of(pieces);
        let Some(list) = id.list() else {
            let length = match known_length {
                Some(length) => length,
                None => direct_length(contents, id).await?,
            };
            pieces.push(Piece { start, length, content: id.content, compressed: id.compressed });
            return Ok(());
        };
        let malformed = |why: &str| ObjectError::Malformed { id, why: why.to_owned() };
        if depth >= DEEPEST {
            return Err(malformed("lists are nested too deeply"));
        }
        let text = Box::pin(async { Self::open_at(contents, list, depth + 1).await?.read(contents).await }).await?;
        for ListEntry { length, object } in parse_list(&text).map_err(|e| malformed(&e))? {
            let end = end_of(pieces).checked_add(length).ok_or_else(|| malformed("it is too long"))?;
            Box::pin(Self::resolve(contents, object, Some(length), pieces, depth + 1)).await?;
            if end_of(pieces) != end {
                return Err(malformed("a piece has another length than its list says"));
            }
        }
        match known_length {
            Some(length) if end_of(pieces) - start != length => {
                Err(malformed("its pieces do not add up to its length"))
            }
            _ => Ok(()),
        }
    }

    async fn open_at(contents: &Reader, id: ObjectId, depth: usize) -> Result<Self, ObjectError> {
        let mut pieces = Vec::new();
        Self::resolve(contents, id, None, &mut pieces, depth).await?;
        Ok(Self { id, pieces })
    }

    pub fn id(&self) -> ObjectId {
        self.id
    }

    /// Bytes.
    pub fn len(&self) -> u64 {
        end_of(&self.pieces)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// The whole object in memory.
    pub async fn read(&self, contents: &Reader) -> Result<Bytes, ObjectError> {
        if let [only] = self.pieces.as_slice() {
            return only.read(contents).await;
        }
        let mut whole = Vec::new();
        for piece in &self.pieces {
            whole.extend_from_slice(&piece.read(contents).await?);
        }
        Ok(whole.into())
    }
}

impl Piece {
    /// The piece's bytes.
    pub async fn read(&self, contents: &Reader) -> Result<Bytes, ObjectError> {
        self.check(contents.get(&self.content).await?)
    }

    /// What a content's plain bytes mean as this piece.
    pub fn check(&self, content: Bytes) -> Result<Bytes, ObjectError> {
        let bytes = if self.compressed {
            // A longer one cannot be right, and is told from it.
            let length = usize::try_from(self.length).unwrap_or(usize::MAX).min(LONGEST_CHUNK);
            Bytes::from(decompress(&content, None, Length::Exact(length))?)
        } else {
            content
        };
        if bytes.len() as u64 != self.length {
            let id = ObjectId { content: self.content, indirection: 0, compressed: self.compressed };
            let why = format!("it has {} bytes instead of {}", bytes.len(), self.length);
            return Err(ObjectError::Malformed { id, why });
        }
        Ok(bytes)
    }
}

/// The length of an object that is one content.
async fn direct_length(contents: &Reader, id: ObjectId) -> Result<u64, ObjectError> {
    if !id.compressed {
        return Ok(contents.entry(&id.content)?.original_length.into());
    }
    // Only the data itself tells.
    let content = contents.get(&id.content).await?;
    Ok(decompress(&content, None, Length::AtMost(LONGEST_CHUNK))?.len() as u64)
}

fn end_of(pieces: &[Piece]) -> u64 {
    pieces.last().map_or(0, |piece| piece.start + piece.length)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lists say how long a piece is, and a list may be damaged or made up.
    #[test]
    fn the_length_of_a_compressed_piece_is_not_believed() {
        let content = Bytes::from_static(&[0, 0, 0x10, 0, 1, 2, 3]);
        for length in [LONGEST_CHUNK as u64 + 1, 1 << 40, u64::MAX] {
            let piece = Piece { start: 0, length, content: "00".parse().unwrap(), compressed: true };
            assert!(piece.check(content.clone()).is_err(), "{length}");
        }
    }
}
