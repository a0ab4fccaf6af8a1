//! Commands that a policy runs before and after a snapshot, as they are typed.

use std::time::Duration;

use anyhow::{Context, bail};
use larder::policy::ActionCommand;

use crate::cli::args::parse_duration;

/// The longest script that a policy may hold, in bytes.
const LONGEST_SCRIPT: usize = 32_000;

/// What goes with actions.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Actions")]
pub(super) struct ActionOptions {
    /// When to stop an action that hangs
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    action_command_timeout: Option<Duration>,
    /// What a failing action means
    #[arg(long, value_name = "MODE", value_parser = ["essential", "optional", "async"])]
    action_command_mode: Option<String>,
    /// Store the script itself, not where it is
    #[arg(long)]
    persist_action_script: bool,
}

impl ActionOptions {
    pub(super) fn is_any(&self) -> bool {
        self.action_command_timeout.is_some() || self.action_command_mode.is_some() || self.persist_action_script
    }

    pub(super) fn parse(&self, text: &str) -> anyhow::Result<Option<ActionCommand>> {
        if text.is_empty() {
            return Ok(None);
        }
        let mut words = split_words(text)?.into_iter();
        let path = words.next().filter(|path| !path.is_empty()).context("it names no command")?;
        let timeout = self.action_command_timeout.unwrap_or(Duration::from_secs(300));
        let mut action = ActionCommand {
            timeout: i64::try_from(timeout.as_secs())?,
            mode: self.action_command_mode.clone().unwrap_or_else(|| "essential".to_owned()),
            ..ActionCommand::default()
        };
        if self.persist_action_script {
            if words.next().is_some() {
                bail!("a script that is stored takes no arguments");
            }
            action.script = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
            if action.script.len() > LONGEST_SCRIPT {
                bail!("{path} is too long to be stored: at most {LONGEST_SCRIPT} bytes");
            }
        } else {
            action.path = path;
            action.args = words.collect();
        }
        Ok(Some(action))
    }
}

/// Words with spaces between them, as in CSV: double quotes hold a word together, two of them stand for one.
fn split_words(text: &str) -> anyhow::Result<Vec<String>> {
    let mut words = vec![String::new()];
    let mut characters = text.chars().peekable();
    let mut quoted = false;
    while let Some(c) = characters.next() {
        let Some(word) = words.last_mut() else { break };
        match c {
            '"' if quoted && characters.next_if_eq(&'"').is_some() => word.push('"'),
            '"' if quoted || word.is_empty() => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            c => word.push(c),
        }
    }
    if quoted {
        bail!("a quote is not closed in {text:?}");
    }
    Ok(words)
}
