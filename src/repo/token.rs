//! Connection tokens: where a repository is, as one word to hand on (format page 12 §12.5).
//!
//! base64url without padding of `{"version":"1","storage":{…},"password":"…"}`. It is an encoding, not a protection:
//! who has the token has every secret in it.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::config::ConfigError;
use crate::blob::registry::StorageConfig;
use crate::format::SecretBytes;

const VERSION: &str = "1";

#[derive(Clone, Debug)]
pub struct ConnectionToken {
    pub storage: StorageConfig,
    pub password: Option<SecretBytes>,
}

#[derive(Serialize, Deserialize)]
struct Raw<P> {
    version: String,
    storage: StorageConfig,
    #[serde(default = "Option::default", skip_serializing_if = "Option::is_none")]
    password: Option<P>,
}

impl ConnectionToken {
    pub fn encode(&self) -> Result<Zeroizing<String>, ConfigError> {
        let password = match &self.password {
            Some(password) => Some(
                std::str::from_utf8(password.as_bytes())
                    .map_err(|_| ConfigError::Token("a password that is not UTF-8 does not fit in".to_owned()))?,
            ),
            None => None,
        };
        let raw = Raw { version: VERSION.to_owned(), storage: self.storage.clone(), password };
        let json = serde_json::to_vec(&raw).map(Zeroizing::new).map_err(|e| ConfigError::Token(e.to_string()))?;
        Ok(Zeroizing::new(URL_SAFE_NO_PAD.encode(&*json)))
    }

    pub fn decode(token: &str) -> Result<Self, ConfigError> {
        let wrong = || ConfigError::Token("it is damaged, or not a token of a repository".to_owned());
        let json = URL_SAFE_NO_PAD.decode(token.trim()).map(Zeroizing::new).map_err(|_| wrong())?;
        let raw: Raw<String> = serde_json::from_slice(&json).map_err(|_| wrong())?;
        if raw.version != VERSION {
            return Err(ConfigError::Token(format!("its version {:?} is not known", raw.version)));
        }
        let password = raw.password.filter(|password| !password.is_empty());
        let password = password.map(|password| SecretBytes::new(password.into_bytes()));
        Ok(Self { storage: raw.storage, password })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_kopias() {
        // {"version":"1","storage":{"type":"filesystem","config":{"path":"/r","dirShards":null}},"password":"pä"}
        let text = "eyJ2ZXJzaW9uIjoiMSIsInN0b3JhZ2UiOnsidHlwZSI6ImZpbGVzeXN0ZW0iLCJjb25maWciOnsicGF0aCI6Ii9yIiwiZGly\
                    U2hhcmRzIjpudWxsfX0sInBhc3N3b3JkIjoicMOkIn0";
        let token = ConnectionToken::decode(&format!(" {text}\n")).unwrap();
        assert_eq!(token.storage.kind(), "filesystem");
        assert_eq!(token.password.as_ref().unwrap().as_bytes(), "pä".as_bytes());
        assert_eq!(*token.encode().unwrap(), text);
        let without = ConnectionToken { password: None, ..token }.encode().unwrap();
        assert!(ConnectionToken::decode(&without).unwrap().password.is_none());
        for wrong in ["", "x", "e30", "bnVsbA", &text[1..]] {
            assert!(ConnectionToken::decode(wrong).is_err(), "{wrong:?}");
        }
    }
}
