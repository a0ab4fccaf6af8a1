//! Write sessions: who is writing, so that unfinished work is not taken for garbage (format page 05 §5.5).
//!
//! A session's id is part of the name of everything it writes. Its *marker* is a small blob that lives from before
//! its first pack until after its index:
//!
//! ```json
//! {"id":"s4334031719c43678147","startTime":"…","checkpointTime":"…","username":"…","hostname":"…"}
//! ```

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Beginning of the marker blobs' names.
pub const MARKER_PREFIX: &str = "s";

/// 2000-01-01T00:00:00Z, from which months are counted.
const MONTHS_START: i64 = 946_684_800;
const MONTH: i64 = 30 * 24 * 3600;

/// `s`, 16 random hex digits, and the number of 30-day months since 2000 in hex.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SessionId(String);

impl SessionId {
    pub fn new(now: Timestamp, random: [u8; 8]) -> Self {
        let month = (now.as_second() - MONTHS_START).div_euclid(MONTH).max(0);
        Self(format!("s{}{month:x}", hex::encode(random)))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a marker says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Marker {
    pub id: SessionId,
    pub start_time: Timestamp,
    pub checkpoint_time: Timestamp,
    pub username: String,
    pub hostname: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_count_months() {
        let id = |time: &str| SessionId::new(time.parse().unwrap(), [0x43, 0x34, 3, 0x17, 0x19, 0xc4, 0x36, 0x78]).0;
        assert_eq!(id("2026-11-21T01:00:00Z"), "s4334031719c43678147");
        assert_eq!(id("2000-01-01T00:00:00Z"), "s4334031719c436780");
        assert_eq!(id("1999-01-01T00:00:00Z"), "s4334031719c436780");
    }
}
