//! `larder repository status`

use anyhow::Context;
use jiff::SignedDuration;
use larder::blob::{Capacity, Retention};
use larder::format::EpochParameters;
use larder::repo::config::ClientConfig;
use larder::repo::{ConnectionToken, Repository};
use serde::Serialize;
use serde_json::Value;

use crate::cli::app::App;
use crate::cli::args::JsonArgs;
use crate::cli::output::{Output, json_object};
use crate::cli::units::{bytes, duration};

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  larder repository status
  larder repository status --json | jq -r .uniqueIDHex
  larder repository status -t          # and the command that connects to it from elsewhere")]
pub(in crate::cli) struct Args {
    /// Print a token to connect with; it has the storage's credentials in it
    #[arg(long, short = 't', conflicts_with = "json")]
    reconnect_token: bool,
    /// Print a token that has the repository's password in it, too
    #[arg(long, short = 's', conflicts_with = "json")]
    reconnect_token_with_password: bool,
    #[command(flatten)]
    json: JsonArgs,
}

pub(super) async fn run(app: &App, args: Args) -> anyhow::Result<()> {
    let config = app.config().context("open repository")?;
    let password = app.password()?;
    let repository = app.open_with(&config, password.clone()).await?;
    let capacity = repository.storage().capacity().await?;
    if args.json.json {
        return json_object(args.json, &Status::new(app, &config, &repository, capacity)?);
    }
    let mut out = Output::new();
    print(&mut out, app, &config, &repository, capacity)?;
    if args.reconnect_token || args.reconnect_token_with_password {
        let password = args.reconnect_token_with_password.then_some(password);
        let token = ConnectionToken { storage: config.storage()?.clone(), password };
        out.line("\nTo reconnect to the repository use:\n")?;
        out.line(format!("$ larder repository connect from-config --token {}\n", *token.encode()?))?;
        if token.password.is_some() {
            out.line(
                "NOTICE: Anyone can read the repository's password in the token. Do not keep it where others can see it.",
            )?;
        }
    }
    out.finish()
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Status<'a> {
    config_file: String,
    #[serde(rename = "uniqueIDHex")]
    unique_id_hex: String,
    client_options: ClientOptions<'a>,
    storage: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    volume: Option<Volume>,
    content_format: ContentFormat<'a>,
    object_format: ObjectFormat,
    blob_retention: BlobRetention,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ClientOptions<'a> {
    hostname: &'a str,
    username: &'a str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    readonly: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    permissive_cache_loading: bool,
    #[serde(skip_serializing_if = "str::is_empty")]
    description: &'a str,
    enable_actions: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    format_blob_cache_duration: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    throttling_limits: Option<&'a Value>,
}

#[derive(Serialize)]
struct Volume {
    capacity: u64,
    available: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ContentFormat<'a> {
    hash: &'static str,
    encryption: &'static str,
    version: u8,
    max_pack_size: u32,
    index_version: u8,
    epoch_parameters: &'a EpochParameters,
    enable_password_change: bool,
}

#[derive(Serialize)]
struct ObjectFormat {
    splitter: &'static str,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct BlobRetention {
    #[serde(skip_serializing_if = "Option::is_none")]
    retention_mode: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retention_period: Option<u64>,
}

impl From<Retention> for BlobRetention {
    fn from(retention: Retention) -> Self {
        let period = u64::try_from(retention.period.as_nanos()).unwrap_or(u64::MAX);
        Self { retention_mode: Some(retention.mode.name()), retention_period: Some(period) }
    }
}

impl<'a> Status<'a> {
    fn new(
        app: &App,
        config: &'a ClientConfig,
        repository: &'a Repository,
        capacity: Option<Capacity>,
    ) -> anyhow::Result<Self> {
        let parameters = repository.parameters();
        Ok(Self {
            config_file: app.config_path()?.display().to_string(),
            unique_id_hex: hex::encode(repository.unique_id()),
            client_options: ClientOptions {
                hostname: &config.hostname,
                username: &config.username,
                readonly: config.readonly,
                permissive_cache_loading: config.permissive_cache_loading,
                description: &config.description,
                enable_actions: config.enable_actions,
                format_blob_cache_duration: config.format_blob_cache_duration,
                throttling_limits: config.other.get("throttlingLimits"),
            },
            storage: config.storage()?.without_secrets(),
            volume: capacity.map(|c| Volume { capacity: c.total, available: c.available }),
            content_format: ContentFormat {
                hash: parameters.hash.name(),
                encryption: parameters.encryption.name(),
                version: parameters.version.number(),
                max_pack_size: parameters.max_pack_size,
                index_version: parameters.index_version,
                epoch_parameters: &parameters.epochs,
                enable_password_change: parameters.enable_password_change,
            },
            object_format: ObjectFormat { splitter: parameters.splitter.name() },
            blob_retention: repository
                .blob_config()
                .unwrap_or_default()
                .retention
                .map(BlobRetention::from)
                .unwrap_or_default(),
        })
    }
}

