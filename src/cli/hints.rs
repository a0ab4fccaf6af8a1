//! What to do about an error, where that is known.
//!
//! Errors of lower layers are wrapped by those above, many of them transparently: such a one is not in the chain of
//! causes, so each layer's errors are looked into.

use std::error::Error;

use larder::blob::BlobError;
use larder::content::ContentError;
use larder::format::FormatError;
use larder::manifest::ManifestError;
use larder::object::ObjectError;
use larder::repo::RepositoryError;
use larder::repo::config::ConfigError;
use larder::snapshot::SnapshotError;

/// An error with its causes, and what to do about it where that is known.
pub(super) fn explain(e: &anyhow::Error) -> String {
    let text = larder::error::chain(e.as_ref());
    match e.chain().find_map(hint) {
        Some(hint) => format!("{text}\n{hint}"),
        None => text,
    }
}

fn hint(cause: &(dyn Error + 'static)) -> Option<&'static str> {
    if let Some(e) = cause.downcast_ref() {
        return of_snapshot(e);
    }
    if let Some(e) = cause.downcast_ref() {
        return of_repository(e);
    }
    if let Some(e) = cause.downcast_ref() {
        return of_object(e);
    }
    if let Some(e) = cause.downcast_ref() {
        return of_manifest(e);
    }
    if let Some(e) = cause.downcast_ref() {
        return of_content(e);
    }
    if let Some(e) = cause.downcast_ref() {
        return of_format(e);
    }
    if let Some(e) = cause.downcast_ref() {
        return of_blob(e);
    }
    matches!(cause.downcast_ref()?, ConfigError::NotConnected)
        .then_some("Connect with: larder repository connect filesystem --path DIRECTORY")
}

fn of_snapshot(e: &SnapshotError) -> Option<&'static str> {
    match e {
        SnapshotError::Restore { source, .. } => of_snapshot(source),
        SnapshotError::Content(e) => of_content(e),
        SnapshotError::Object(e) => of_object(e),
        SnapshotError::Manifest(e) => of_manifest(e),
        SnapshotError::Repository(e) => of_repository(e),
        _ => None,
    }
}

fn of_object(e: &ObjectError) -> Option<&'static str> {
    match e {
        ObjectError::Content(e) => of_content(e),
        _ => None,
    }
}

fn of_manifest(e: &ManifestError) -> Option<&'static str> {
    match e {
        ManifestError::Content(e) => of_content(e),
        _ => None,
    }
}

/// The keys to everything are in it.
const NO_FORMAT: &str = "Nothing can be read without the blob kopia.repository: put it back from a copy of the storage. A \
                         copy from any time will do, with the password of that time. Where the password never could be \
                         changed (format version 1), each pack has a copy of it at its beginning.";

fn of_repository(e: &RepositoryError) -> Option<&'static str> {
    match e {
        RepositoryError::NotFound { .. } => Some("Check the location, or make one with: larder repository create"),
        RepositoryError::NotEmpty { has_repository: false, .. } => Some("Choose an empty location."),
        RepositoryError::NoFormat { .. } => Some(NO_FORMAT),
        RepositoryError::HalfCreated { .. } => {
            Some("If nobody else is creating it, delete the blob kopia.blobcfg and try again.")
        }
        RepositoryError::Format(e) => of_format(e),
        RepositoryError::Blob(e) => of_blob(e),
        RepositoryError::Content(e) => of_content(e),
        RepositoryError::Manifest(e) => of_manifest(e),
        _ => None,
    }
}

fn of_format(e: &FormatError) -> Option<&'static str> {
    match e {
        FormatError::WrongPassword => Some(
            "Check KOPIA_PASSWORD; if it was remembered, connect again with the right one. If it is right for certain, \
             the blob kopia.repository is damaged: put it back from a copy of the storage.",
        ),
        FormatError::Corrupt { what: "kopia.repository", .. } => Some(NO_FORMAT),
        FormatError::Unknown { .. } | FormatError::RequiredFeature(_) => {
            Some("The repository was made by a newer program; a newer larder may be able to read it.")
        }
        FormatError::ErrorCorrection { .. } => Some("Use kopia for this repository."),
        FormatError::Corrupt { .. } => Some("Restore this blob from a copy of the storage, if there is one."),
        _ => None,
    }
}

fn of_content(e: &ContentError) -> Option<&'static str> {
    match e {
        ContentError::NotFound { damaged, .. } if damaged.is_empty() => Some(
            "If it should exist, an index blob is missing: put it back from a copy of the storage if there is one.",
        ),
        ContentError::Corrupt { .. } | ContentError::CorruptEntry { .. } | ContentError::NotFound { .. } => Some(
            "Put the damaged blob back from a copy of the storage if there is one. larder snapshot verify tells which \
             files of which snapshots are affected, larder restore --ignore-errors restores all others.",
        ),
        ContentError::Fetch { source, .. } => of_blob(source),
        ContentError::Blob(e) => of_blob(e),
        ContentError::Format(e) => of_format(e),
        _ => None,
    }
}

fn of_blob(e: &BlobError) -> Option<&'static str> {
    match e {
        BlobError::Damaged { .. } => Some("Put the blob back from a copy of the storage if there is one."),
        BlobError::NoSpace { .. } => Some("Free some space in the storage and try again; nothing was lost."),
        BlobError::Denied { .. } => Some("Check the permissions of the storage."),
        BlobError::Unavailable { .. } => Some("Try again later."),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrapped_errors_are_looked_into() {
        let full = || BlobError::NoSpace { what: "writing".to_owned(), source: "full".into() };
        let hint = "Free some space in the storage";
        let wrapped: [anyhow::Error; 4] = [
            full().into(),
            RepositoryError::Content(ContentError::Blob(full())).into(),
            SnapshotError::Object(ObjectError::Content(ContentError::Blob(full()))).into(),
            anyhow::Error::from(SnapshotError::Repository(RepositoryError::Blob(full()))).context("snapshot"),
        ];
        for e in wrapped {
            assert!(explain(&e).contains(hint), "{}", explain(&e));
        }
        let io = anyhow::Error::from(std::io::Error::other("something"));
        assert_eq!(explain(&io), "something");
    }
}
