//! The password that a client remembers, beside its configuration file `FILE` (format page 12), and the key that it
//! derives to.
//!
//! ```text
//! FILE.kopia-password   base64 of the password; kopia's, used by both
//! FILE.larder-key       base64 of: key (32 bytes), HMAC-SHA256 of the password under that key (32 bytes)
//! ```
//!
//! Deriving the key takes a fraction of a second and 64 MiB by design, so that passwords are slow to guess. Whoever
//! can read the remembered password need not guess, so keeping the key beside it gives nothing away. The key serves
//! only the very password that it was derived from: the HMAC tells. Whether it still opens the repository is told by
//! the repository, as with any key. Both files can be read by their owner only.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::config::{ConfigError, beside, remove, write_private};
use crate::format::{FormatKey, SecretBytes};

const KEY_LENGTH: usize = 32;

/// Remembers the password of a configuration.
pub fn save_password(config_path: &Path, password: &SecretBytes) -> Result<(), ConfigError> {
    write_private(&password_file(config_path), encode(password.as_bytes()).as_bytes())
}

/// The remembered password, if there is one.
pub fn load_password(config_path: &Path) -> Result<Option<SecretBytes>, ConfigError> {
    let path = password_file(config_path);
    match read(&path)? {
        Some(encoded) => decode(&encoded).map(Some).ok_or(ConfigError::Password { path }),
        None => Ok(None),
    }
}

/// Remembers the key that a remembered password derives to.
pub fn save_key(config_path: &Path, password: &SecretBytes, key: &FormatKey) -> Result<(), ConfigError> {
    let proof = hmac::sign(&hmac_key(key), password.as_bytes());
    let both = SecretBytes::new([key.as_bytes(), proof.as_ref()].concat());
    write_private(&key_file(config_path), encode(both.as_bytes()).as_bytes())
}

/// The key that this password derives to, if it is remembered.
pub fn load_key(config_path: &Path, password: &SecretBytes) -> Option<FormatKey> {
    let path = key_file(config_path);
    let encoded = read(&path).inspect_err(|e| tracing::debug!("no key is remembered: {e}")).ok()??;
    let both = decode(&encoded)?;
    let (key, proof) = both.as_bytes().split_at_checked(KEY_LENGTH)?;
    let key = FormatKey::new(key.try_into().ok()?);
    hmac::verify(&hmac_key(&key), password.as_bytes(), proof).ok()?;
    Some(key)
}

/// Forgets the password and its key.
pub fn forget(config_path: &Path) -> Result<(), ConfigError> {
    remove(&key_file(config_path))?;
    remove(&password_file(config_path))
}

fn password_file(config_path: &Path) -> PathBuf {
    beside(config_path, "kopia-password")
}

fn key_file(config_path: &Path) -> PathBuf {
    beside(config_path, "larder-key")
}

fn hmac_key(key: &FormatKey) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes())
}

fn encode(secret: &[u8]) -> SecretBytes {
    SecretBytes::new(STANDARD.encode(secret).into_bytes())
}

fn decode(encoded: &SecretBytes) -> Option<SecretBytes> {
    STANDARD.decode(encoded.as_bytes().trim_ascii()).ok().map(SecretBytes::new)
}

fn read(path: &Path) -> Result<Option<SecretBytes>, ConfigError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(SecretBytes::new(bytes))),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(ConfigError::File { what: "cannot read", path: path.to_owned(), source }),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use tempfile::TempDir;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn passwords_are_remembered() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("new/repository.config");
        assert!(load_password(&path).unwrap().is_none());
        save_password(&path, &SecretBytes::new("pässwörd".into())).unwrap();
        assert_eq!(load_password(&path).unwrap().unwrap().as_bytes(), "pässwörd".as_bytes());
        let file = password_file(&path);
        assert_eq!(fs::read_to_string(&file).unwrap(), "cMOkc3N3w7ZyZA==");
        assert_eq!(mode(&file), 0o600);
        assert_eq!(mode(file.parent().unwrap()), 0o700);
        fs::write(&file, "???").unwrap();
        assert!(load_password(&path).is_err());
    }

    #[test]
    fn a_key_serves_only_its_own_password() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("repository.config");
        let [password, other] = ["one", "other"].map(|text| SecretBytes::new(text.into()));
        assert!(load_key(&path, &password).is_none());
        save_key(&path, &password, &FormatKey::new([7; 32])).unwrap();
        assert_eq!(load_key(&path, &password).unwrap().as_bytes(), &[7; 32]);
        assert!(load_key(&path, &other).is_none());
        assert_eq!(mode(&key_file(&path)), 0o600);

        let whole = fs::read(key_file(&path)).unwrap();
        for length in 0..whole.len() {
            fs::write(key_file(&path), &whole[..length]).unwrap();
            assert!(load_key(&path, &password).is_none(), "cut to {length} bytes");
        }
    }

    #[test]
    fn nothing_is_left_when_forgotten() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("repository.config");
        let password = SecretBytes::new("one".into());
        forget(&path).unwrap();
        save_password(&path, &password).unwrap();
        save_key(&path, &password, &FormatKey::new([7; 32])).unwrap();
        forget(&path).unwrap();
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}
