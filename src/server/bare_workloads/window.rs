//! Windows in which workloads may be restarted, and times, all in UTC.

use std::{fmt, str::FromStr};

use jiff::{Timestamp, civil::Weekday, tz::TimeZone};

/// A time of day on some days of the week, in UTC, such as `Mon-Fri 22:00-05:00`. One that ends after midnight belongs to the day
/// on which it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    text: String,
    /// From Monday.
    days: [bool; 7],
    /// Minutes of the day.
    from: i64,
    until: i64,
}

const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const DAY: i64 = 24 * 60;

impl Window {
    /// Whether a time, in seconds since 1970, is in the window.
    pub(super) fn contains(&self, seconds: i64) -> bool {
        let Ok(time) = Timestamp::from_second(seconds) else { return false };
        let time = time.to_zoned(TimeZone::UTC);
        let minute = i64::from(time.hour()) * 60 + i64::from(time.minute());
        let on = |weekday: Weekday| {
            let index = usize::try_from(weekday.to_monday_zero_offset()).unwrap_or_default();
            self.days.get(index).copied().unwrap_or_default()
        };
        let today = on(time.weekday());
        if self.from < self.until {
            return today && (self.from..self.until).contains(&minute);
        }
        (today && minute >= self.from) || (on(time.weekday().wrapping_sub(1)) && minute < self.until)
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Window {
    type Err = String;

    fn from_str(text: &str) -> Result<Window, String> {
        let refused = || {
            format!(
                "found {text:?}; expected days and a time of day in UTC, such as Mon-Fri 22:00-05:00, Sat,Sun 00:00-24:00 or \
                 22:00-05:00"
            )
        };
        let (days, hours) = match text.trim().split_once(' ') {
            Some((days, hours)) => (read_days(days).ok_or_else(refused)?, hours.trim()),
            None => ([true; 7], text.trim()),
        };
        let (from, until) = hours.split_once('-').ok_or_else(refused)?;
        let (from, until) = (minute(from).ok_or_else(refused)?, minute(until).ok_or_else(refused)?);
        if from == until || from == DAY {
            return Err(refused());
        }
        Ok(Window { text: text.trim().to_owned(), days, from, until })
    }
}

fn read_days(text: &str) -> Option<[bool; 7]> {
    let mut days = [false; 7];
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let of = |name: &str| DAYS.iter().position(|day| day.eq_ignore_ascii_case(name));
        let (first, last) = (of(first)?, of(last)?);
        // `Sat-Mon` goes over the end of the week.
        let length = (last + 7 - first) % 7;
        for day in first..=first + length {
            *days.get_mut(day % 7)? = true;
        }
    }
    Some(days)
}

fn minute(text: &str) -> Option<i64> {
    let (hours, minutes) = text.split_once(':')?;
    let number = |text: &str| {
        (text.len() == 2 && text.bytes().all(|digit| digit.is_ascii_digit()))
            .then(|| text.parse::<i64>().ok())?
    };
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    let minute = hours * 60 + minutes;
    (minutes < 60 && minute <= DAY).then_some(minute)
}

/// A time in RFC 3339.
pub(super) fn rfc3339(seconds: i64) -> String {
    Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH).to_string()
}

/// A time in RFC 3339, in seconds since 1970.
pub(super) fn seconds(text: &str) -> Option<i64> {
    text.parse::<Timestamp>().ok().map(Timestamp::as_second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_open_on_its_days_and_after_their_midnight() {
        // 2026-12-01 is a Tuesday.
        for (window, time, expected) in [
            ("22:00-05:00", "2026-12-01T23:00:00Z", true),
            ("22:00-05:00", "2026-12-01T04:59:59Z", true),
            ("22:00-05:00", "2026-12-01T05:00:00Z", false),
            ("22:00-05:00", "2026-12-01T21:59:59Z", false),
            ("Tue 22:00-05:00", "2026-12-02T04:00:00Z", true),
            ("Tue 22:00-05:00", "2026-12-01T04:00:00Z", false),
            ("Sun 22:00-05:00", "2026-11-30T04:00:00Z", true),
            ("mon-fri 09:00-17:30", "2026-12-01T17:29:00Z", true),
            ("Mon-Fri 09:00-17:30", "2026-12-05T12:00:00Z", false),
            ("Sat,Sun 00:00-24:00", "2026-12-05T00:00:00Z", true),
            ("Sat-Mon 00:00-24:00", "2026-11-30T23:59:59Z", true),
            ("Sat-Mon 00:00-24:00", "2026-12-01T00:00:00Z", false),
            ("Sat 23:00-24:00", "2026-12-05T23:30:00Z", true),
        ] {
            let parsed: Window = window.parse().unwrap();
            assert_eq!(parsed.contains(seconds(time).unwrap()), expected, "{window} at {time}");
            assert_eq!(parsed.to_string(), window);
        }
    }

    #[test]
    fn a_window_that_cannot_be_read_is_refused() {
        for text in [
            "",
            "22:00",
            "22-05",
            "22:00-25:00",
            "24:00-05:00",
            "05:00-05:00",
            "Mo 22:00-05:00",
            "Mon- 1:00-2:00",
            "1:60-2:00",
        ] {
            let error = text.parse::<Window>().unwrap_err();
            assert!(error.contains("expected days and a time of day in UTC"), "{error}");
        }
    }

    #[test]
    fn times_are_read_as_they_are_written() {
        assert_eq!(rfc3339(1_780_000_000), "2026-05-28T20:26:40Z");
        assert_eq!(seconds("2026-05-28T20:26:40Z"), Some(1_780_000_000));
        assert_eq!(seconds("yesterday"), None);
    }
}
