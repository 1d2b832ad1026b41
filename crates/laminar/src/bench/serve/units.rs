//! Numbers as people read them.

/// A time: `12.3 ms`, `1.23 s`. Three digits, since a measurement has no more.
pub fn time(seconds: f64) -> String {
    if seconds < 0.9995 {
        format!("{} ms", three_digits(seconds * 1e3))
    } else {
        format!("{} s", three_digits(seconds))
    }
}

/// A number with three digits, without trailing zeros behind the point being cut.
pub fn three_digits(value: f64) -> String {
    let places = match value.abs() {
        size if size >= 99.95 => 0,
        size if size >= 9.995 => 1,
        _ => 2,
    };
    format!("{value:.places$}")
}

/// A share of 1 as per cent.
pub fn percent(share: f64) -> String {
    // Never 100 % when something is missing.
    let tenths = (share * 1000.0 + 1e-9).floor();
    if tenths % 10.0 == 0.0 { format!("{:.0} %", tenths / 10.0) } else { format!("{:.1} %", tenths / 10.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_three_digits_and_a_unit() {
        for (seconds, text) in [
            (0.0, "0.00 ms"),
            (0.001234, "1.23 ms"),
            (0.0567, "56.7 ms"),
            (0.9994, "999 ms"),
            (0.9996, "1.00 s"),
            (12.34, "12.3 s"),
            (612.4, "612 s"),
        ] {
            assert_eq!(time(seconds), text);
        }
    }

    #[test]
    fn shares_are_never_rounded_up() {
        assert_eq!(percent(1.0), "100 %");
        assert_eq!(percent(0.9999), "99.9 %");
        assert_eq!(percent(0.9), "90 %");
    }
}
