//! Printing: JSON in kopia's forms, and messages.

use std::borrow::Cow;
use std::io::{self, BufWriter, IsTerminal, Stdout, Write};

use serde::Serialize;

use super::args::JsonArgs;
use larder::json;

/// Standard output, written when there is enough of it or when it is [finished](Self::finish).
pub(super) struct Output(BufWriter<Stdout>);

impl Output {
    pub(super) fn new() -> Self {
        Self(BufWriter::with_capacity(64 << 10, io::stdout()))
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        unless_nobody_reads(self.0.write_all(bytes))
    }

    pub(super) fn line(&mut self, text: impl AsRef<[u8]>) -> anyhow::Result<()> {
        self.bytes(text.as_ref())?;
        self.bytes(b"\n")
    }

    /// Writes what is left.
    pub(super) fn finish(mut self) -> anyhow::Result<()> {
        unless_nobody_reads(self.0.flush())
    }
}

/// A reader that has seen enough is no error: the program ends.
fn unless_nobody_reads(written: io::Result<()>) -> anyhow::Result<()> {
    match written {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        other => Ok(other?),
    }
}

/// Prints one line of JSON, or several when it is to be indented.
pub(super) fn json_object(args: JsonArgs, value: &impl Serialize) -> anyhow::Result<()> {
    let mut output = Output::new();
    output.line(encode(args, value)?)?;
    output.finish()
}

/// A list as kopia prints it: each item on a line of its own, and no newline at the end.
pub(super) struct JsonList {
    output: Output,
    args: JsonArgs,
    first: bool,
}

impl JsonList {
    pub(super) fn begin(args: JsonArgs) -> anyhow::Result<Self> {
        let mut output = Output::new();
        output.bytes(if args.json_indent { b"[" } else { b"[\n" })?;
        Ok(Self { output, args, first: true })
    }

    pub(super) fn item(&mut self, value: &impl Serialize) -> anyhow::Result<()> {
        let separator: &[u8] = match (self.first, self.args.json_indent) {
            (true, false) => b" ",
            (false, false) => b",\n ",
            (true, true) => b"",
            (false, true) => b",",
        };
        self.first = false;
        self.output.bytes(separator)?;
        self.output.bytes(&encode(self.args, value)?)
    }

    pub(super) fn end(mut self) -> anyhow::Result<()> {
        // The line of the last item ends, if there was one.
        let end: &[u8] = if self.args.json_indent || self.first { b"]" } else { b"\n]" };
        self.output.bytes(end)?;
        self.output.finish()
    }
}

fn encode(args: JsonArgs, value: &impl Serialize) -> anyhow::Result<Vec<u8>> {
    let line = json::to_vec(value)?;
    Ok(if args.json_indent { json::indent(&line) } else { line })
}

/// Writes a line of text to standard output.
pub(super) fn println(text: &str) -> anyhow::Result<()> {
    let mut output = Output::new();
    output.line(text)?;
    output.finish()
}

/// A file's name for a person: as it is where a program may read it, and without control characters on a terminal.
pub(super) fn name(name: &[u8]) -> Cow<'_, [u8]> {
    if io::stdout().is_terminal() && name.iter().any(u8::is_ascii_control) {
        name.iter().map(|b| if b.is_ascii_control() { b'?' } else { *b }).collect()
    } else {
        Cow::Borrowed(name)
    }
}

/// Tells the user something that went wrong, in red on a terminal.
pub(super) fn error(text: &str) {
    if io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none() {
        eprintln!("\x1b[91m{text}\x1b[0m");
    } else {
        eprintln!("{text}");
    }
}
