//! Messages to the console, and more of them to a file (format page 26 §3).
//!
//! A log file has the time and the command in its name and lies in `<log-dir>/cli-logs`. Old ones are removed by
//! count, age and size. A log that cannot be written never stops a command.

use std::fs::{self, File};
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::SystemTime;

use jiff::Zoned;
use tracing::Level;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

use super::args::{GlobalArgs, LogLevel};

/// Starts logging as the arguments say.
pub(super) fn start(args: &GlobalArgs) {
    let console = tracing_subscriber::fmt::layer()
        .with_writer(io::stderr)
        .event_format(Plain { colours: use_colours(args) })
        .with_filter(filter(args.log_level));
    let file = if args.disable_file_logging { None } else { open_file(args) };
    let file = file.map(|file| {
        tracing_subscriber::fmt::layer()
            .with_writer(Mutex::new(file))
            .with_ansi(false)
            .with_target(false)
            .with_filter(filter(args.file_log_level))
    });
    tracing_subscriber::registry().with(console).with(file).init();
}

/// What the library of FUSE says of mounting and unmounting is said by larder itself.
fn filter(level: LogLevel) -> Targets {
    let level = match level {
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Warning => LevelFilter::WARN,
        LogLevel::Error => LevelFilter::ERROR,
    };
    Targets::new().with_default(level).with_target("fuser", LevelFilter::OFF)
}

fn use_colours(args: &GlobalArgs) -> bool {
    let terminal = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    (terminal || args.force_color) && !args.disable_color
}

/// Only the text of a message, as kopia prints it.
struct Plain {
    colours: bool,
}

impl<S, N> FormatEvent<S, N> for Plain
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &tracing::Event<'_>,
    ) -> std::fmt::Result {
        let colour = match *event.metadata().level() {
            Level::ERROR => "\x1b[91m",
            Level::WARN => "\x1b[33m",
            _ => "",
        };
        let coloured = self.colours && !colour.is_empty();
        if coloured {
            write!(writer, "{colour}")?;
        }
        context.field_format().format_fields(writer.by_ref(), event)?;
        if coloured {
            write!(writer, "\x1b[0m")?;
        }
        writeln!(writer)
    }
}

/// The file to log to. None when there is none to be had.
fn open_file(args: &GlobalArgs) -> Option<File> {
    let path = match &args.log_file {
        Some(path) => path.clone(),
        None => new_file(args)?,
    };
    File::options().create(true).append(true).open(&path).ok()
}

fn new_file(args: &GlobalArgs) -> Option<PathBuf> {
    let directory = log_directory(args)?.join("cli-logs");
    fs::create_dir_all(&directory).ok()?;
    sweep(&directory, args);
    let command: Vec<String> =
        std::env::args().skip(1).take_while(|a| !a.starts_with('-')).take(2).filter(|a| is_plain(a)).collect();
    let time = Zoned::now().strftime("%Y%m%d-%H%M%S").to_string();
    Some(directory.join(format!("larder-{time}-{}-{}.0.log", std::process::id(), command.join("-"))))
}

fn is_plain(word: &str) -> bool {
    word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

/// Where logs are kept.
fn log_directory(args: &GlobalArgs) -> Option<PathBuf> {
    if let Some(directory) = &args.log_dir {
        return Some(directory.clone());
    }
    Some(super::app::user_cache_directory()?.join("kopia"))
}

/// Removes the oldest of our log files, until count, age and size are within their limits.
fn sweep(directory: &Path, args: &GlobalArgs) {
    let mut files: Vec<(SystemTime, u64, PathBuf)> = fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("larder-"))
        .filter_map(|entry| {
            let metadata = entry.metadata().ok()?;
            Some((metadata.modified().ok()?, metadata.len(), entry.path()))
        })
        .collect();
    files.sort_by_key(|(modified, ..)| std::cmp::Reverse(*modified));
    let mut total = 0;
    for (number, (modified, size, path)) in files.into_iter().enumerate() {
        total += size;
        let age = SystemTime::now().duration_since(modified).unwrap_or_default();
        let too_large = total as f64 > args.log_dir_max_total_size_mb * 1e6;
        // One place is for the file that is about to be made.
        if number + 1 >= args.log_dir_max_files.max(1) || age > args.log_dir_max_age || too_large {
            // It is tried again the next time.
            let _ = fs::remove_file(path);
        }
    }
}
