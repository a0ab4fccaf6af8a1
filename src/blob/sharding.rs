//! How a blob's name becomes a path in a sharded directory (format page 01 §1.3).
//!
//! A name longer than `maxNonShardedLength` is cut into directories: `shards` lists how many bytes each level
//! takes, the rest is the file name, with `.f` at its end. The parameters lie in the file `.shards` at the root,
//! which wins over every default:
//!
//! ```json
//! {"default":[1,3],"maxNonShardedLength":20,"overrides":[{"prefix":"p","shards":[2,2]}]}
//! ```
//!
//! Reading a name back is the other way round: directory names and file name put together, less the `.f`.

use serde::{Deserialize, Serialize};

use super::BlobId;

/// The file with the parameters.
pub const SHARDS_FILE: &str = ".shards";
/// What every blob's file name ends in.
pub const SUFFIX: &str = ".f";

const MAX_NON_SHARDED_LENGTH: usize = 20;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sharding {
    #[serde(default, deserialize_with = "null_is_empty")]
    default: Vec<usize>,
    #[serde(default, rename = "maxNonShardedLength")]
    max_non_sharded_length: usize,
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_empty")]
    overrides: Vec<Override>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Override {
    prefix: String,
    #[serde(default, deserialize_with = "null_is_empty")]
    shards: Vec<usize>,
}

/// Go writes an empty list as `null`.
fn null_is_empty<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

impl Sharding {
    /// For a directory without a `.shards` file.
    pub fn new(shards: Vec<usize>) -> Self {
        Self { default: shards, max_non_sharded_length: MAX_NON_SHARDED_LENGTH, overrides: Vec::new() }
    }

    pub fn parse(file: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(file)
    }

    /// Bytes of the `.shards` file.
    pub fn to_file(&self) -> Vec<u8> {
        let mut file = serde_json::json!({
            "default": self.default,
            "maxNonShardedLength": self.max_non_sharded_length,
        })
        .to_string()
        .into_bytes();
        file.push(b'\n');
        file
    }

    /// The directories above a blob's file, in order, and the file's name.
    pub fn split(&self, id: &BlobId) -> (Vec<String>, String) {
        let mut rest = id.as_str();
        let mut directories = Vec::new();
        if rest.len() > self.max_non_sharded_length {
            let overridden = self.overrides.iter().find(|o| id.starts_with(&o.prefix)).map(|o| &o.shards);
            for &length in overridden.unwrap_or(&self.default) {
                if length == 0 || rest.len() <= length {
                    break;
                }
                let (directory, remaining) = rest.split_at(length);
                directories.push(directory.to_owned());
                rest = remaining;
            }
        }
        (directories, format!("{rest}{SUFFIX}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Vector {
        blob_id: String,
        dot_shards_file: String,
        relative_path: String,
    }

    #[test]
    fn paths_are_kopias() {
        let vectors: Vec<Vector> =
            serde_json::from_str(include_str!("../../tests/data/vectors/sharding.json")).expect("vectors parse");
        assert!(vectors.len() > 30);
        for v in vectors {
            let sharding = Sharding::parse(v.dot_shards_file.as_bytes()).expect(&v.dot_shards_file);
            let (mut path, file) = sharding.split(&BlobId::new(&v.blob_id).expect("a valid id"));
            path.push(file);
            assert_eq!(path.join("/"), v.relative_path, "{}", v.dot_shards_file);
        }
    }

    #[test]
    fn file_is_kopias() {
        let written = Sharding::new(vec![1, 3]).to_file();
        assert_eq!(written, b"{\"default\":[1,3],\"maxNonShardedLength\":20}\n");
        assert_eq!(Sharding::parse(&written).expect("own file parses"), Sharding::new(vec![1, 3]));
        assert_eq!(
            Sharding::parse(br#"{"default":null,"maxNonShardedLength":20}"#).expect("null"),
            Sharding::new(vec![])
        );
    }
}
