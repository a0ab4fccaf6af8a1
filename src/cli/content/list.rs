//! `larder content list`

use clap::ArgAction;
use jiff::Timestamp;
use larder::content::index::IndexEntry;
use serde::Serialize;

use super::{compressor, saved};
use crate::cli::app::App;
use crate::cli::args::JsonArgs;
use crate::cli::output::{JsonList, Output};
use crate::cli::ranges::RangeArgs;
use crate::cli::units::{bytes, time};

#[derive(Debug, clap::Args)]
#[command(
    disable_help_flag = true,
    after_help = "Examples:
  larder content list -l --prefix=k              # directories, and where they are
  larder content list --deleted-only -s          # how much maintenance has marked as deleted
  larder content list --json | jq 'map(.length) | add'"
)]
pub(in crate::cli) struct Args {
    /// Size, time and place in the storage as well
    #[arg(long, short = 'l')]
    long: bool,
    /// Sizes before and after compression as well
    #[arg(long, short = 'c', conflicts_with = "long")]
    compression: bool,
    /// Deleted contents as well
    #[arg(long)]
    deleted: bool,
    /// Only deleted contents
    #[arg(long)]
    deleted_only: bool,
    /// Print only how many there are, and how large
    #[arg(long, short = 's')]
    summary: bool,
    /// Sizes for people
    #[arg(long, short = 'h')]
    human: bool,
    #[command(flatten)]
    range: RangeArgs,
    #[command(flatten)]
    json: JsonArgs,
    /// Print help
    #[arg(long, action = ArgAction::Help)]
    help: Option<bool>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Item<'a> {
    pack_file: &'a str,
    time: u64,
    original_length: u32,
    length: u32,
    pack_offset: u32,
    #[serde(skip_serializing_if = "is_zero")]
    compression: u32,
    #[serde(rename = "contentID")]
    content_id: String,
    deleted: bool,
    format_version: u8,
}

fn is_zero(n: &u32) -> bool {
    *n == 0
}

pub(super) async fn run(app: &App, args: Args) -> anyhow::Result<()> {
    let repository = app.open().await?;
    let mut printer =
        if args.json.json { Printer::Json(JsonList::begin(args.json)?) } else { Printer::Text(Output::new()) };
    let (mut count, mut original, mut packed) = (0_u64, 0_u64, 0_u64);
    let each = |entry: IndexEntry| {
        if if entry.deleted { !(args.deleted || args.deleted_only) } else { args.deleted_only } {
            return Ok(());
        }
        count += 1;
        original += u64::from(entry.original_length);
        packed += u64::from(entry.packed_length);
        match &mut printer {
            Printer::Json(list) => list.item(&Item::from(&entry)),
            Printer::Text(_) if args.summary => Ok(()),
            Printer::Text(out) => out.line(args.line(app, &entry)),
        }
    };
    args.range.for_each(&repository, each, |e| app.report_unusable(&e))?;
    match printer {
        Printer::Json(list) => list.end(),
        Printer::Text(mut out) => {
            if args.summary {
                let (original, packed) = (args.size(original), args.size(packed));
                out.line(format!("Total: {count} contents, {original} total size, {packed} packed"))?;
            }
            out.finish()
        }
    }
}

enum Printer {
    Json(JsonList),
    Text(Output),
}

impl<'a> From<&'a IndexEntry> for Item<'a> {
    fn from(entry: &'a IndexEntry) -> Self {
        Self {
            pack_file: entry.pack.as_str(),
            time: entry.timestamp,
            original_length: entry.original_length,
            length: entry.packed_length,
            pack_offset: entry.pack_offset,
            compression: entry.compression,
            content_id: entry.id.to_string(),
            deleted: entry.deleted,
            format_version: entry.format_version,
        }
    }
}

impl Args {
    fn size(&self, n: u64) -> String {
        if self.human { bytes(n) } else { n.to_string() }
    }

    fn line(&self, app: &App, entry: &IndexEntry) -> String {
        let IndexEntry { id, pack, pack_offset, .. } = entry;
        let deleted = if entry.deleted { " (deleted)" } else { "" };
        let (original, packed) = (u64::from(entry.original_length), u64::from(entry.packed_length));
        let compression = match compressor(entry) {
            Some(name) => format!("{name} {}", saved(original, packed)),
            None => "-".to_owned(),
        };
        if self.long {
            let written = i64::try_from(entry.timestamp).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
            let written = time(written.unwrap_or(Timestamp::MAX), app.zone());
            format!("{id} {} {written} {pack} {pack_offset}+{packed}{deleted} {compression}", self.size(original))
        } else if self.compression {
            format!("{id} length {} packed {}{deleted} {compression}", self.size(original), self.size(packed))
        } else {
            id.to_string()
        }
    }
}
