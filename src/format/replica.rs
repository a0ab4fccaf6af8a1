//! The copy of the format block at the start of every pack (format page 02 §2.8).
//!
//! ```text
//! length u16 le │ bytes of kopia.repository │ HMAC-SHA256 of them, key "kopia-repository" │ length u16 le again
//! ```
//!
//! `length` counts the bytes and the HMAC. Only repositories without password change have it: there the block never
//! changes, so a copy helps when the blob itself is lost.

use aws_lc_rs::hmac;

use super::FormatError;

const KEY: &[u8] = b"kopia-repository";
const LONGEST: usize = 65_000;

/// The bytes to put at the start of a pack.
pub fn replica(format_blob: &[u8]) -> Result<Vec<u8>, FormatError> {
    let sum = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, KEY), format_blob);
    let length = format_blob.len() + sum.as_ref().len();
    let Some(length) = u16::try_from(length).ok().filter(|length| usize::from(*length) <= LONGEST) else {
        return Err(FormatError::Corrupt { what: "kopia.repository", detail: "too long for a replica".to_owned() });
    };
    Ok([&length.to_le_bytes(), format_blob, sum.as_ref(), &length.to_le_bytes()].concat())
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn vector() {
        let v: Value = serde_json::from_str(include_str!("../../tests/data/vectors/format_replica.json")).unwrap();
        let bytes = |key: &str| hex::decode(v[key].as_str().unwrap()).unwrap();
        assert_eq!(replica(&bytes("blob_hex")).unwrap(), bytes("replica_hex"));
        assert!(replica(&[0; 65_000]).is_err());
    }
}
