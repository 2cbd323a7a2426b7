//! Durations in ssh's format: `90`, `90s`, `1m30s`, `2h`; and `ms` for faults and tests.

use std::time::Duration;

/// A hundred years.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 86_400);

/// Parses a sum of numbers with the units `ms s m h d w`. A number without a unit is seconds.
///
/// # Errors
/// Returns a text about the invalid input, without its location.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let wrong = || format!("'{text}' is not a duration: write 90, 90s, 1m30s or 2h");
    let mut total = Duration::ZERO;
    let mut rest = text;
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let count: u64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = &rest[digits..];
        let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        let unit = match &rest[..letters] {
            "ms" => Duration::from_millis(1),
            "" | "s" | "S" => Duration::from_secs(1),
            "m" | "M" => Duration::from_secs(60),
            "h" | "H" => Duration::from_secs(3600),
            "d" | "D" => Duration::from_secs(86_400),
            "w" | "W" => Duration::from_secs(604_800),
            _ => return Err(wrong()),
        };
        let part = u32::try_from(count).ok().and_then(|n| unit.checked_mul(n)).ok_or_else(wrong)?;
        total = total.checked_add(part).ok_or_else(wrong)?;
        rest = &rest[letters..];
    }
    // The limit keeps sums with clock times in range.
    if total > LONGEST { Err(wrong()) } else { Ok(total) }
}

/// Formats a duration for [`parse`], exact to the millisecond.
pub(crate) fn show(duration: Duration) -> String {
    let millis = duration.subsec_millis();
    let mut seconds = duration.as_secs();
    let mut text = String::new();
    for (size, unit) in [(3600, 'h'), (60, 'm'), (1, 's')] {
        if seconds >= size {
            text += &format!("{}{unit}", seconds / size);
            seconds %= size;
        }
    }
    if millis > 0 {
        text += &format!("{millis}ms");
    }
    if text.is_empty() { "0s".into() } else { text }
}

/// Milliseconds, rounded to the microsecond.
pub(crate) fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

/// Formats a measured time in milliseconds with three significant digits: `0.123 ms`, `41.2 ms`.
pub(crate) fn show_measured(duration: Duration) -> String {
    let millis = milliseconds(duration);
    let decimals = match millis {
        ..1.0 => 3,
        ..10.0 => 2,
        ..100.0 => 1,
        _ => 0,
    };
    format!("{millis:.decimals$} ms")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn parses_sshs_durations() {
        for (text, seconds) in
            [("90", 90), ("90s", 90), ("1m30s", 90), ("2h", 7200), ("1w", 604_800), ("0", 0)]
        {
            assert_eq!(parse(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        assert_eq!(parse("250ms"), Ok(Duration::from_millis(250)));
    }

    #[test]
    fn refuses_other_text() {
        for text in ["", "s", "1x", "-1", "1.5", " 1", "99999999999999999999", "4294967295w"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn measured_times_have_three_significant_digits() {
        for (micros, text) in [
            (0, "0.000 ms"),
            (123, "0.123 ms"),
            (1_234, "1.23 ms"),
            (41_249, "41.2 ms"),
            (12_034_567, "12035 ms"),
        ] {
            assert_eq!(show_measured(Duration::from_micros(micros)), text);
        }
        assert_eq!(milliseconds(Duration::from_nanos(1_234_567)).to_string(), "1.235");
    }

    proptest! {
        #[test]
        fn parse_never_panics(text in ".*") {
            let _ = parse(&text);
        }

        #[test]
        fn parse_reads_what_show_writes(millis in 0u64..3_000_000_000_000) {
            let duration = Duration::from_millis(millis);
            prop_assert_eq!(parse(&show(duration)), Ok(duration));
        }
    }
}
