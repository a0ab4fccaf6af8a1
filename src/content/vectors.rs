//! Index blobs and packs that kopia wrote: opened, understood, and written again to the same bytes.

use serde::Deserialize;

use super::index::{self, Index, IndexData, IndexEntry};
use super::pack::Postamble;
use super::sealed;
use crate::blob::BlobId;
use crate::format::testdata::vectors;
use crate::format::{Crypto, FormatBlock, FormatKey, OVERHEAD, Parameters, open_block, replica};

const PREAMBLE: usize = 32;
const ALIGNMENT: usize = 4096;
/// Random bytes that follow an index in some places.
const RANDOM_TAIL: usize = 32;

/// The parameters of the fixture that a vector comes from, and its `kopia.repository`.
fn parameters(fixture: &str) -> (Parameters, Vec<u8>) {
    #[derive(Deserialize)]
    struct Block {
        fixture: String,
        kopia_repository_blob_utf8: String,
        format_key_hex: String,
    }
    let blocks: Vec<Block> = vectors::load("format_block.json");
    let found = blocks.into_iter().find(|block| block.fixture == fixture).unwrap();
    let blob = found.kopia_repository_blob_utf8.into_bytes();
    let key = FormatKey::new(bytes(&found.format_key_hex).try_into().unwrap());
    (FormatBlock::parse(&blob).unwrap().open(&key).unwrap(), blob)
}

fn bytes(hex: &str) -> Vec<u8> {
    hex::decode(hex).unwrap()
}

fn nonce(stored: &[u8]) -> [u8; 12] {
    *stored.first_chunk().unwrap()
}

/// An entry as these vectors show it.
#[derive(Deserialize)]
struct Shown {
    id: String,
    ts: u64,
    fv: u8,
    pack: String,
    off: u32,
    deleted: u8,
    packed: u32,
    orig: u32,
    comp: u32,
    ek: u8,
}

impl From<Shown> for IndexEntry {
    fn from(shown: Shown) -> Self {
        Self {
            id: shown.id.parse().unwrap(),
            timestamp: shown.ts,
            deleted: shown.deleted == 1,
            pack: BlobId::new(&shown.pack).unwrap(),
            pack_offset: shown.off,
            packed_length: shown.packed,
            original_length: shown.orig,
            compression: shown.comp,
            format_version: shown.fv,
            encryption_key: shown.ek,
        }
    }
}

/// The index in `plaintext` has these entries, and they encode to it; gives the bytes that are left.
fn check_index(plaintext: &[u8], entries: Vec<Shown>, version: u8) -> &[u8] {
    let entries: Vec<IndexEntry> = entries.into_iter().map(Into::into).collect();
    let index = Index::open(IndexData::Memory(plaintext.to_vec().into())).unwrap();
    index.check().unwrap();
    let found: Vec<IndexEntry> = (0..index.len()).map(|i| index.entry(i).unwrap()).collect();
    assert_eq!(found, index::merge(entries));
    plaintext.strip_prefix(&*index::encode(&found, version).unwrap()).unwrap()
}

#[test]
fn index_blobs() {
    #[derive(Deserialize)]
    struct Vector {
        fixture: String,
        blob_id: String,
        iv_hex: String,
        per_blob_key_hex: String,
        stored_hex: String,
        plaintext_hex: String,
        plaintext_hash_hex: String,
        entries: Vec<Shown>,
    }
    let vectors: Vec<Vector> = vectors::load("index_blobs.json");
    assert_eq!(vectors.len(), 6);
    for v in vectors {
        let (parameters, _) = parameters(&v.fixture);
        let crypto = Crypto::new(&parameters).unwrap();
        let (id, stored, plaintext) = (BlobId::new(&v.blob_id).unwrap(), bytes(&v.stored_hex), bytes(&v.plaintext_hex));
        assert_eq!(sealed::open(&crypto, &id, &stored).unwrap(), plaintext, "{id}");
        let mut in_place = stored.clone();
        let range = sealed::open_in_place(&crypto, &id, &mut in_place).unwrap();
        assert_eq!(in_place[range], plaintext);

        let hash = crypto.hasher.hash(&plaintext);
        assert_eq!((hex::encode(hash.as_bytes()), hex::encode(hash.iv())), (v.plaintext_hash_hex, v.iv_hex));
        assert_eq!(crypto.cipher.seal_with_nonce(&hash.iv(), nonce(&stored), &plaintext), stored);
        if crypto.cipher.algorithm() == crate::format::EncryptionAlgorithm::Aes256GcmHmacSha256 {
            let key = FormatKey::new(bytes(&v.per_blob_key_hex).try_into().unwrap());
            assert_eq!(open_block(&key, &hash.iv(), &stored).unwrap(), plaintext);
        }

        let (name, suffix) = v.blob_id.split_once('-').map_or((&*v.blob_id, None), |(name, s)| (name, Some(s)));
        let prefix = name.strip_suffix(&hex::encode(hash.as_bytes())).unwrap();
        assert_eq!(sealed::seal(&crypto, prefix, suffix, &plaintext).unwrap().0, id);
        // What a compaction of the old scheme wrote has no suffix, and random bytes after its index.
        let left = check_index(&plaintext, v.entries, parameters.index_version);
        assert_eq!(left.len(), if suffix.is_none() { RANDOM_TAIL } else { 0 }, "{id}");
    }
}

