//! Errors of the format layer.
//!
//! The variants follow what the caller can do: tell the user that a newer (or older) program is needed, ask for
//! another password or key, or treat stored bytes as damaged. Names and details are for people; nothing in them is
//! secret.

use jiff::Timestamp;
use thiserror::Error;

use super::RequiredFeature;

/// Why stored bytes could not be made, or understood, in the repository's format.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FormatError {
    /// An algorithm that no version of the format known here has.
    #[error("unknown {what} {name:?}")]
    Unknown { what: &'static str, name: String },

    /// An algorithm that the format once had. `advice` says what can still be done with such a repository.
    #[error("{what} {name:?} is no longer supported: {advice}")]
    Removed { what: &'static str, name: String, advice: &'static str },

    /// A key or salt of a length that the algorithm does not take.
    #[error("invalid key for {what}: {detail}")]
    InvalidKey { what: &'static str, detail: String },

    /// Damaged or foreign bytes, or the wrong key or password.
    #[error(transparent)]
    Authentication(#[from] AuthenticationFailed),

    /// Stored bytes that contradict the format or their own description.
    #[error("corrupt {what}: {detail}")]
    Corrupt { what: &'static str, detail: String },

    #[error("invalid repository password")]
    WrongPassword,

    /// The repository is protected by an error-correcting code.
    #[error("the repository uses error correction ({algorithm}), which larder does not support")]
    ErrorCorrection { algorithm: String },

    /// Something in the repository that this program must understand to touch it.
    #[error("the repository requires feature {:?}, which this version of larder does not have{}", .0.feature, advice(.0))]
    RequiredFeature(Box<RequiredFeature>),

    /// Somebody is upgrading the repository.
    #[error("the repository is locked for an upgrade by {owner:?} since {since}{}{message}; try again when that is done", if message.is_empty() { "" } else { ": " })]
    Locked { owner: String, since: Timestamp, message: String },

    /// A codec failed on good input (out of memory); the input can still be stored uncompressed.
    #[error("cannot compress with {algorithm}: {detail}")]
    Compression { algorithm: &'static str, detail: String },
}

/// The authentication tag does not match: damaged bytes, another item's bytes, or the wrong key. Which of them cannot
/// be told apart; for the format block it usually means a wrong password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("authentication failed: the data is damaged, or the key or password is wrong")]
pub struct AuthenticationFailed;

/// What a required feature says of itself, each part after a semicolon.
pub(super) fn advice(feature: &RequiredFeature) -> String {
    let more = &feature.if_not_understood;
    let version = Some(&more.upgrade_to_version).filter(|v| !v.is_empty()).map(|v| format!("needs version {v}"));
    let parts = [
        Some(&more.message).filter(|m| !m.is_empty()).cloned(),
        version,
        Some(&more.url).filter(|u| !u.is_empty()).cloned(),
    ];
    parts.into_iter().flatten().map(|part| format!("; {part}")).collect()
}

impl FormatError {
    pub(crate) fn unknown(what: &'static str, name: impl Into<String>) -> Self {
        Self::Unknown { what, name: name.into() }
    }

    pub(crate) fn corrupt(what: &'static str, detail: impl Into<String>) -> Self {
        Self::Corrupt { what, detail: detail.into() }
    }
}
