//! Numbers, times and modes as kopia prints them (format page 26 §2, page 25 §7).

use std::fmt::Write;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use larder::snapshot::entry::Kind;

/// `50 KB`, `1.2 MB`; with KOPIA_BYTES_STRING_BASE_2 set, `1.2 MiB`.
pub(super) fn bytes(n: u64) -> String {
    let base_2 = std::env::var("KOPIA_BYTES_STRING_BASE_2").is_ok_and(|v| v.eq_ignore_ascii_case("true") || v == "1");
    let (base, units) = if base_2 {
        (1024.0, ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"])
    } else {
        (1000.0, ["B", "KB", "MB", "GB", "TB", "PB", "EB"])
    };
    let mut value = n as f64;
    let mut unit = 0;
    while value >= 0.9 * base && unit + 1 < units.len() {
        value /= base;
        unit += 1;
    }
    let number = format!("{value:.1}");
    let number = number.trim_end_matches('0').trim_end_matches('.');
    format!("{number} {}", units.get(unit).copied().unwrap_or_default())
}

/// `1h2m3s`, `250ms`: a duration as Go prints it, cut to what matters.
pub(super) fn duration(duration: Duration) -> String {
    let nanoseconds = duration.as_nanos();
    if nanoseconds == 0 {
        return "0s".to_owned();
    }
    if nanoseconds < 1_000_000_000 {
        let (value, unit) = match nanoseconds {
            n if n < 1_000 => (n as f64, "ns"),
            n if n < 1_000_000 => (n as f64 / 1e3, "µs"),
            n => (n as f64 / 1e6, "ms"),
        };
        return format!("{value}{unit}");
    }
    let (hours, minutes) = (duration.as_secs() / 3600, duration.as_secs() / 60 % 60);
    let seconds = (duration.as_secs() % 60) as f64 + f64::from(duration.subsec_nanos()) / 1e9;
    let mut text = String::new();
    if hours > 0 {
        _ = write!(text, "{hours}h");
    }
    if hours > 0 || minutes > 0 {
        _ = write!(text, "{minutes}m");
    }
    _ = write!(text, "{seconds}s");
    text
}

/// `2026-11-21 01:04:52 UTC`
pub(super) fn time(time: Timestamp, zone: &TimeZone) -> String {
    time.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S %Z").to_string()
}

/// `2026-11-21 01:04:52.513 UTC`
pub(super) fn time_precise(time: Timestamp, zone: &TimeZone) -> String {
    time.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S.%3f %Z").to_string()
}

/// `drwxr-xr-x`, as Go writes modes: `L` for a link, `p` for a pipe, `S` for a socket, `D` for a device, `u`, `g` and
/// `t` for setuid, setgid and sticky.
pub(super) fn mode(kind: Kind, mode: u16) -> String {
    let mut text = String::new();
    for (is_set, letter) in [
        (kind.is_directory(), 'd'),
        (kind == Kind::Symlink, 'L'),
        (matches!(kind, Kind::BlockDevice(_) | Kind::CharacterDevice(_)), 'D'),
        (kind == Kind::Fifo, 'p'),
        (kind == Kind::Socket, 'S'),
        (mode & 0o4000 != 0, 'u'),
        (mode & 0o2000 != 0, 'g'),
        (matches!(kind, Kind::CharacterDevice(_)), 'c'),
        (mode & 0o1000 != 0, 't'),
    ] {
        if is_set {
            text.push(letter);
        }
    }
    if text.is_empty() {
        text.push('-');
    }
    for (number, letter) in "rwxrwxrwx".chars().enumerate() {
        text.push(if mode & (0o400 >> number) != 0 { letter } else { '-' });
    }
    text
}

#[cfg(test)]
mod tests {
    use larder::snapshot::entry::Device;

    use super::*;

    #[test]
    fn sizes() {
        for (n, text) in [
            (0, "0 B"),
            (899, "899 B"),
            (900, "0.9 KB"),
            (50_016, "50 KB"),
            (900_000, "0.9 MB"),
            (1_234_567, "1.2 MB"),
            (80_168_738_816, "80.2 GB"),
            (2_147_483_648, "2.1 GB"),
        ] {
            assert_eq!(bytes(n), text);
        }
    }

    #[test]
    fn durations() {
        for (nanoseconds, text) in [
            (0, "0s"),
            (250_000_000, "250ms"),
            (3_000_000_000, "3s"),
            (900_000_000_000, "15m0s"),
            (86_400_000_000_000, "24h0m0s"),
            (61_500_000_000, "1m1.5s"),
        ] {
            assert_eq!(duration(Duration::from_nanos(nanoseconds)), text);
        }
    }

    #[test]
    fn modes() {
        assert_eq!(mode(Kind::File, 0o644), "-rw-r--r--");
        assert_eq!(mode(Kind::Directory, 0o1777), "dtrwxrwxrwx");
        assert_eq!(mode(Kind::File, 0o4755), "urwxr-xr-x");
        assert_eq!(mode(Kind::Symlink, 0o777), "Lrwxrwxrwx");
        assert_eq!(mode(Kind::Fifo, 0o600), "prw-------");
        assert_eq!(mode(Kind::CharacterDevice(Device { major: 1, minor: 3 }), 0o666), "Dcrw-rw-rw-");
    }
}
