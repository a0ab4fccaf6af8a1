//! `larder repository create`

use std::time::Duration;

use anyhow::bail;
use clap::ValueEnum;
use clap::builder::PossibleValuesParser;
use larder::blob::{Retention, RetentionMode};
use larder::format::{EncryptionAlgorithm, FormatVersion, HashAlgorithm, KeyDerivation, Parameters, SplitterAlgorithm};
use larder::manifest::{Labels, TYPE_LABEL};
use larder::policy::{Policy, SourceInfo, store};
use larder::repo::{CreateOptions, Repository};

use super::connect::{ClientArgs, connect};
use super::storage::StorageCommand;
use crate::cli::app::App;
use crate::cli::args::parse_duration;
use crate::cli::output::println;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// Hash of contents
    #[arg(long, global = true, default_value = "BLAKE2B-256-128", value_parser = PossibleValuesParser::new(HashAlgorithm::ALL.map(HashAlgorithm::name)), value_name = "NAME")]
    block_hash: String,
    /// Encryption of contents
    #[arg(long, global = true, default_value = "AES256-GCM-HMAC-SHA256", value_parser = PossibleValuesParser::new(EncryptionAlgorithm::ALL.map(EncryptionAlgorithm::name)), value_name = "NAME")]
    encryption: String,
    /// Error correction; larder has none, so only an overhead of 0 is accepted
    #[arg(long, global = true, default_value = "REED-SOLOMON-CRC32", value_name = "NAME", hide = true)]
    ecc: String,
    /// Overhead of error correction
    #[arg(long, global = true, default_value_t = 0, value_name = "PERCENT", hide = true)]
    ecc_overhead_percent: u32,
    /// How files are cut into contents
    #[arg(long, global = true, default_value = "DYNAMIC-4M-BUZHASH", value_parser = PossibleValuesParser::new(SplitterAlgorithm::ALL.map(SplitterAlgorithm::name)), value_name = "NAME", hide_possible_values = true)]
    object_splitter: String,
    /// Do not connect, and write neither policy nor maintenance parameters
    #[arg(long, short, global = true)]
    create_only: bool,
    /// Version of the repository format: 1, 2 or 3; 0 is the latest
    #[arg(long, global = true, default_value_t = 0, value_name = "N")]
    format_version: i64,
    /// Lock blobs against deletion, where the storage can
    #[arg(long, global = true, value_enum, value_name = "MODE", ignore_case = true)]
    retention_mode: Option<RetentionModeArg>,
    /// For how long blobs are locked; at least 24h
    #[arg(long, global = true, value_parser = parse_duration, value_name = "DURATION")]
    retention_period: Option<Duration>,
    /// How keys are derived from the password
    #[arg(long, global = true, default_value = "scrypt-65536-8-1", value_parser = PossibleValuesParser::new(KeyDerivation::ALL.map(KeyDerivation::name)), value_name = "NAME")]
    format_block_key_derivation_algorithm: String,
    #[command(flatten)]
    client: ClientArgs,
    #[command(subcommand)]
    storage: StorageCommand,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum RetentionModeArg {
    #[value(name = "GOVERNANCE")]
    Governance,
    #[value(name = "COMPLIANCE")]
    Compliance,
}

pub(super) async fn run(app: &App, args: Args) -> anyhow::Result<()> {
    let options = args.options()?;
    let location = args.storage.location()?;
    let password = match &location.password {
        Some(password) => password.clone(),
        None => app.new_password()?,
    };
    let storage = location.storage.create()?;
    larder::repo::create(&storage, &password, &options).await?;
    if args.create_only {
        return Ok(());
    }
    let repository = connect(app, &location, &args.client, &password).await?;
    initialize(&repository).await?;
    print_policy(&Policy::default_global())?;
    tracing::info!("Connected to repository.");
    Ok(())
}

impl Args {
    fn options(&self) -> anyhow::Result<CreateOptions> {
        if self.ecc_overhead_percent != 0 {
            bail!("larder does not support error correction ({}): leave --ecc-overhead-percent at 0", self.ecc);
        }
        let version = match self.format_version {
            0 => FormatVersion::LATEST,
            n => FormatVersion::new(n)?,
        };
        let retention = match (self.retention_mode, self.retention_period) {
            (None, None) => None,
            (Some(mode), Some(period)) => {
                if period < Duration::from_secs(24 * 3600) {
                    bail!("--retention-period must be at least 24h");
                }
                let mode = match mode {
                    RetentionModeArg::Governance => RetentionMode::Governance,
                    RetentionModeArg::Compliance => RetentionMode::Compliance,
                };
                Some(Retention { mode, period })
            }
            _ => bail!("--retention-mode and --retention-period go together"),
        };
        let parameters = Parameters {
            hash: self.block_hash.parse()?,
            encryption: self.encryption.parse()?,
            splitter: self.object_splitter.parse()?,
            ..Parameters::new(version)?
        };
        Ok(CreateOptions { parameters, key_derivation: self.format_block_key_derivation_algorithm.parse()?, retention })
    }
}

/// What kopia puts into every new repository: the global policy, and who looks after it.
async fn initialize(repository: &Repository) -> anyhow::Result<()> {
    let writer = repository.writer().await?;
    store::set(&writer, &SourceInfo::global(), &Policy::default_global())?;
    let identity = repository.identity();
    let labels: Labels = [(TYPE_LABEL.to_owned(), "maintenance".to_owned())].into();
    let hour = 3_600_000_000_000_i64;
    writer.put_manifest(
        labels,
        &serde_json::json!({
            "owner": format!("{}@{}", identity.username, identity.hostname),
            "quick": {"enabled": true, "interval": hour},
            "full": {"enabled": true, "interval": 24 * hour},
            "logRetention": {"maxTotalSize": 1 << 30, "maxCount": 10_000, "maxAge": 30 * 24 * hour},
            "extendObjectLocks": false,
            "listParallelism": 0,
        }),
    )?;
    writer.commit().await?;
    Ok(())
}

/// The part of the global policy that a new user should know of.
fn print_policy(policy: &Policy) -> anyhow::Result<()> {
    let retention = &policy.retention;
    println("Retention:")?;
    for (what, count) in [
        ("Annual snapshots:", retention.keep_annual),
        ("Monthly snapshots:", retention.keep_monthly),
        ("Weekly snapshots:", retention.keep_weekly),
        ("Daily snapshots:", retention.keep_daily),
        ("Hourly snapshots:", retention.keep_hourly),
        ("Latest snapshots:", retention.keep_latest),
    ] {
        println(&format!("  {what:<28}{:>14}   (defined for this target)", count.unwrap_or_default()))?;
    }
    println("")?;
    println("Compression disabled.")?;
    println("")?;
    println("To find more information about default policy run 'larder policy show'.")?;
    println("To change the policy use 'larder policy set' command.")
}
