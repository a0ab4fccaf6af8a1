//! Arguments that several commands have, and kopia's habits: `--x` and `--no-x`, durations, sizes, times.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Arg, ArgAction, Args, ValueEnum};
use larder::snapshot::manifest::TAG_PREFIX;

#[derive(Debug, Args)]
pub(super) struct GlobalArgs {
    /// Configuration file: a path, or a name in the configuration directory
    #[arg(
        long,
        global = true,
        env = "KOPIA_CONFIG_PATH",
        default_value = "repository.config",
        value_name = "FILE",
        help_heading = "Global options"
    )]
    pub(super) config_file: PathBuf,
    /// Repository password; better given as KOPIA_PASSWORD, because other users can see arguments
    #[arg(
        long,
        short,
        global = true,
        env = "KOPIA_PASSWORD",
        hide_env_values = true,
        value_name = "PASSWORD",
        help_heading = "Global options"
    )]
    pub(super) password: Option<String>,
    /// Do not remember the password when connecting
    #[arg(long = "no-persist-credentials", global = true, action = ArgAction::SetFalse, help_heading = "Global options")]
    pub(super) persist_credentials: bool,
    /// Least important messages to show
    #[arg(
        long,
        global = true,
        value_enum,
        default_value = "info",
        value_name = "LEVEL",
        help_heading = "Global options"
    )]
    pub(super) log_level: LogLevel,
    /// Least important messages to write to the log file
    #[arg(long, global = true, value_enum, default_value = "debug", value_name = "LEVEL", hide = true)]
    pub(super) file_log_level: LogLevel,
    /// Write the log to this file
    #[arg(long, global = true, value_name = "FILE", hide = true)]
    pub(super) log_file: Option<PathBuf>,
    /// Directory for log files
    #[arg(long, global = true, env = "KOPIA_LOG_DIR", value_name = "DIRECTORY", help_heading = "Global options")]
    pub(super) log_dir: Option<PathBuf>,
    /// Log files to keep
    #[arg(long, global = true, env = "KOPIA_LOG_DIR_MAX_FILES", default_value = "1000", value_name = "N", hide = true)]
    pub(super) log_dir_max_files: usize,
    /// Age of log files to keep
    #[arg(long, global = true, env = "KOPIA_LOG_DIR_MAX_AGE", default_value = "720h", value_parser = parse_duration, value_name = "DURATION", hide = true)]
    pub(super) log_dir_max_age: Duration,
    /// Size of all log files to keep, in millions of bytes
    #[arg(
        long,
        global = true,
        env = "KOPIA_LOG_DIR_MAX_SIZE_MB",
        default_value = "1000",
        value_name = "MB",
        hide = true
    )]
    pub(super) log_dir_max_total_size_mb: f64,
    /// Write no log file
    #[arg(long, global = true, hide = true)]
    pub(super) disable_file_logging: bool,
    /// Show progress; by default on a terminal
    #[arg(long, global = true, help_heading = "Global options")]
    pub(super) progress: bool,
    /// Do not show progress
    #[arg(long, global = true, overrides_with = "progress", help_heading = "Global options")]
    pub(super) no_progress: bool,
    /// How often to show progress
    #[arg(long, global = true, default_value = "300ms", value_parser = parse_duration, value_name = "DURATION", hide = true)]
    pub(super) progress_update_interval: Duration,
    /// Time zone of printed times: local, utc, or a name such as Europe/Berlin
    #[arg(long, global = true, value_name = "ZONE", hide = true)]
    pub(super) timezone: Option<String>,
    /// Colours even where the output is not a terminal
    #[arg(long, global = true, env = "KOPIA_FORCE_COLOR", hide = true)]
    pub(super) force_color: bool,
    /// No colours
    #[arg(long, global = true, env = "KOPIA_DISABLE_COLOR", hide = true)]
    pub(super) disable_color: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum LogLevel {
    Debug,
    Info,
    Warning,
    Error,
}

/// `--json` and its companion.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct JsonArgs {
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
    /// Print the JSON indented
    #[arg(long, hide = true)]
    pub(super) json_indent: bool,
    /// Print all the JSON there is
    #[arg(long, hide = true)]
    pub(super) json_verbose: bool,
}

/// Gives every flag `--x` a `--no-x`, and the other way round, the last of them counting, as kopia's parser does.
/// Flags of `repository create` and `connect` may come after the kind of storage, too.
pub(super) fn with_negations(command: clap::Command) -> clap::Command {
    let names: Vec<String> = command.get_arguments().filter_map(|a| a.get_long()).map(str::to_owned).collect();
    let mut opposites = Vec::new();
    for argument in command.get_arguments() {
        let Some(long) = argument.get_long() else { continue };
        let opposite = match argument.get_action() {
            ArgAction::SetTrue if long.starts_with("no-") => continue,
            ArgAction::SetTrue => format!("no-{long}"),
            ArgAction::SetFalse => long.trim_start_matches("no-").to_owned(),
            _ => continue,
        };
        if !names.contains(&opposite) {
            opposites.push(
                Arg::new(format!("opposite of {long}"))
                    .long(opposite)
                    .action(ArgAction::SetTrue)
                    .overrides_with(argument.get_id().clone())
                    .global(argument.is_global_set())
                    .hide(true),
            );
        }
    }
    command.args(opposites).mut_subcommands(with_negations)
}

/// `--tags` as a snapshot has them: `key:value`, each key once.
pub(super) fn parse_tags(texts: &[String]) -> anyhow::Result<BTreeMap<String, String>> {
    let mut tags = BTreeMap::new();
    for tag in texts {
        let Some((key, value)) = tag.split_once(':').filter(|(key, _)| !key.is_empty()) else {
            anyhow::bail!("invalid tag {tag:?}: it must be key:value");
        };
        if tags.insert(format!("{TAG_PREFIX}{key}"), value.to_owned()).is_some() {
            anyhow::bail!("tag {key:?} is given twice");
        }
    }
    Ok(tags)
}

/// Go's durations (`1h30m`, `300ms`), and days and weeks (`7d`, `2w`).
pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a duration such as 90s, 1h30m, 7d or 2w");
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let (mut rest, mut total) = (text, Duration::ZERO);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let (number, after) = rest.split_at(digits);
        let letters = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        let seconds = match unit {
            "ns" => 1e-9,
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            "d" => 86400.0,
            "w" => 7.0 * 86400.0,
            _ => return Err(wrong()),
        };
        let number: f64 = number.parse().map_err(|_| wrong())?;
        total += Duration::try_from_secs_f64(number * seconds).map_err(|_| wrong())?;
        rest = after;
    }
    if text.is_empty() { Err(wrong()) } else { Ok(total) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, seconds) in [
            ("0", 0.0),
            ("90s", 90.0),
            ("1h30m", 5400.0),
            ("7d", 604_800.0),
            ("2w", 1_209_600.0),
            ("300ms", 0.3),
            ("1.5h", 5400.0),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_secs_f64(seconds)), "{text}");
        }
        for wrong in ["", "5", "h", "1x", "-1s", "1h-1m", "1e400s"] {
            assert!(parse_duration(wrong).is_err(), "{wrong:?}");
        }
    }
}
