//! Directory entries, and their JSON (format page 21 §1.2, page 28).
//!
//! ```json
//! {"name":"a","type":"f","mode":"0644","size":6,"mtime":"2020-01-02T03:04:05.678901234Z","uid":1,"gid":1,"obj":"9c0a…",
//!  "summ":{…},"larder":{"kind":"fifo","link":"…","name":"…","rdev":[8,1],"xattr":{"user.a":"…"}}}
//! ```
//!
//! What is zero or empty is left out. `mode` is octal text of the permission bits with Go's bits for setuid, setgid
//! and sticky. The object `larder` holds what kopia has no place for, and is there only when there is something in
//! it; without it an entry is byte for byte what kopia writes.
//!
//! A name is bytes. One that is not UTF-8 is stored twice: raw in `larder.name`, and in `name` as kopia would, each
//! bad byte a U+FFFD.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::{self, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use super::summary::Summary;
use crate::json::write_lossy_string;
use crate::object::ObjectId;

/// An entry's own name, without any `/`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Name(Box<[u8]>);

impl Name {
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub fn is_utf8(&self) -> bool {
        std::str::from_utf8(&self.0).is_ok()
    }

    /// Each byte that is not part of valid UTF-8 becomes U+FFFD.
    pub fn to_lossy(&self) -> Cow<'_, str> {
        match std::str::from_utf8(&self.0) {
            Ok(text) => Cow::Borrowed(text),
            Err(_) => {
                let mut text = String::new();
                for chunk in self.0.utf8_chunks() {
                    text.push_str(chunk.valid());
                    text.extend(chunk.invalid().iter().map(|_| '\u{fffd}'));
                }
                Cow::Owned(text)
            }
        }
    }
}

impl<T: Into<Vec<u8>>> From<T> for Name {
    fn from(bytes: T) -> Self {
        Self(bytes.into().into())
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_lossy())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_lossy())
    }
}

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    File,
    Directory,
    Symlink,
    Fifo,
    Socket,
    CharacterDevice(Device),
    BlockDevice(Device),
    /// Of a type that this program does not know.
    Unknown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Device {
    pub major: u32,
    pub minor: u32,
}

impl Kind {
    pub fn is_directory(self) -> bool {
        self == Self::Directory
    }

    /// `type` as it is stored: kopia sees an empty file in what it does not know.
    fn letter(self) -> &'static str {
        match self {
            Self::Directory => "d",
            Self::Symlink => "s",
            Self::Unknown => "",
            _ => "f",
        }
    }

    /// `larder.kind` and the device number.
    fn special(self) -> Option<(&'static str, Option<Device>)> {
        match self {
            Self::Fifo => Some(("fifo", None)),
            Self::Socket => Some(("sock", None)),
            Self::CharacterDevice(device) => Some(("chr", Some(device))),
            Self::BlockDevice(device) => Some(("blk", Some(device))),
            _ => None,
        }
    }
}

/// Extended attributes by name; a name need not be UTF-8 to the kernel, but those that can be stored are.
pub type Xattrs = BTreeMap<String, Vec<u8>>;

/// What few entries have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rare {
    /// Equal for all names of one inode.
    pub link: Option<String>,
    pub xattrs: Xattrs,
    /// Stored instead of the lossy form of the name, when that is taken by a sibling.
    pub(crate) stored_name: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub name: Name,
    pub kind: Kind,
    /// Permission bits, setuid, setgid and sticky, as Unix has them.
    pub mode: u16,
    /// Bytes of a file, or of a link's target.
    pub size: u64,
    pub mtime: Timestamp,
    pub uid: u32,
    pub gid: u32,
    pub object: ObjectId,
    /// Of a directory, and of a root entry that is a file.
    pub summary: Option<Box<Summary>>,
    pub rare: Option<Box<Rare>>,
}

/// What the names of files begin with that a checkpoint has only a part of (format page 21 §7).
pub const PARTIAL_PREFIX: &str = ".checkpointed.";

impl Entry {
    /// Whether the object may hold less than the entry's size: the part of a file that a checkpoint has.
    pub fn is_partial(&self) -> bool {
        self.kind == Kind::File && self.name.as_bytes().starts_with(PARTIAL_PREFIX.as_bytes())
    }

    pub fn link(&self) -> Option<&str> {
        self.rare.as_ref()?.link.as_deref()
    }

    pub fn xattrs(&self) -> Option<&Xattrs> {
        self.rare.as_ref().map(|rare| &rare.xattrs).filter(|xattrs| !xattrs.is_empty())
    }

