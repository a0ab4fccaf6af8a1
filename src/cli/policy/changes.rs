//! Changing a policy as the flags of [`settings`](super::settings) say.

use std::time::Duration;

use anyhow::{Context, bail};
use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgAction, ArgMatches, Command, FromArgMatches};
use larder::policy::{Policy, SchedulingPolicy, TimeOfDay};

use super::actions::ActionOptions;
use super::settings::{Kind, SETTINGS, Setting, settings};
use crate::cli::args::parse_duration;

/// What unsets a setting, so that the less specific policies say.
const INHERIT: &str = "inherit";
/// The same.
const DEFAULT: &str = "default";
/// Leaves an action as it is.
const UNCHANGED: &str = "-";

const ADD: &str = "add-";
const REMOVE: &str = "remove-";
const CLEAR: &str = "clear-";

impl Setting {
    /// The flags of it.
    fn arguments(&self) -> Vec<Arg> {
        let flag = |name: String, about: String| Arg::new(name.clone()).long(name).help(about);
        let one = || flag(self.name.to_owned(), self.about.to_owned());
        let names = |names: &[&'static str]| PossibleValuesParser::new([names, &[INHERIT]].concat());
        match &self.kind {
            Kind::List(_) => vec![
                flag(format!("{ADD}{}", self.name), format!("Add {}", self.about))
                    .action(ArgAction::Append)
                    .value_name("TEXT"),
                flag(format!("{REMOVE}{}", self.name), "Remove one of them".to_owned())
                    .action(ArgAction::Append)
                    .value_name("TEXT"),
                flag(format!("{CLEAR}{}", self.name), "Remove all of them".to_owned()).action(ArgAction::SetTrue),
            ],
            Kind::Manual(_) => vec![one().action(ArgAction::SetTrue)],
            Kind::Inherit => {
                vec![one().value_parser(["true", "false"]).action(ArgAction::Append).value_name("BOOL")]
            }
            Kind::Interval => vec![one().action(ArgAction::Append).value_name("DURATION")],
            Kind::Times => vec![one().action(ArgAction::Append).value_name("H:MM,…")],
            Kind::Crontab => vec![one().value_name("EXPRESSIONS")],
            Kind::Action(_) => vec![one().value_name("COMMAND").allow_hyphen_values(true)],
            Kind::Switch(_) => vec![one().value_parser(["true", "false", INHERIT, DEFAULT]).value_name("BOOL")],
            Kind::Name(_, all) => {
                vec![one().value_parser(names(&all())).value_name("NAME").hide_possible_values(true)]
            }
            Kind::Choice(_, all) => vec![one().value_parser(names(all)).value_name("WHEN")],
            Kind::Count(_) | Kind::Large { .. } | Kind::Bytes(_) | Kind::Detail(_) => vec![one().value_name("N")],
        }
    }

    /// Changes a policy as the flags say; gives back what was changed, in words.
    fn apply(&self, policy: &mut Policy, given: &Given, actions: &ActionOptions) -> anyhow::Result<Vec<String>> {
        let Self { name, .. } = self;
        let values = given.values(name);
        // An empty value is none: so scripts can pass what may be unset. Only for actions it says something.
        let value = values.last().filter(|value| !value.is_empty());
        let changed = match (&self.kind, value) {
            (Kind::List(at), _) => return Ok(apply_list(name, at(policy), given)),
            (Kind::Action(at), _) => {
                let Some(text) = values.last().filter(|text| *text != UNCHANGED) else { return Ok(Vec::new()) };
                *at(policy) = actions.parse(text).with_context(|| format!("--{name}"))?;
                if text.is_empty() { "none" } else { text }
            }
            (Kind::Manual(manual), _) => {
                if !given.is_set(name) {
                    return Ok(Vec::new());
                }
                if *manual {
                    policy.scheduling = SchedulingPolicy::default();
                }
                policy.scheduling.manual = *manual;
                return Ok(vec![if *manual { "manual snapshots only" } else { "not manual" }.to_owned()]);
            }
            (_, None) => return Ok(Vec::new()),
            (Kind::Count(at), Some(text)) => {
                *at(policy) = parse_count(name, text)?;
                text
            }
            (Kind::Large { at, unit }, Some(text)) => {
                let count = parse_count(name, text)?;
                *at(policy) = count.map(|n| n.checked_mul(*unit).context("it is too large")).transpose()?;
                text
            }
            (Kind::Bytes(at), Some(text)) => {
                *at(policy) = parse_count(name, text)?.unwrap_or(0);
                text
            }
            (Kind::Detail(at), Some(text)) => {
                let detail = parse_count(name, text)?;
                if detail.is_some_and(|detail| detail > 10) {
                    bail!("--{name} {text:?} must be a number from 0 to 10, or inherit");
                }
                *at(policy) = detail;
                text
            }
            (Kind::Switch(at), Some(text)) => {
                *at(policy) = text.parse().ok();
                text
            }
            (Kind::Name(at, _), Some(text)) => {
                *at(policy) = if text == INHERIT { String::new() } else { text.clone() };
                text
            }
            (Kind::Choice(at, all), Some(text)) => {
                let number = all.iter().position(|choice| choice == text);
                *at(policy) = number.map(i64::try_from).transpose()?;
                text
            }
            (Kind::Inherit, Some(text)) => {
                policy.no_parent = text == "false";
                text
            }
            (Kind::Interval, Some(_)) => {
                // Of several the first counts, as with kopia.
                let text = values.first().map_or("", String::as_str);
                set_interval(policy, parse_duration(text).map_err(anyhow::Error::msg)?)?;
                return Ok(vec![format!("{name} to {text}")]);
            }
            (Kind::Times, Some(_)) => {
                set_times(policy, &values)?;
                return Ok(vec![format!("{name} to {}", values.join(","))]);
            }
            (Kind::Crontab, Some(text)) => {
                let all = if is_inherit(text) { "" } else { text };
                let expressions = all.split(';').map(str::trim).filter(|expression| !expression.is_empty());
                policy.scheduling.cron = expressions.map(str::to_owned).collect();
                policy.scheduling.manual &= policy.scheduling.cron.is_empty();
                text
            }
        };
        Ok(vec![format!("{name} to {changed}")])
    }
}

fn is_inherit(text: &str) -> bool {
    matches!(text, INHERIT | DEFAULT)
}

/// A number that is not negative, or none.
fn parse_count(name: &str, text: &str) -> anyhow::Result<Option<i64>> {
    if is_inherit(text) {
        return Ok(None);
    }
    match text.parse() {
        Ok(n) if n >= 0 => Ok(Some(n)),
        _ => bail!("--{name} {text:?} must be a number of 0 or more, or inherit, or default"),
    }
}

fn apply_list(name: &str, list: &mut Vec<String>, given: &Given) -> Vec<String> {
    let mut changed = Vec::new();
    if given.is_set(&format!("{CLEAR}{name}")) {
        list.clear();
        changed.push(format!("{name}: all removed"));
    }
    for item in given.values(&format!("{REMOVE}{name}")) {
        let before = list.len();
        list.retain(|known| *known != item);
        let was_there = list.len() < before;
        changed.push(format!("{name}: {} {item:?}", if was_there { "removed" } else { "did not have" }));
    }
    for item in given.values(&format!("{ADD}{name}")) {
        changed.push(format!("{name}: added {item:?}"));
        list.push(item);
    }
    if !changed.is_empty() {
        list.sort();
        list.dedup();
    }
    changed
}

fn set_interval(policy: &mut Policy, interval: Duration) -> anyhow::Result<()> {
    if interval.subsec_nanos() > 0 {
        bail!("--snapshot-interval must be a whole number of seconds");
    }
    policy.scheduling.interval_seconds = i64::try_from(interval.as_secs())?;
    policy.scheduling.manual &= interval.is_zero();
    Ok(())
}

fn set_times(policy: &mut Policy, values: &[String]) -> anyhow::Result<()> {
    let texts = || values.iter().flat_map(|value| value.split(',')).map(str::trim).filter(|text| !text.is_empty());
    let mut times = Vec::new();
    if !texts().any(is_inherit) {
        for text in texts() {
            times.push(parse_time_of_day(text)?);
        }
    }
    times.sort();
    times.dedup();
    policy.scheduling.manual &= times.is_empty();
    policy.scheduling.time_of_day = times;
    Ok(())
}

fn parse_time_of_day(text: &str) -> anyhow::Result<TimeOfDay> {
    let digits = |text: &str, most: i64| {
        let plain = (1..=2).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
        text.parse().ok().filter(|n: &i64| plain && *n <= most)
    };
    let time = text.split_once(':').and_then(|(hour, minute)| {
        Some(TimeOfDay { hour: digits(hour, 23)?, minute: digits(minute, 59).filter(|_| minute.len() == 2)? })
    });
    time.with_context(|| format!("--snapshot-time {text:?} must be a time of day such as 2:30, or inherit"))
}

/// Which of the flags are there, and with what values.
#[derive(Debug, Default)]
struct Given(Vec<(String, Vec<String>)>);

impl Given {
    fn values(&self, flag: &str) -> Vec<String> {
        self.0.iter().find(|(name, _)| name == flag).map(|(_, values)| values.clone()).unwrap_or_default()
    }