/// A line with its value in column 21.
fn row(out: &mut Output, label: &str, value: impl std::fmt::Display) -> anyhow::Result<()> {
    out.line(format!("{:<21}{value}", format!("{label}:")).trim_end())
}

fn print(
    out: &mut Output,
    app: &App,
    config: &ClientConfig,
    repository: &Repository,
    capacity: Option<Capacity>,
) -> anyhow::Result<()> {
    row(out, "Config file", app.config_path()?.display())?;
    out.line("")?;
    row(out, "Description", &config.description)?;
    row(out, "Hostname", &config.hostname)?;
    row(out, "Username", &config.username)?;
    row(out, "Read-only", config.readonly)?;
    let format_cache = config.format_blob_cache_duration.unwrap_or(900_000_000_000);
    match u64::try_from(format_cache) {
        Ok(nanoseconds) => row(out, "Format blob cache", duration(std::time::Duration::from_nanos(nanoseconds)))?,
        Err(_) => row(out, "Format blob cache", "disabled")?,
    }
    out.line("")?;

    let storage = config.storage()?;
    row(out, "Storage type", storage.kind())?;
    if let Some(capacity) = capacity {
        row(out, "Storage capacity", bytes(capacity.total))?;
        row(out, "Storage available", bytes(capacity.available))?;
    }
    let shown = storage.without_secrets();
    let shown = serde_json::to_string_pretty(shown.get("config").unwrap_or(&Value::Null))?;
    row(out, "Storage config", shown.replace('\n', &format!("\n{:21}", "")))?;
    out.line("")?;

    let parameters = repository.parameters();
    row(out, "Unique ID", hex::encode(repository.unique_id()))?;
    row(out, "Hash", parameters.hash.name())?;
    row(out, "Encryption", parameters.encryption.name())?;
    row(out, "Splitter", parameters.splitter.name())?;
    row(out, "Format version", parameters.version.number())?;
    row(out, "Content compression", parameters.compresses_contents())?;
    row(out, "Password changes", parameters.enable_password_change)?;
    row(out, "Max pack length", bytes(parameters.max_pack_size.into()))?;
    row(out, "Index Format", format!("v{}", parameters.index_version))?;
    out.line("")?;

    let epochs = &parameters.epochs;
    if epochs.enabled {
        row(out, "Epoch Manager", "enabled")?;
        out.line(format!("Current Epoch: {}", repository.contents().epochs().unwrap_or_default().write_epoch))?;
        out.line("")?;
        out.line(format!("Epoch refresh frequency: {}", signed(epochs.refresh_frequency)))?;
        out.line(format!(
            "Epoch advance on:        {} blobs or {}, minimum {}",
            epochs.advance_on_count,
            bytes(epochs.advance_on_total_size),
            signed(epochs.min_epoch_duration)
        ))?;
        out.line(format!("Epoch cleanup margin:    {}", signed(epochs.cleanup_safety_margin)))?;
        out.line(format!("Epoch range-compaction every: {} epochs", epochs.full_checkpoint_frequency))?;
    } else {
        row(out, "Epoch Manager", "disabled")?;
    }
    // Where it is damaged, that was told already.
    if let Some(retention) = repository.blob_config().unwrap_or_default().retention {
        out.line("")?;
        row(out, "Blob retention mode", retention.mode.name())?;
        row(out, "Blob retention period", format!(" {}", duration(retention.period)))?;
    }
    Ok(())
}

fn signed(duration_: SignedDuration) -> String {
    duration(duration_.unsigned_abs())
}
