//! Making a new repository (format page 02 §2.6).

use std::sync::Arc;

use super::{RepositoryError, blob_id};
use crate::blob::{BlobError, PutOptions, Retention, Storage};
use crate::format::{
    BLOB_CONFIG_BLOB, BlobConfig, FORMAT_BLOB, FormatBlock, FormatKey, KeyDerivation, Parameters, SecretBytes,
};

#[derive(Clone, Debug)]
pub struct CreateOptions {
    pub parameters: Parameters,
    pub key_derivation: KeyDerivation,
    pub retention: Option<Retention>,
}

/// Bytes of the unique id.
const UNIQUE_ID: usize = 32;

/// Writes the format of a new repository into an empty storage. Gives the key that the password derives to.
///
/// A crash between the two blobs must leave a repository that is all that was asked for, or none. Without the format
/// block there is none, so with a retention the blob configuration is written first, as kopia does; if it is left
/// alone, it has to be deleted before another try. A configuration that says nothing is the same as a missing one, so
/// it is written last, and nothing has to be cleaned up.
pub async fn create(
    storage: &Arc<dyn Storage>,
    password: &SecretBytes,
    options: &CreateOptions,
) -> Result<FormatKey, RepositoryError> {
    refuse_existing(&**storage).await?;
    let mut unique_id = vec![0; UNIQUE_ID];
    getrandom::fill(&mut unique_id).map_err(|e| RepositoryError::Internal(e.into()))?;
    let derivation = options.key_derivation;
    let derived = {
        let (password, salt) = (password.clone(), unique_id.clone());
        tokio::task::spawn_blocking(move || derivation.derive_format_key(password.as_bytes(), &salt)).await
    };
    let key = derived.map_err(|e| RepositoryError::Internal(Box::new(e)))??;
    let block = FormatBlock::seal(&options.parameters, unique_id, derivation, &key)?;
    let blob_config = block.seal_blob_config(&BlobConfig { retention: options.retention }, &key)?;
    let put_options = PutOptions { no_overwrite: true, retention: options.retention };
    let mut blobs = [(BLOB_CONFIG_BLOB, blob_config), (FORMAT_BLOB, block.to_blob()?)];
    if options.retention.is_none() {
        blobs.reverse();
    }
    for (name, bytes) in blobs {
        match storage.put(&blob_id(name)?, bytes.into(), put_options).await {
            // Somebody else creates one at this very moment.
            Err(BlobError::AlreadyExists { .. }) => {
                return Err(RepositoryError::NotEmpty { location: storage.location(), has_repository: true });
            }
            other => other?,
        }
    }
    Ok(key)
}

async fn refuse_existing(storage: &dyn Storage) -> Result<(), RepositoryError> {
    use futures::{StreamExt, TryStreamExt};
    let location = storage.location();
    let first: Vec<_> = storage.list("").take(2).try_collect().await?;
    match first.as_slice() {
        [] => Ok(()),
        [alone] if alone.id.as_str() == BLOB_CONFIG_BLOB => Err(RepositoryError::HalfCreated { location }),
        _ => {
            let has_repository = storage.stat(&blob_id(FORMAT_BLOB)?).await.is_ok();
            Err(RepositoryError::NotEmpty { location, has_repository })
        }
    }
}
