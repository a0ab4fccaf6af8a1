//! Objects that kopia made of data that can be made again: the same chunks, lists and ids.

use std::io::{self, Read};

use aws_lc_rs::digest::{SHA256, digest};
use larder::content::Scratch;
use larder::content::id::Prefix;
use larder::format::testdata::generate;
use larder::format::{CompressionAlgorithm, FormatVersion, Parameters, SecretBytes};
use larder::object::{Object, ObjectId, ObjectOptions, put_stream};
use serde::Deserialize;
use serde_json::Value;

use crate::support::TestRepository;

#[derive(Deserialize)]
struct Vectors {
    objects: Vec<Vector>,
}

#[derive(Deserialize)]
struct Vector {
    fixture: String,
    hash: String,
    secret_hex: String,
    splitter: String,
    data: String,
    length: u64,
    object_id: String,
    /// Its ids depend on the encoder: only the lengths of chunks can be the same.
    object_level_compression: Option<String>,
    chunk_count: Option<usize>,
    indirect_list_sha256: Option<String>,
    indirect_list_length: Option<usize>,
    #[serde(default)]
    first_entries: Vec<Value>,
    last_entry: Option<Value>,
    outer_list_utf8: Option<String>,
}

impl Vector {
    fn input(&self) -> Box<dyn Read> {
        match self.data.as_str() {
            "zeros(200000000) then ascii \"END OF ZERO FILE\\n\"" => {
                Box::new(io::repeat(0).take(200_000_000).chain(&b"END OF ZERO FILE\n"[..]))
            }
            name => Box::new(io::Cursor::new(generate(name).unwrap())),
        }
    }

    async fn repository(&self) -> TestRepository {
        let version = if self.object_level_compression.is_some() { FormatVersion::V1 } else { FormatVersion::LATEST };
        TestRepository::with_parameters(Parameters {
            hash: self.hash.parse().unwrap(),
            splitter: self.splitter.parse().unwrap(),
            secret: SecretBytes::new(hex::decode(&self.secret_hex).unwrap()),
            ..Parameters::new(version).unwrap()
        })
        .await
    }

    /// Entries as far as they must be the same.
    fn comparable(&self, entry: &Value) -> Value {
        let mut entry = entry.clone();
        if self.object_level_compression.is_some() {
            let id = entry["o"].as_str().unwrap();
            assert!(id.starts_with('Z'), "{id}");
            entry["o"] = Value::Null;
        }
        entry
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_those_of_kopia() {
    let text = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/vectors/object_ids.json"));
    let vectors: Vectors = serde_json::from_str(text).unwrap();
    assert_eq!(vectors.objects.len(), 5);
    for v in vectors.objects {
        let repository = v.repository().await.open().await;
        let writer = repository.writer().await.unwrap();
        let options = ObjectOptions {
            prefix: Prefix::NONE,
            compression: v.object_level_compression.is_some().then_some(CompressionAlgorithm::ZstdFastest),
            metadata_compression: None,
            splitter: repository.parameters().splitter,
        };
        let (id, length) = tokio::task::block_in_place(|| {
            put_stream(writer.contents(), &options, &mut *v.input(), &mut Scratch::default()).unwrap()
        });
        writer.commit().await.unwrap();
        assert_eq!(length, v.length, "{}", v.fixture);
        let object = Object::open(repository.contents(), id).await.unwrap();
        assert_eq!((object.len(), object.pieces().len()), (v.length, v.chunk_count.unwrap_or(1)));
        let Some(list) = read_list(&repository, id).await else {
            assert_eq!(id.to_string(), v.object_id);
            continue;
        };
        let entries: Value = serde_json::from_slice(&list).unwrap();
        let entries = entries["entries"].as_array().unwrap();
        for (found, expected) in entries.iter().zip(&v.first_entries).chain(entries.last().zip(v.last_entry.as_ref())) {
            assert_eq!(v.comparable(found), v.comparable(expected), "{}", v.fixture);
        }
        assert_eq!(Some(entries.len()), v.chunk_count);
        assert_eq!(Some(list.len()), v.indirect_list_length);
        if v.object_level_compression.is_none() {
            assert_eq!(id.to_string(), v.object_id);
            assert_eq!(Some(hex::encode(digest(&SHA256, &list))), v.indirect_list_sha256);
        }
        if let Some(outer) = &v.outer_list_utf8 {
            let outermost = v.object_id.strip_prefix("II").unwrap().parse().unwrap();
            let object = Object::open(repository.contents(), outermost).await.unwrap();
            assert_eq!(object.read(repository.contents()).await.unwrap(), outer.as_bytes());
        }
    }
}

/// The whole list of an object's chunks; None when it is a single one.
async fn read_list(repository: &larder::repo::Repository, id: ObjectId) -> Option<larder::bytes::Bytes> {
    let list: ObjectId = id.to_string().strip_prefix('I')?.parse().unwrap();
    let object = Object::open(repository.contents(), list).await.unwrap();
    Some(object.read(repository.contents()).await.unwrap())
}
