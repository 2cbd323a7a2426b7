//! Amounts of data in decimal units, as the service counts its quotas.

const UNITS: [(u64, char); 3] = [(1_000_000_000, 'G'), (1_000_000, 'M'), (1_000, 'K')];

/// Parses a number of bytes above zero, optionally with `K`, `M` or `G`.
///
/// # Errors
/// Returns a text about the invalid input, without its location.
pub(crate) fn parse(text: &str) -> Result<u64, String> {
    let last = text.chars().last().map(|last| last.to_ascii_uppercase());
    let unit = UNITS.iter().find(|(_, letter)| Some(*letter) == last);
    let (digits, factor) = unit.map_or((text, 1), |(factor, _)| (&text[..text.len() - 1], *factor));
    let count: Option<u64> =
        if digits.bytes().all(|byte| byte.is_ascii_digit()) { digits.parse().ok() } else { None };
    count
        .and_then(|count| count.checked_mul(factor))
        .filter(|bytes| *bytes > 0)
        .ok_or_else(|| format!("'{text}' is no amount of data: write 500K, 10M or 1G"))
}

/// Formats a number of bytes: `9.5 MB`.
pub(crate) fn show(bytes: u64) -> String {
    let Some((factor, letter)) = UNITS.iter().find(|(factor, _)| bytes >= *factor) else {
        return format!("{bytes} bytes");
    };
    let tenths = (u128::from(bytes) * 10 + u128::from(factor / 2)) / u128::from(*factor);
    let unit = if *letter == 'K' { 'k' } else { *letter };
    match tenths % 10 {
        0 => format!("{} {unit}B", tenths / 10),
        tenth => format!("{}.{tenth} {unit}B", tenths / 10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn parses_and_formats_sizes() {
        for (text, bytes) in
            [("1", 1), ("500K", 500_000), ("10M", 10_000_000), ("10m", 10_000_000), ("2G", 2_000_000_000)]
        {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
        for text in ["", "M", "0", "0K", "-1", "+1", "1.5M", "1MB", "1 M", "99999999999G", "1µ"] {
            assert!(parse(text).is_err(), "{text}");
        }
        for (bytes, text) in [
            (0, "0 bytes"),
            (999, "999 bytes"),
            (1_000, "1 kB"),
            (9_540_000, "9.5 MB"),
            (10_000_000, "10 MB"),
        ] {
            assert_eq!(show(bytes), text);
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in ".*", bytes in any::<u64>()) {
            let _ = parse(&text);
            let _ = show(bytes);
        }
    }
}
