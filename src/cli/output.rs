//! Printing: JSON in kopia's forms, and messages.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;

use super::args::JsonArgs;
use larder::json;

/// Prints one line of JSON, or several when it is to be indented.
pub(super) fn json_object(args: JsonArgs, value: &impl Serialize) -> anyhow::Result<()> {
    println_bytes(&encode(args, value)?)
}

/// A list as kopia prints it: each item on a line of its own, and no newline at the end.
pub(super) struct JsonList {
    args: JsonArgs,
    first: bool,
}

impl JsonList {
    pub(super) fn begin(args: JsonArgs) -> anyhow::Result<Self> {
        print_bytes(b"[")?;
        if !args.json_indent {
            print_bytes(b"\n")?;
        }
        Ok(Self { args, first: true })
    }

    pub(super) fn item(&mut self, value: &impl Serialize) -> anyhow::Result<()> {
        let separator: &[u8] = match (self.first, self.args.json_indent) {
            (true, false) => b" ",
            (false, false) => b",\n ",
            (true, true) => b"",
            (false, true) => b",",
        };
        self.first = false;
        print_bytes(separator)?;
        print_bytes(&encode(self.args, value)?)
    }

    pub(super) fn end(self) -> anyhow::Result<()> {
        if !self.args.json_indent {
            print_bytes(b"\n")?;
        }
        print_bytes(b"]")
    }
}

fn encode(args: JsonArgs, value: &impl Serialize) -> anyhow::Result<Vec<u8>> {
    let line = json::to_vec(value)?;
    if !args.json_indent {
        return Ok(line);
    }
    // Indented by what the compact form means, so that both hold the same.
    Ok(serde_json::to_vec_pretty(&serde_json::from_slice::<serde_json::Value>(&line)?)?)
}

/// Writes to standard output. A reader that has seen enough is no error: the program ends.
pub(super) fn print_bytes(bytes: &[u8]) -> anyhow::Result<()> {
    match io::stdout().write_all(bytes).and_then(|()| io::stdout().flush()) {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        other => Ok(other?),
    }
}

pub(super) fn println_bytes(bytes: &[u8]) -> anyhow::Result<()> {
    print_bytes(&[bytes, b"\n"].concat())
}

/// Writes a line of text to standard output.
pub(super) fn println(text: &str) -> anyhow::Result<()> {
    println_bytes(text.as_bytes())
}

/// Tells the user something that went wrong, in red on a terminal.
pub(super) fn error(text: &str) {
    if io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none() {
        eprintln!("\x1b[91m{text}\x1b[0m");
    } else {
        eprintln!("{text}");
    }
}
