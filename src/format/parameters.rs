//! The parameters of a repository: what the encrypted part of `kopia.repository` holds (format page 02 §2.3-2.5).
//!
//! ```json
//! {"format":{"hash":"BLAKE2B-256-128","encryption":"AES256-GCM-HMAC-SHA256","secret":"…","masterKey":"…","version":3,
//!  "maxPackSize":20971520,"indexVersion":2,"epochParameters":{…},"enablePasswordChange":true,"splitter":"…"}}
//! ```
//!
//! Whatever this program does not understand is refused here, by name, before anything is written.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::error::advice;
use super::{EncryptionAlgorithm, FormatError, HashAlgorithm, SecretBytes, SplitterAlgorithm};

/// Bytes at which a pack is closed, unless the repository says otherwise.
const DEFAULT_MAX_PACK_SIZE: u32 = 20 << 20;
/// Sizes that may be set, in bytes.
pub const MAX_PACK_SIZES: std::ops::RangeInclusive<u32> = 10 << 20..=120 << 20;
/// Features of [`RequiredFeature`] that this program has.
const KNOWN_FEATURES: [&str; 2] = ["index-v1", "index-v2"];

#[derive(Clone, Debug, PartialEq)]
pub struct Parameters {
    pub hash: HashAlgorithm,
    pub encryption: EncryptionAlgorithm,
    /// Key of the hash.
    pub secret: SecretBytes,
    /// What the content keys are derived from.
    pub master_key: SecretBytes,
    pub version: FormatVersion,
    pub max_pack_size: u32,
    /// Of new index blobs; both are read.
    pub index_version: u8,
    pub epochs: EpochParameters,
    pub enable_password_change: bool,
    pub splitter: SplitterAlgorithm,
    pub upgrade_lock: Option<UpgradeLock>,
    pub required_features: Vec<RequiredFeature>,
}

/// Version of the repository format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FormatVersion {
    V1 = 1,
    V2 = 2,
    V3 = 3,
}

impl FormatVersion {
    pub const LATEST: Self = Self::V3;

    pub fn new(number: i64) -> Result<Self, FormatError> {
        match number {
            1 => Ok(Self::V1),
            2 => Ok(Self::V2),
            3 => Ok(Self::V3),
            _ => Err(FormatError::Unknown { what: "repository format version", name: number.to_string() }),
        }
    }

    pub fn number(self) -> u8 {
        self as u8
    }
}

/// `epochParameters`: when index epochs advance and for how long old views are served (format page 02 §2.4).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default = "EpochParameters::disabled", rename_all = "PascalCase")]
pub struct EpochParameters {
    /// False: the older scheme of `n`, `m` and `l` blobs.
    pub enabled: bool,
    /// For how long a view of the epochs is valid.
    #[serde(rename = "EpochRefreshFrequency", with = "nanoseconds")]
    pub refresh_frequency: SignedDuration,
    /// Epochs between range compactions.
    pub full_checkpoint_frequency: u64,
    /// For how long blobs outlive what replaces them.
    #[serde(with = "nanoseconds")]
    pub cleanup_safety_margin: SignedDuration,
    #[serde(with = "nanoseconds")]
    pub min_epoch_duration: SignedDuration,
    /// Index blobs after which an epoch may end.
    #[serde(rename = "EpochAdvanceOnCountThreshold")]
    pub advance_on_count: usize,
    /// Bytes of index blobs after which an epoch may end.
    #[serde(rename = "EpochAdvanceOnTotalSizeBytesThreshold")]
    pub advance_on_total_size: u64,
    pub delete_parallelism: u64,
}

impl Default for EpochParameters {
    fn default() -> Self {
        Self {
            enabled: true,
            refresh_frequency: SignedDuration::from_mins(20),
            full_checkpoint_frequency: 7,
            cleanup_safety_margin: SignedDuration::from_hours(4),
            min_epoch_duration: SignedDuration::from_hours(24),
            advance_on_count: 20,
            advance_on_total_size: 10 << 20,
            delete_parallelism: 4,
        }
    }
}

impl EpochParameters {
    /// For repositories of version 1. Go reads what is left out as zero, so this stands for it, too.
    fn disabled() -> Self {
        Self {
            enabled: false,
            refresh_frequency: SignedDuration::ZERO,
            full_checkpoint_frequency: 0,
            cleanup_safety_margin: SignedDuration::ZERO,
            min_epoch_duration: SignedDuration::ZERO,
            advance_on_count: 0,
            advance_on_total_size: 0,
            delete_parallelism: 0,
        }
    }

