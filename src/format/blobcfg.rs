//! `kopia.blobcfg`: for how long new blobs are locked against deletion (format page 02 §2.7).
//!
//! Encrypted as the format block is. The JSON is `{}`, or has both `retentionMode` and `retentionPeriod`
//! (nanoseconds, at least a day). A missing blob means the same as `{}`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{FormatError, SecretBytes};
use crate::blob::{Retention, RetentionMode};

/// The blob's name.
pub const BLOB: &str = "kopia.blobcfg";

const SHORTEST: Duration = Duration::from_secs(24 * 3600);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlobConfig {
    pub retention: Option<Retention>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Raw {
    #[serde(skip_serializing_if = "String::is_empty")]
    retention_mode: String,
    #[serde(skip_serializing_if = "is_zero")]
    retention_period: u64,
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

impl BlobConfig {
    pub(super) fn parse(json: &[u8]) -> Result<Self, FormatError> {
        let corrupt = |detail: String| FormatError::Corrupt { what: BLOB, detail };
        let raw: Raw = serde_json::from_slice(json).map_err(|e| corrupt(e.to_string()))?;
        if raw.retention_mode.is_empty() && raw.retention_period == 0 {
            return Ok(Self::default());
        }
        let modes = [RetentionMode::Governance, RetentionMode::Compliance, RetentionMode::Locked];
        let Some(mode) = modes.into_iter().find(|mode| mode.name() == raw.retention_mode) else {
            return Err(FormatError::Unknown { what: "retention mode", name: raw.retention_mode });
        };
        let period = Duration::from_nanos(raw.retention_period);
        if period < SHORTEST {
            return Err(corrupt("retentionPeriod is under 24 hours".to_owned()));
        }
        Ok(Self { retention: Some(Retention { mode, period }) })
    }

    pub(super) fn to_json(self) -> Result<SecretBytes, FormatError> {
        let raw = self.retention.map_or_else(Raw::default, |r| Raw {
            retention_mode: r.mode.name().to_owned(),
            retention_period: u64::try_from(r.period.as_nanos()).unwrap_or(u64::MAX),
        });
        let json = serde_json::to_vec(&raw).map_err(|e| FormatError::Corrupt { what: BLOB, detail: e.to_string() })?;
        Ok(SecretBytes::new(json))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_or_neither() {
        assert_eq!(BlobConfig::parse(b"{}").unwrap(), BlobConfig::default());
        let locked = br#"{"retentionMode":"COMPLIANCE","retentionPeriod":172800000000000}"#;
        let config = BlobConfig::parse(locked).unwrap();
        assert_eq!(config.retention.unwrap().period, Duration::from_secs(2 * 86400));
        assert_eq!(config.to_json().unwrap().as_bytes(), locked);
        assert_eq!(BlobConfig::default().to_json().unwrap().as_bytes(), b"{}");
        for wrong in [
            &br#"{"retentionMode":"COMPLIANCE"}"#[..],
            br#"{"retentionPeriod":172800000000000}"#,
            br#"{"retentionMode":"OTHER","retentionPeriod":172800000000000}"#,
            br#"{"retentionMode":"COMPLIANCE","retentionPeriod":1}"#,
            b"",
        ] {
            assert!(BlobConfig::parse(wrong).is_err());
        }
    }
}
