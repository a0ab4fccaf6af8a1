//! `larder cache info`

use larder::content::cache::free_floor;
use serde::Serialize;

use crate::cli::app::App;
use crate::cli::args::JsonArgs;
use crate::cli::output::{Output, json_object};
use crate::cli::units::bytes;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "What lies in chunks are contents as they came from the storage, encrypted; index has the repository's
indexes, decrypted. The limit holds for both together.

Examples:
  larder cache info
  larder cache info --json | jq .bytes
  du -sh $(larder cache info --path)"
)]
pub(in crate::cli) struct Args {
    /// Print only where it is
    #[arg(long)]
    path: bool,
    #[command(flatten)]
    json: JsonArgs,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Info<'a> {
    path: &'a str,
    /// Of everything under the path.
    limit_bytes: u64,
    /// Of the file system; nothing more is kept when it has less.
    free_floor_bytes: u64,
    /// What everything takes, and what is set aside for more of it.
    bytes: u64,
    files: u64,
    data: Contents,
    metadata: Contents,
    index: IndexFiles,
    keeps_data: bool,
    keeps_metadata: bool,
}

#[derive(Serialize)]
struct Contents {
    contents: u64,
    bytes: u64,
}

#[derive(Serialize)]
struct IndexFiles {
    files: u64,
    bytes: u64,
}

pub(super) fn run(app: &App, args: Args) -> anyhow::Result<()> {
    let (options, cache) = super::open(app)?;
    let path = options.directory.display().to_string();
    let mut out = Output::new();
    if args.path {
        out.line(path)?;
        return out.finish();
    }
    let config = app.config()?;
    // Whoever cannot reach the storage may look at the cache all the same.
    let storage = config.storage().ok().and_then(|storage| storage.open(true).ok());
    let keeps = options.even_of_local || !storage.is_some_and(|storage| storage.is_local());
    let (usage, index) = (cache.usage(), cache.index_files());
    let info = Info {
        path: &path,
        limit_bytes: usage.limit,
        free_floor_bytes: free_floor(&options.directory),
        bytes: usage.committed,
        files: usage.files,
        data: Contents { contents: usage.data.records, bytes: usage.data.bytes },
        metadata: Contents { contents: usage.metadata.records, bytes: usage.metadata.bytes },
        index: IndexFiles { files: index.files, bytes: index.bytes },
        keeps_data: keeps && options.data,
        keeps_metadata: keeps,
    };
    if args.json.json {
        return json_object(args.json, &info);
    }
    let Info { data, metadata, index, .. } = &info;
    out.line(format!("{path}/chunks: {} contents of files {}", data.contents, bytes(data.bytes)))?;
    out.line(format!("{path}/chunks: {} contents with metadata {}", metadata.contents, bytes(metadata.bytes)))?;
    out.line(format!("{path}/index: {} files {}", index.files, bytes(index.bytes)))?;
    out.line(format!(
        "{path}: {} files {} (limit: {}, left free on the disk: {})",
        info.files,
        bytes(info.bytes),
        bytes(info.limit_bytes),
        bytes(info.free_floor_bytes)
    ))?;
    out.finish()?;
    if !keeps {
        tracing::info!("Note: {}.", super::LOCAL);
    }
    if let Some(problem) = cache.problem() {
        tracing::warn!("The cache cannot be used: {problem}");
    }
    Ok(())
}
