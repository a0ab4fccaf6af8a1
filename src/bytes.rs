//! A blob's bytes as a list of pieces, so that a pack is stored without being copied together first.

pub use bytes::Bytes;

/// Pieces of one blob, in order. Cheap to clone: a retried upload sends the same memory again.
#[derive(Clone, Debug, Default)]
pub struct Payload {
    parts: Vec<Bytes>,
    length: u64,
}

impl Payload {
    pub fn push(&mut self, part: impl Into<Bytes>) {
        let part = part.into();
        if !part.is_empty() {
            self.length += part.len() as u64;
            self.parts.push(part);
        }
    }

    /// Length in bytes.
    pub fn len(&self) -> u64 {
        self.length
    }

    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    pub fn parts(&self) -> &[Bytes] {
        &self.parts
    }

    pub fn into_parts(self) -> Vec<Bytes> {
        self.parts
    }

    /// The whole as one piece; copies only when there are several.
    pub fn to_bytes(&self) -> Bytes {
        match self.parts.as_slice() {
            [] => Bytes::new(),
            [one] => one.clone(),
            many => many.concat().into(),
        }
    }
}

impl<T: Into<Bytes>> From<T> for Payload {
    fn from(all: T) -> Self {
        let mut payload = Self::default();
        payload.push(all);
        payload
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_make_one_blob() {
        let mut payload = Payload::default();
        assert!(payload.is_empty());
        payload.push(Bytes::from_static(b"ab"));
        payload.push(Bytes::new());
        payload.push(vec![b'c'; 3]);
        assert_eq!((payload.len(), payload.parts().len()), (5, 2));
        assert_eq!(payload.to_bytes(), Bytes::from_static(b"abccc"));
    }
}
