//! Object ids (format page 04 §4.4, page 20 §1).
//!
//! ```text
//! object id = I* Z? D? content id
//! ```
//!
//! Each `I` is a level of indirection: take one away and the rest is the id of an object that lists the pieces.
//! `Z`: the content is compressed as an object, with the compressor's header before it. `D` means nothing and is not
//! written any more.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::content::id::ContentId;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId {
    pub content: ContentId,
    /// Number of `I`.
    pub indirection: u8,
    /// `Z`.
    pub compressed: bool,
}

impl ObjectId {
    /// The object is the content.
    pub fn direct(content: ContentId) -> Self {
        Self { content, indirection: 0, compressed: false }
    }

    /// The object whose pieces are listed in the object `list`.
    pub(crate) fn listed_in(list: Self) -> Option<Self> {
        (!list.compressed).then_some(Self { indirection: list.indirection.checked_add(1)?, ..list })
    }

    /// The object that lists the pieces of this one.
    pub(crate) fn list(self) -> Option<Self> {
        Some(Self { indirection: self.indirection.checked_sub(1)?, ..self })
    }

    /// Appends the text form.
    pub fn write_text(&self, out: &mut Vec<u8>) {
        out.extend(std::iter::repeat_n(b'I', self.indirection.into()));
        if self.compressed {
            out.push(b'Z');
        }
        self.content.write_text(out);
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = Vec::new();
        self.write_text(&mut text);
        f.write_str(&String::from_utf8_lossy(&text))
    }
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is not an object id")]
pub struct InvalidObjectId(pub String);

impl FromStr for ObjectId {
    type Err = InvalidObjectId;

    fn from_str(text: &str) -> Result<Self, InvalidObjectId> {
        let invalid = || InvalidObjectId(text.to_owned());
        let rest = text.trim_start_matches('I');
        let indirection = u8::try_from(text.len() - rest.len()).map_err(|_| invalid())?;
        let (compressed, rest) = rest.strip_prefix('Z').map_or((false, rest), |rest| (true, rest));
        let rest = rest.strip_prefix('D').unwrap_or(rest);
        if compressed && indirection > 0 {
            return Err(invalid());
        }
        let content = rest.parse().map_err(|_| invalid())?;
        Ok(Self { content, indirection, compressed })
    }
}

impl Serialize for ObjectId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ObjectId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    #[test]
    fn vectors() {
        let vectors: Value = serde_json::from_str(include_str!("../../tests/data/vectors/ids.json")).unwrap();
        let cases = vectors["object_ids"].as_array().unwrap();
        assert!(cases.len() > 10);
        for case in cases {
            let text = case["text"].as_str().unwrap();
            let parsed = text.parse::<ObjectId>();
            // The format has "no object" for the empty string; here that is no id.
            if case.get("error").is_some() || case["content_id"] == "" {
                assert!(parsed.is_err(), "{case}");
                continue;
            }
            let id = parsed.unwrap();
            assert_eq!(id.to_string(), case["canonical"].as_str().unwrap());
            assert_eq!(id.content.to_string(), case["content_id"].as_str().unwrap());
            assert_eq!(u64::from(id.indirection), case["indirection"].as_u64().unwrap());
            assert_eq!(id.compressed, case["compressed"].as_bool().unwrap());
        }
    }

    #[test]
    fn levels() {
        let direct: ObjectId = "k0123456789abcdef".parse().unwrap();
        let listed = ObjectId::listed_in(direct).unwrap();
        assert_eq!(listed.to_string(), "Ik0123456789abcdef");
        assert_eq!(listed.list(), Some(direct));
        assert_eq!(direct.list(), None);
        assert_eq!(ObjectId::listed_in(ObjectId { compressed: true, ..direct }), None);
    }

    proptest! {
        #[test]
        fn text_round_trips(prefix in "[g-z]?", hash in "([0-9a-f]{2}){1,32}", indirection: u8, compressed: bool) {
            let content: ContentId = format!("{prefix}{hash}").parse().unwrap();
            let id = ObjectId { content, indirection: if compressed { 0 } else { indirection }, compressed };
            prop_assert_eq!(id.to_string().parse(), Ok(id));
            // As JSON too, and with the letter that means nothing.
            let json = serde_json::to_string(&id).unwrap();
            prop_assert_eq!(serde_json::from_str::<ObjectId>(&json).unwrap(), id);
            let letters = id.to_string().len() - content.to_string().len();
            let mut text = id.to_string();
            text.insert(letters, 'D');
            prop_assert_eq!(text.parse(), Ok(id));
        }
    }
}