    /// Appends the entry's JSON.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        let mut fields = Fields { out, separator: b'{' };
        if !self.name.as_bytes().is_empty() {
            fields.key("name");
            // A name that is text stands for itself, even when it was read from where raw names are.
            match self.rare.as_ref().and_then(|rare| rare.stored_name.as_ref()) {
                Some(stored) if !self.name.is_utf8() => write_lossy_string(stored.as_bytes(), fields.out),
                _ => write_lossy_string(self.name.as_bytes(), fields.out),
            }
        }
        if !self.kind.letter().is_empty() {
            fields.text("type", self.kind.letter());
        }
        if self.mode != 0 {
            fields.text("mode", format_args!("0{:o}", to_go_mode(self.mode)));
        }
        fields.number("size", self.size);
        fields.text("mtime", self.mtime);
        fields.number("uid", self.uid.into());
        fields.number("gid", self.gid.into());
        fields.key("obj");
        fields.out.push(b'"');
        self.object.write_text(fields.out);
        fields.out.push(b'"');
        if let Some(summary) = &self.summary {
            fields.key("summ");
            summary.write_json(fields.out);
        }
        self.write_larder(&mut fields);
        out.push(b'}');
    }

    /// The member `larder`, when there is something for it.
    fn write_larder(&self, fields: &mut Fields<'_>) {
        let raw_name = !self.name.is_utf8();
        let special = self.kind.special();
        if !raw_name && special.is_none() && self.link().is_none() && self.xattrs().is_none() {
            return;
        }
        fields.key("larder");
        let mut inner = Fields { out: fields.out, separator: b'{' };
        if let Some((kind, _)) = special {
            inner.text("kind", kind);
        }
        if let Some(link) = self.link() {
            inner.key("link");
            write_lossy_string(link.as_bytes(), inner.out);
        }
        if raw_name {
            inner.text("name", STANDARD.encode(self.name.as_bytes()));
        }
        if let Some((_, Some(Device { major, minor }))) = special {
            inner.key("rdev");
            inner.out.extend_from_slice(format!("[{major},{minor}]").as_bytes());
        }
        if let Some(xattrs) = self.xattrs() {
            inner.key("xattr");
            let mut separator = b'{';
            for (name, value) in xattrs {
                inner.out.push(separator);
                separator = b',';
                write_lossy_string(name.as_bytes(), inner.out);
                inner.out.extend_from_slice(format!(":\"{}\"", STANDARD.encode(value)).as_bytes());
            }
            inner.out.push(b'}');
        }
        fields.out.push(b'}');
    }
}

/// Writes the members of an object.
struct Fields<'a> {
    out: &'a mut Vec<u8>,
    separator: u8,
}

impl Fields<'_> {
    fn key(&mut self, key: &str) {
        self.out.push(self.separator);
        self.separator = b',';
        self.out.push(b'"');
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    /// A value that needs no escaping.
    fn text(&mut self, key: &str, value: impl fmt::Display) {
        self.key(key);
        push(self.out, format_args!("\"{value}\""));
    }

    /// Left out when zero.
    fn number(&mut self, key: &str, value: u64) {
        if value != 0 {
            self.key(key);
            push(self.out, format_args!("{value}"));
        }
    }
}

/// Formats into bytes.
pub(super) fn push(out: &mut Vec<u8>, text: fmt::Arguments<'_>) {
    struct Bytes<'a>(&'a mut Vec<u8>);
    impl Write for Bytes<'_> {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.0.extend_from_slice(text.as_bytes());
            Ok(())
        }
    }
    // Writing to memory does not fail.
    let _ = Bytes(out).write_fmt(text);
}

const GO_STICKY: u32 = 1 << 20;
const GO_SETGID: u32 = 1 << 22;
const GO_SETUID: u32 = 1 << 23;

/// Unix bits as Go's `os.FileMode` has them.
pub fn to_go_mode(mode: u16) -> u32 {
    let bit = |unix: u16, go: u32| if mode & unix == 0 { 0 } else { go };
    u32::from(mode & 0o777) | bit(0o1000, GO_STICKY) | bit(0o2000, GO_SETGID) | bit(0o4000, GO_SETUID)
}

fn from_go_mode(mode: u32) -> u16 {
    let bit = |go: u32, unix: u16| if mode & go == 0 { 0 } else { unix };
    (mode & 0o777) as u16 | bit(GO_STICKY, 0o1000) | bit(GO_SETGID, 0o2000) | bit(GO_SETUID, 0o4000)
}