    fn check(&self) -> Result<(), FormatError> {
        let wrong = [
            (self.min_epoch_duration < SignedDuration::from_mins(10), "MinEpochDuration is under 10 minutes"),
            (self.refresh_frequency.saturating_mul(3) > self.min_epoch_duration, "EpochRefreshFrequency is too long"),
            (self.refresh_frequency <= SignedDuration::ZERO, "EpochRefreshFrequency must be positive"),
            (self.full_checkpoint_frequency == 0, "FullCheckpointFrequency must be positive"),
            (self.cleanup_safety_margin < self.refresh_frequency.saturating_mul(3), "CleanupSafetyMargin is too short"),
            (self.advance_on_count < 10, "EpochAdvanceOnCountThreshold is under 10"),
            (self.advance_on_total_size < 1 << 20, "EpochAdvanceOnTotalSizeBytesThreshold is under 1 MiB"),
        ];
        match wrong.iter().find(|(wrong, _)| *wrong) {
            Some((_, why)) if self.enabled => Err(corrupt(why)),
            _ => Ok(()),
        }
    }
}

/// A feature without which a program must not touch the repository (format page 02 §2.5).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequiredFeature {
    pub feature: String,
    #[serde(default, rename = "ifNotUnderstood")]
    pub if_not_understood: IfNotUnderstood,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct IfNotUnderstood {
    /// Warn only, rather than refuse.
    pub warn: bool,
    pub message: String,
    pub url: String,
    pub upgrade_to_version: String,
}

/// Somebody upgrades the repository (format page 09 §9.4).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UpgradeLock {
    #[serde(default, rename = "ownerID")]
    pub owner_id: String,
    pub creation_time: Timestamp,
    #[serde(default, with = "nanoseconds")]
    pub advance_notice_duration: SignedDuration,
    #[serde(default, with = "nanoseconds")]
    pub io_drain_timeout: SignedDuration,
    #[serde(default, with = "nanoseconds")]
    pub status_poll_interval: SignedDuration,
    #[serde(default)]
    pub message: String,
    #[serde(default, with = "nanoseconds")]
    pub max_permitted_clock_drift: SignedDuration,
}

impl UpgradeLock {
    /// Whether everybody else must keep away.
    pub fn is_locked(&self, now: Timestamp) -> bool {
        self.notice().is_negative() || now.duration_since(self.creation_time) >= self.notice()
    }

    /// From the lock's creation until it takes effect. Negative: it has effect at once.
    fn notice(&self) -> SignedDuration {
        let drain = self.max_permitted_clock_drift.saturating_add(self.io_drain_timeout.saturating_mul(2));
        self.advance_notice_duration.saturating_sub(drain)
    }
}

impl Parameters {
    /// For a new repository, with the defaults of a version.
    pub fn new(version: FormatVersion) -> Result<Self, FormatError> {
        let first = version == FormatVersion::V1;
        Ok(Self {
            hash: HashAlgorithm::default(),
            encryption: EncryptionAlgorithm::default(),
            secret: SecretBytes::random(32)?,
            master_key: SecretBytes::random(32)?,
            version,
            max_pack_size: DEFAULT_MAX_PACK_SIZE,
            index_version: if first { 1 } else { 2 },
            epochs: if first { EpochParameters::disabled() } else { EpochParameters::default() },
            enable_password_change: !first,
            splitter: SplitterAlgorithm::default(),
            upgrade_lock: None,
            required_features: Vec::new(),
        })
    }

    /// Whether contents may be compressed one by one; before, only whole objects could be.
    pub fn compresses_contents(&self) -> bool {
        self.index_version >= 2
    }

    /// Reads the decrypted JSON.
    pub(super) fn parse(json: &[u8]) -> Result<Self, FormatError> {
        let inner: Inner = serde_json::from_slice(json)
            .map_err(|e| FormatError::Corrupt { what: "kopia.repository", detail: e.to_string() })?;
        inner.format.try_into()
    }

    /// The JSON to encrypt.
    pub(super) fn to_json(&self) -> Result<SecretBytes, FormatError> {
        let json = serde_json::to_vec(&Inner { format: self.into() })
            .map_err(|e| FormatError::Corrupt { what: "kopia.repository", detail: e.to_string() })?;
        Ok(SecretBytes::new(json))
    }

    /// What whoever opens the repository should be told: features that are not known but do not keep anybody out, and
    /// an upgrade that is announced.
    pub fn warnings(&self) -> Vec<String> {
        let unknown = self.required_features.iter().filter(|f| !KNOWN_FEATURES.contains(&f.feature.as_str()));
        let unknown =
            unknown.map(|f| format!("the repository uses feature {:?}, which is not known{}", f.feature, advice(f)));
        let announced = self.upgrade_lock.iter().map(|lock| {
            let time = lock.creation_time.saturating_add(lock.notice()).unwrap_or(lock.creation_time);
            let colon = if lock.message.is_empty() { "" } else { ": " };
            format!(
                "the repository will be locked for an upgrade by {:?} at {time}{colon}{}",
                lock.owner_id, lock.message
            )
        });
        unknown.chain(announced).collect()
    }