#[test]
fn packs() {
    #[derive(Deserialize)]
    struct Vector {
        fixture: String,
        pack_blob_id: String,
        length: usize,
        stored_hex: String,
        preamble_length: usize,
        postamble_hex: String,
        postamble: Fields,
        local_index_plaintext_hex: String,
        entries: Vec<Shown>,
        contents: Vec<Content>,
    }
    #[derive(Deserialize)]
    struct Fields {
        version: u64,
        local_index_iv_hex: String,
        local_index_offset: u64,
        local_index_length: u64,
    }
    #[derive(Deserialize)]
    struct Content {
        id: String,
        offset: usize,
        packed_length: usize,
        compression: u32,
        original_length: usize,
        decrypted_hex: String,
    }
    let vectors: Vec<Vector> = vectors::load("packs.json");
    assert_eq!(vectors.len(), 3);
    for v in vectors {
        let (parameters, format_blob) = parameters(&v.fixture);
        let crypto = Crypto::new(&parameters).unwrap();
        let pack = bytes(&v.stored_hex);
        assert_eq!(pack.len(), v.length, "{}", v.pack_blob_id);

        let head = if parameters.enable_password_change { Vec::new() } else { replica(&format_blob).unwrap() };
        assert_eq!(pack[..head.len()], head);
        assert_eq!(v.preamble_length, head.len() + PREAMBLE);
        let mut end = v.preamble_length;
        for content in &v.contents {
            assert_eq!((content.offset, content.compression), (end, 0));
            end += content.packed_length;
            let stored = &pack[content.offset..end];
            let id: super::id::ContentId = content.id.parse().unwrap();
            let plaintext = bytes(&content.decrypted_hex);
            assert_eq!(crypto.cipher.open(id.iv().unwrap(), stored).unwrap(), plaintext);
            assert_eq!(crypto.cipher.seal_with_nonce(id.iv().unwrap(), nonce(stored), &plaintext), stored);
            assert_eq!(crypto.hasher.hash(&plaintext).as_bytes(), id.hash());
            assert_eq!((plaintext.len(), plaintext.len() + OVERHEAD), (content.original_length, content.packed_length));
        }

        let postamble = Postamble::decode(&pack).unwrap();
        let fields = &v.postamble;
        let iv = bytes(&fields.local_index_iv_hex);
        let expected = Postamble { iv, offset: fields.local_index_offset, length: fields.local_index_length };
        assert_eq!((&postamble, fields.version), (&expected, super::pack::POSTAMBLE_VERSION));
        let encoded = postamble.encode().unwrap();
        assert_eq!(hex::encode(&encoded), v.postamble_hex);
        assert!(pack.ends_with(&encoded));

        let (start, length) = (postamble.offset as usize, postamble.length as usize);
        assert_eq!(start, (end / ALIGNMENT + 1) * ALIGNMENT, "padded by 1 to 4096 bytes");
        assert_eq!(start + length + encoded.len(), pack.len());
        let (stored, plaintext) = (&pack[start..start + length], bytes(&v.local_index_plaintext_hex));
        assert_eq!(crypto.cipher.open(&postamble.iv, stored).unwrap(), plaintext);
        assert_eq!(crypto.cipher.seal_with_nonce(&postamble.iv, nonce(stored), &plaintext), stored);
        assert_eq!(crypto.hasher.hash(&plaintext).as_bytes(), postamble.iv);
        assert_eq!(check_index(&plaintext, v.entries, parameters.index_version).len(), RANDOM_TAIL);
    }
}