/// Go's number syntax with a base by prefix.
fn parse_mode(text: &str) -> Option<u16> {
    let (digits, base) = match text.as_bytes() {
        [b'0', b'x' | b'X', ..] => (text.get(2..)?, 16),
        [b'0', b'o' | b'O', ..] => (text.get(2..)?, 8),
        [b'0', b'b' | b'B', ..] => (text.get(2..)?, 2),
        [b'0', ..] => (text, 8),
        _ => (text, 10),
    };
    u32::from_str_radix(digits, base).ok().map(from_go_mode)
}

impl Serialize for Entry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut json = Vec::new();
        self.write_json(&mut json);
        let json = String::from_utf8(json).map_err(serde::ser::Error::custom)?;
        RawValue::from_string(json).map_err(serde::ser::Error::custom)?.serialize(serializer)
    }
}

/// The JSON as it is.
#[derive(Deserialize)]
struct Raw<'a> {
    #[serde(default, borrow)]
    name: Cow<'a, str>,
    #[serde(default, borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(default, borrow)]
    mode: Cow<'a, str>,
    #[serde(default)]
    size: i64,
    #[serde(default, borrow)]
    mtime: Cow<'a, str>,
    #[serde(default)]
    uid: u32,
    #[serde(default)]
    gid: u32,
    obj: ObjectId,
    #[serde(default)]
    summ: Option<Box<Summary>>,
    #[serde(default, borrow)]
    larder: Option<RawLarder<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawLarder<'a> {
    #[serde(borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    link: Option<Cow<'a, str>>,
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
    rdev: Option<(u32, u32)>,
    #[serde(borrow)]
    xattr: BTreeMap<String, Cow<'a, str>>,
}

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Raw::deserialize(deserializer)?.try_into().map_err(serde::de::Error::custom)
    }
}

impl TryFrom<Raw<'_>> for Entry {
    type Error = String;

    fn try_from(raw: Raw<'_>) -> Result<Self, String> {
        let named = |what: &str| format!("entry {:?}: {what}", raw.name);
        let mut kind = match &*raw.kind {
            "f" => Kind::File,
            "d" => Kind::Directory,
            "s" => Kind::Symlink,
            _ => Kind::Unknown,
        };
        let mut name = Name::from(raw.name.as_bytes());
        let mut rare = None;
        if let Some(larder) = raw.larder {
            let device = larder.rdev.map(|(major, minor)| Device { major, minor });
            kind = match (&*larder.kind, device) {
                ("", _) => kind,
                ("fifo", _) => Kind::Fifo,
                ("sock", _) => Kind::Socket,
                ("chr", Some(device)) => Kind::CharacterDevice(device),
                ("blk", Some(device)) => Kind::BlockDevice(device),
                // Of a later larder.
                _ => Kind::Unknown,
            };
            let mut stored_name = None;
            if let Some(encoded) = larder.name {
                let bytes = STANDARD.decode(encoded.as_bytes()).map_err(|e| named(&format!("larder.name: {e}")))?;
                stored_name = Some(raw.name.clone().into_owned());
                name = Name::from(bytes);
            }
            let decode = |(name, value): (String, Cow<'_, str>)| Ok((name, STANDARD.decode(value.as_bytes())?));
            let xattrs: Xattrs = larder
                .xattr
                .into_iter()
                .map(decode)
                .collect::<Result<_, base64::DecodeError>>()
                .map_err(|e| named(&format!("larder.xattr: {e}")))?;
            rare = Some(Box::new(Rare { link: larder.link.map(Cow::into_owned), xattrs, stored_name }));
        }
        Ok(Self {
            kind,
            mode: if raw.mode.is_empty() { 0 } else { parse_mode(&raw.mode).ok_or_else(|| named("bad mode"))? },
            size: u64::try_from(raw.size).map_err(|_| named("negative size"))?,
            mtime: parse_time(&raw.mtime).ok_or_else(|| named("bad mtime"))?,
            uid: raw.uid,
            gid: raw.gid,
            object: raw.obj,
            summary: raw.summ,
            rare,
            name,
        })
    }
}

/// RFC 3339; an absent time is Go's zero time.
pub(super) fn parse_time(text: &str) -> Option<Timestamp> {
    if text.is_empty() { Some(Timestamp::UNIX_EPOCH) } else { text.parse().ok() }
}
