//! What must not be stored: policies that contradict themselves or could not be followed.
//!
//! Format page 22 §3.5, §4. Only rules are checked, not names: a compressor of a newer kopia is no reason to refuse another change.

use super::ignore::Pattern;
use super::{Level, Policy, PolicyError, SchedulingPolicy, SourceInfo};

/// Expressions that stand for others.
const PREDEFINED: [&str; 6] = ["@annually", "@yearly", "@monthly", "@weekly", "@daily", "@hourly"];

const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];
const DAYS: [&str; 7] = ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"];

impl Policy {
    /// Refuses a policy that must not be stored for a target.
    pub fn validate(&self, target: &SourceInfo) -> Result<(), PolicyError> {
        let scheduling = &self.scheduling;
        if scheduling.manual && *scheduling != (SchedulingPolicy { manual: true, ..SchedulingPolicy::default() }) {
            return Err(PolicyError::ManualSchedule);
        }
        if self.upload.max_parallel_snapshots.is_some() && target.level() == Level::Path {
            return Err(PolicyError::ParallelSnapshotsOfPath);
        }
        for expression in &scheduling.cron {
            check_cron(expression)
                .map_err(|problem| PolicyError::InvalidCron { expression: expression.clone(), problem })?;
        }
        for (line, pattern) in (1..).zip(&self.files.ignore) {
            Pattern::parse(pattern).map_err(|problem| PolicyError::InvalidPattern {
                pattern: pattern.clone(),
                file: format!("the policy of {target}"),
                line,
                problem,
            })?;
        }
        Ok(())
    }
}

/// One field of a cron expression.
struct Field {
    name: &'static str,
    least: u32,
    most: u32,
    names: &'static [&'static str],
}

const fn field(name: &'static str, least: u32, most: u32) -> Field {
    Field { name, least, most, names: &[] }
}

const SECOND: Field = field("second", 0, 59);
const MINUTE: Field = field("minute", 0, 59);
const HOUR: Field = field("hour", 0, 23);
const DAY: Field = field("day of the month", 1, 31);
const MONTH: Field = Field { names: &MONTHS, ..field("month", 1, 12) };
const WEEKDAY: Field = Field { names: &DAYS, ..field("day of the week", 0, 7) };
const YEAR: Field = field("year", 1970, 2099);

/// Checks an expression of five fields, of six with a year, or of seven with seconds before. What follows `#` is a comment.
fn check_cron(expression: &str) -> Result<(), String> {
    let expression = expression.split('#').next().unwrap_or_default();
    let texts: Vec<&str> = expression.split_whitespace().collect();
    if let [text] = texts.as_slice()
        && text.starts_with('@')
    {
        let known = PREDEFINED.contains(&text.to_lowercase().as_str());
        return known.then_some(()).ok_or_else(|| format!("it is none of {}", PREDEFINED.join(", ")));
    }
    let fields: &[Field] = match texts.len() {
        5 => &[MINUTE, HOUR, DAY, MONTH, WEEKDAY],
        6 => &[MINUTE, HOUR, DAY, MONTH, WEEKDAY, YEAR],
        7 => &[SECOND, MINUTE, HOUR, DAY, MONTH, WEEKDAY, YEAR],
        n => return Err(format!("it has {n} fields; there must be 5, such as in \"30 2 * * *\" (02:30 every day)")),
    };
    for (field, text) in fields.iter().zip(texts) {
        for item in text.split(',') {
            if !field.accepts(item) {
                return Err(format!("{item:?} is not a {}", field.name));
            }
        }
    }
    Ok(())
}

impl Field {
    /// `*`, `?`, a value, a range; each of them with `/step`; and where days are meant the letters for last and nearest workday.
    fn accepts(&self, item: &str) -> bool {
        let (range, step) = item.split_once('/').map_or((item, None), |(range, step)| (range, Some(step)));
        if step.is_some_and(|step| !step.parse().is_ok_and(|step: u32| (1..=self.most).contains(&step))) {
            return false;
        }
        if matches!(range, "*" | "?") || (step.is_none() && self.accepts_special(&range.to_lowercase())) {
            return true;
        }
        match range.split_once('-') {
            Some((first, last)) => self.value(first).zip(self.value(last)).is_some_and(|(first, last)| first <= last),
            None => self.value(range).is_some(),
        }
    }

    fn accepts_special(&self, item: &str) -> bool {
        match self.name {
            _ if self.name == DAY.name => {
                matches!(item, "l" | "lw" | "wl") || item.strip_suffix('w').is_some_and(|day| self.value(day).is_some())
            }
            _ if self.name == WEEKDAY.name => item.strip_suffix('l').is_some_and(|day| self.value(day).is_some()),
            _ => false,
        }
    }

    fn value(&self, text: &str) -> Option<u32> {
        let text = text.to_lowercase();
        let named = self.names.iter().position(|name| *name == text || name.get(..3) == Some(&text));
        let value = match named {
            Some(position) => u32::try_from(position).ok()? + self.least,
            None if text.bytes().all(|b| b.is_ascii_digit()) => text.parse().ok()?,
            None => return None,
        };
        (self.least..=self.most).contains(&value).then_some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cron_expressions() {
        for good in [
            "30 2 * * *",
            "*/15 0-6,12 1,15 jan-MAR mon",
            "0 0 L * ?",
            "0 0 15W * 5L",
            "0 0 * * 7 2030",
            "0 0 0 1 1 * 2030-2040",
            "@daily",
            " 0 12 * * * # noon",
        ] {
            assert_eq!(check_cron(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "# nothing",
            "* * * *",
            "60 * * * *",
            "* 24 * * *",
            "* * 0 * *",
            "* * * 13 *",
            "* * * * 8",
            "* * * * mo",
            "5-1 * * * *",
            "*/0 * * * *",
            "a * * * *",
            "-1 * * * *",
            "1,, * * * *",
            "@never",
            "* * * * * * * *",
        ] {
            assert!(check_cron(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn contradictions_are_refused() {
        let global = SourceInfo::global();
        let path = SourceInfo { host: "h".into(), user_name: "u".into(), path: "/p".into() };
        assert_eq!(Policy::default_global().validate(&global), Ok(()));
        assert_eq!(Policy::default_global().validate(&path), Err(PolicyError::ParallelSnapshotsOfPath));
        let mut policy = Policy::default();
        policy.scheduling.manual = true;
        assert_eq!(policy.validate(&path), Ok(()));
        policy.scheduling.run_missed = Some(true);
        assert_eq!(policy.validate(&path), Err(PolicyError::ManualSchedule));
        policy.scheduling.manual = false;
        policy.scheduling.cron = vec!["x".into()];
        assert!(matches!(policy.validate(&path), Err(PolicyError::InvalidCron { .. })));
        policy.scheduling.cron.clear();
        policy.files.ignore = vec!["ok".into(), "[a".into()];
        assert!(matches!(policy.validate(&path), Err(PolicyError::InvalidPattern { line: 2, .. })));
    }
}
