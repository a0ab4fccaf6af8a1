//! JSON as Go's encoder writes it, so that equal documents are equal bytes to kopia and larder (format page 21 §1.4).
//!
//! Beyond what JSON asks for, Go escapes `<`, `>`, `&`, U+2028 and U+2029 in strings. Keys come in the order of a
//! struct's fields; maps must be sorted ones.

use std::io;

use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};

struct GoFormatter;

impl Formatter for GoFormatter {
    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let mut start = 0;
        for (at, c) in fragment.char_indices() {
            let escape = match c {
                '<' => "\\u003c",
                '>' => "\\u003e",
                '&' => "\\u0026",
                '\u{2028}' => "\\u2028",
                '\u{2029}' => "\\u2029",
                _ => continue,
            };
            writer.write_all(fragment.get(start..at).unwrap_or_default().as_bytes())?;
            writer.write_all(escape.as_bytes())?;
            start = at + c.len_utf8();
        }
        writer.write_all(fragment.get(start..).unwrap_or_default().as_bytes())
    }
}

/// One line without a newline at its end.
pub fn to_vec(value: &(impl Serialize + ?Sized)) -> serde_json::Result<Vec<u8>> {
    let mut out = Vec::new();
    value.serialize(&mut Serializer::with_formatter(&mut out, GoFormatter))?;
    Ok(out)
}

/// One line without a newline at its end.
pub fn to_string(value: &(impl Serialize + ?Sized)) -> serde_json::Result<String> {
    String::from_utf8(to_vec(value)?).map_err(serde::ser::Error::custom)
}

/// Valid JSON in several lines, two spaces for each level. Numbers and strings stay as they are written, escapes too.
pub fn indent(json: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(json.len() * 2);
    let mut depth = 0_usize;
    let (mut in_string, mut escaped) = (false, false);
    let mut opened = false;
    for byte in json.iter().copied() {
        if in_string {
            out.push(byte);
            in_string = escaped || byte != b'"';
            escaped = byte == b'\\' && !escaped;
            continue;
        }
        let closes = matches!(byte, b'}' | b']');
        if byte.is_ascii_whitespace() {
            continue;
        }
        if closes {
            depth = depth.saturating_sub(1);
        }
        // What is empty stays in one line.
        if opened != closes {
            new_line(&mut out, depth);
        }
        opened = false;
        match byte {
            b'{' | b'[' => {
                out.push(byte);
                depth += 1;
                opened = true;
            }
            b',' => {
                out.push(byte);
                new_line(&mut out, depth);
            }
            b':' => out.extend_from_slice(b": "),
            _ => {
                out.push(byte);
                in_string = byte == b'"';
            }
        }
    }
    out
}

fn new_line(out: &mut Vec<u8>, depth: usize) {
    out.push(b'\n');
    out.resize(out.len() + 2 * depth, b' ');
}

/// Appends a string in quotes. A byte that is not valid UTF-8 becomes `\ufffd`, as Go writes it.
pub fn write_lossy_string(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for chunk in text.utf8_chunks() {
        write_escaped(chunk.valid(), out);
        for _ in chunk.invalid() {
            out.extend_from_slice(b"\\ufffd");
        }
    }
    out.push(b'"');
}

fn write_escaped(text: &str, out: &mut Vec<u8>) {
    let bytes = text.as_bytes();
    let needs_escape = |b: &u8| *b < 0x20 || matches!(b, b'"' | b'\\' | b'<' | b'>' | b'&' | 0xe2);
    if !bytes.iter().any(needs_escape) {
        return out.extend_from_slice(bytes);
    }
    // Quotes and escapes are serde_json's and Go's alike; only the quotes around are not wanted here.
    let quoted = to_vec(text).unwrap_or_default();
    out.extend_from_slice(quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn escapes_are_gos() {
        let text = "a<b>&\u{2028}\u{2029}\"\\\u{8}\u{c}\n\r\t\u{1}\u{7f}é\u{fffd}";
        let expected = "\"a\\u003cb\\u003e\\u0026\\u2028\\u2029\\\"\\\\\\b\\f\\n\\r\\t\\u0001\u{7f}é\u{fffd}\"";
        assert_eq!(to_string(text).unwrap(), expected);
        let mut lossy = Vec::new();
        write_lossy_string(text.as_bytes(), &mut lossy);
        assert_eq!(String::from_utf8(lossy).unwrap(), expected);
        let mut lossy = Vec::new();
        write_lossy_string(b"bad\xff\xe2\x82utf8", &mut lossy);
        assert_eq!(lossy, b"\"bad\\ufffd\\ufffd\\ufffdutf8\"");
    }

    #[test]
    fn indented() {
        let text = br#"{"a":{},"b":[ ],"c":[1.50,-2e3,{"d\\":"x\"{,:[\u003e"}],"e":null}"#;
        let expected = "{\n  \"a\": {},\n  \"b\": [],\n  \"c\": [\n    1.50,\n    -2e3,\n    {\n      \"d\\\\\": \
                        \"x\\\"{,:[\\u003e\"\n    }\n  ],\n  \"e\": null\n}";
        assert_eq!(String::from_utf8(indent(text)).unwrap(), expected);
        assert_eq!(indent(b"7"), b"7");
        assert_eq!(indent(b" [ ] "), b"[]");
    }

    proptest! {
        #[test]
        fn indentation_changes_nothing(text in "\\PC*") {
            let value = serde_json::json!({"a": [text, 1, {"": [text.len(), [], {}]}]});
            let indented = indent(&serde_json::to_vec(&value).unwrap());
            prop_assert_eq!(&indented, &serde_json::to_vec_pretty(&value).unwrap());
        }

        #[test]
        fn both_writers_agree_on_text(text in "\\PC*|[\\x00-\\x7f]*|[\\u{2020}-\\u{2030}]*") {
            let mut lossy = Vec::new();
            write_lossy_string(text.as_bytes(), &mut lossy);
            prop_assert_eq!(&lossy, &to_vec(&text).unwrap());
            prop_assert_eq!(serde_json::from_slice::<String>(&lossy).unwrap(), text);
        }
    }
}