    /// Refuses a repository that somebody else is upgrading.
    pub fn check_upgrade_lock(&self, now: Timestamp) -> Result<(), FormatError> {
        match &self.upgrade_lock {
            Some(lock) if lock.is_locked(now) => Err(FormatError::Locked {
                owner: lock.owner_id.clone(),
                since: lock.creation_time,
                message: lock.message.clone(),
            }),
            _ => Ok(()),
        }
    }
}

fn corrupt(detail: &str) -> FormatError {
    FormatError::Corrupt { what: "kopia.repository", detail: detail.to_owned() }
}

#[derive(Serialize, Deserialize)]
struct Inner {
    format: Raw,
}

/// The JSON as it is, keys in kopia's order.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    #[serde(default)]
    hash: String,
    #[serde(default)]
    encryption: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    ecc: String,
    #[serde(default, skip_serializing_if = "is_zero")]
    ecc_overhead_percent: i64,
    #[serde(default)]
    secret: SecretBytes,
    #[serde(default)]
    master_key: SecretBytes,
    #[serde(default)]
    version: i64,
    #[serde(default, skip_serializing_if = "is_zero")]
    max_pack_size: i64,
    #[serde(default, skip_serializing_if = "is_zero")]
    index_version: i64,
    #[serde(default = "EpochParameters::disabled")]
    epoch_parameters: EpochParameters,
    #[serde(default)]
    enable_password_change: bool,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    splitter: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    upgrade_lock: Option<UpgradeLock>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    required_features: Vec<RequiredFeature>,
}

fn is_zero(n: &i64) -> bool {
    *n == 0
}

impl From<&Parameters> for Raw {
    fn from(p: &Parameters) -> Self {
        Self {
            hash: p.hash.name().to_owned(),
            encryption: p.encryption.name().to_owned(),
            ecc: String::new(),
            ecc_overhead_percent: 0,
            secret: p.secret.clone(),
            master_key: p.master_key.clone(),
            version: p.version.number().into(),
            max_pack_size: p.max_pack_size.into(),
            index_version: p.index_version.into(),
            epoch_parameters: p.epochs.clone(),
            enable_password_change: p.enable_password_change,
            splitter: p.splitter.name().to_owned(),
            upgrade_lock: p.upgrade_lock.clone(),
            required_features: p.required_features.clone(),
        }
    }
}

impl TryFrom<Raw> for Parameters {
    type Error = FormatError;

    fn try_from(raw: Raw) -> Result<Self, FormatError> {
        let version = FormatVersion::new(raw.version)?;
        if version > FormatVersion::V1 && !raw.ecc.is_empty() && raw.ecc_overhead_percent > 0 {
            return Err(FormatError::ErrorCorrection { algorithm: raw.ecc });
        }
        let index_version = match raw.index_version {
            0 => 1,
            known @ (1 | 2) => known as u8,
            other => return Err(FormatError::Unknown { what: "index version", name: other.to_string() }),
        };
        for feature in &raw.required_features {
            if !KNOWN_FEATURES.contains(&feature.feature.as_str()) && !feature.if_not_understood.warn {
                return Err(FormatError::RequiredFeature(Box::new(feature.clone())));
            }
        }
        let max_pack_size = match raw.max_pack_size {
            0 => DEFAULT_MAX_PACK_SIZE,
            size => u32::try_from(size).map_err(|_| corrupt("maxPackSize is out of range"))?,
        };
        raw.epoch_parameters.check()?;
        if raw.master_key.is_empty() {
            return Err(corrupt("masterKey is missing"));
        }
        let splitter = if raw.splitter.is_empty() { "FIXED" } else { &raw.splitter };
        Ok(Self {
            hash: raw.hash.parse()?,
            encryption: raw.encryption.parse()?,
            secret: raw.secret,
            master_key: raw.master_key,
            version,
            max_pack_size,
            index_version,
            epochs: raw.epoch_parameters,
            enable_password_change: raw.enable_password_change,
            splitter: splitter.parse()?,
            upgrade_lock: raw.upgrade_lock,
            required_features: raw.required_features,
        })
    }
}

/// Durations as whole nanoseconds, Go's way.
mod nanoseconds {
    use jiff::SignedDuration;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(duration: &SignedDuration, serializer: S) -> Result<S::Ok, S::Error> {
        i64::try_from(duration.as_nanos()).map_err(serde::ser::Error::custom)?.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SignedDuration, D::Error> {
        Ok(SignedDuration::from_nanos(i64::deserialize(deserializer)?))
    }
}

#[cfg(test)]
mod tests;