    fn is_set(&self, flag: &str) -> bool {
        self.0.iter().any(|(name, _)| name == flag)
    }
}

/// The flags of all settings.
#[derive(Debug, Default)]
pub(super) struct Changes(Given);

impl Changes {
    /// Changes a policy; gives back what was changed, in words.
    pub(super) fn apply(&self, policy: &mut Policy, actions: &ActionOptions) -> anyhow::Result<Vec<String>> {
        let schedules = ["snapshot-interval", "snapshot-time", "snapshot-time-crontab", "run-missed"];
        if self.0.is_set("manual") && schedules.iter().any(|flag| self.0.is_set(flag)) {
            bail!("--manual and a schedule exclude each other");
        }
        let mut changed = Vec::new();
        for setting in settings() {
            changed.extend(setting.apply(policy, &self.0, actions)?);
        }
        if changed.is_empty() {
            bail!("no changes specified");
        }
        let is_action = |setting: &&Setting| matches!(setting.kind, Kind::Action(_));
        if actions.is_any() && !settings().filter(is_action).any(|action| self.0.is_set(action.name)) {
            bail!("--action-command-timeout, --action-command-mode and --persist-action-script go with an action");
        }
        Ok(changed)
    }
}

impl clap::Args for Changes {
    fn augment_args(command: Command) -> Command {
        SETTINGS.iter().fold(command, |command, (heading, settings)| {
            let arguments = settings.iter().flat_map(Setting::arguments);
            command.args(arguments.map(|argument| argument.help_heading(*heading)))
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Changes {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut given = Given::default();
        for argument in settings().flat_map(Setting::arguments) {
            let name = argument.get_id().to_string();
            if matches!(argument.get_action(), ArgAction::SetTrue) {
                if matches.get_flag(&name) {
                    given.0.push((name, Vec::new()));
                }
            } else if let Some(values) = matches.get_many::<String>(&name) {
                given.0.push((name, values.cloned().collect()));
            }
        }
        Ok(Self(given))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
