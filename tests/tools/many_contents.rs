//! Fills a new repository with very many tiny contents, to see what a large index costs.
//!
//!     many-contents DIRECTORY CONTENTS INDEX_BLOBS
//!
//! The password is taken from KOPIA_PASSWORD. The contents are not part of any snapshot.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use larder::blob::Storage;
use larder::blob::fs::{FilesystemConfig, FilesystemStorage};
use larder::clock::SystemClock;
use larder::content::Scratch;
use larder::content::id::Prefix;
use larder::format::{FormatVersion, HashAlgorithm, KeyDerivation, Parameters, SecretBytes};
use larder::repo::{CreateOptions, Credential, Identity, OpenOptions, Repository, create};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [directory, contents, blobs] = arguments.as_slice() else {
        return Err("usage: many-contents DIRECTORY CONTENTS INDEX_BLOBS".into());
    };
    fill(Path::new(directory), contents.parse()?, blobs.parse()?).await
}

async fn fill(directory: &Path, contents: u64, blobs: u64) -> Result<(), Box<dyn Error>> {
    let password = SecretBytes::new(std::env::var("KOPIA_PASSWORD")?.into_bytes());
    let storage: Arc<dyn Storage> = Arc::new(FilesystemStorage::create(&FilesystemConfig::new(directory))?);
    let parameters = Parameters { hash: HashAlgorithm::Blake3_256_128, ..Parameters::new(FormatVersion::LATEST)? };
    let options = CreateOptions { parameters, key_derivation: KeyDerivation::default(), retention: None };
    create(&storage, &password, &options).await?;
    let options = OpenOptions {
        identity: Identity { username: "tool".into(), hostname: "tool".into() },
        cache: Default::default(),
        clock: Arc::new(SystemClock),
    };
    let repository = Repository::open(storage, &Credential::Password(password), options).await?;
    for blob in 0..blobs {
        let writer = repository.writer().await?;
        tokio::task::block_in_place(|| {
            let mut scratch = Scratch::default();
            for number in contents * blob / blobs..contents * (blob + 1) / blobs {
                writer.contents().put(Prefix::NONE, &u128::from(number).to_le_bytes(), None, &mut scratch)?;
            }
            Ok::<_, larder::content::ContentError>(())
        })?;
        writer.commit().await?;
    }
    Ok(())
}
