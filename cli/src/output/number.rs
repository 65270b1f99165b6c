//! Numbers for people. What is not known, or is no number, is `-`.

/// What stands for a number that is not known.
pub(crate) const UNKNOWN: &str = "-";

/// A number that can be printed: known and finite.
pub(crate) fn known(number: Option<f64>) -> Option<f64> {
    number.filter(|number| number.is_finite())
}

fn shown(number: Option<f64>, show: impl Fn(f64) -> String) -> String {
    known(number).map_or_else(|| UNKNOWN.to_owned(), show)
}

/// Something per second: three significant digits or so, never `0` for what is not zero.
pub(crate) fn rate(number: Option<f64>) -> String {
    shown(number, |rate| match rate.abs() {
        0.0 => "0".to_owned(),
        size if size < 0.01 => "<0.01".to_owned(),
        size if size < 9.995 => format!("{rate:.2}"),
        size if size < 99.95 => format!("{rate:.1}"),
        _ => format!("{rate:.0}"),
    })
}

/// A share of 1 as percent. Rounded down, so that only 1 is `100.0%`.
pub(crate) fn percent(share: Option<f64>) -> String {
    // The small addition keeps 0.29 * 1000 = 289.99… from losing a digit to binary fractions.
    shown(share, |share| format!("{:.1}%", (share * 1000.0 + 1e-9).floor() / 10.0))
}

/// Milliseconds.
pub(crate) fn latency(milliseconds: Option<f64>) -> String {
    shown(milliseconds, |ms| match ms {
        ms if ms > 0.0 && ms < 0.5 => "<1ms".to_owned(),
        ms if ms < 9_999.5 => format!("{ms:.0}ms"),
        ms => format!("{:.1}s", ms / 1000.0),
    })
}

/// A count, such as open connections.
pub(crate) fn count(number: Option<f64>) -> String {
    shown(number, |number| format!("{number:.0}"))
}

/// Bytes per second.
pub(crate) fn bytes(number: Option<f64>) -> String {
    shown(number, |number| {
        let mut number = number;
        for unit in ["B/s", "KiB/s", "MiB/s", "GiB/s"] {
            if number < 1023.5 {
                let digits = usize::from(unit != "B/s" && number < 99.95);
                return format!("{number:.digits$}{unit}");
            }
            number /= 1024.0;
        }
        format!("{number:.1}TiB/s")
    })
}

/// How long before `now` something was, both in milliseconds since the Unix epoch.
pub(crate) fn age(then_ms: Option<i64>, now_ms: Option<i64>) -> String {
    let (Some(then), Some(now)) = (then_ms, now_ms) else { return UNKNOWN.to_owned() };
    match now.saturating_sub(then) / 1000 {
        ..=0 => "0s".to_owned(),
        seconds @ 1..=119 => format!("{seconds}s"),
        seconds @ 120..=7_199 => format!("{}m", seconds / 60),
        seconds @ 7_200..=172_799 => format!("{}h", seconds / 3_600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_or_no_number_is_a_dash_and_zero_is_zero() {
        for show in [rate, percent, latency, count, bytes] {
            for number in [None, Some(f64::NAN), Some(f64::INFINITY)] {
                assert_eq!(show(number), "-");
            }
        }
        assert_eq!((rate(Some(0.0)), percent(Some(0.0))), ("0".into(), "0.0%".into()));
        assert_eq!((latency(Some(0.0)), count(Some(0.0))), ("0ms".into(), "0".into()));
        assert_eq!(age(None, Some(1)), "-");
    }

    #[test]
    fn rounding_never_makes_some_into_none_or_nearly_all_into_all() {
        assert_eq!(rate(Some(0.001)), "<0.01");
        assert_eq!(percent(Some(0.99999)), "99.9%");
        assert_eq!(percent(Some(0.995)), "99.5%");
        assert_eq!(percent(Some(0.29)), "29.0%");
        assert_eq!(percent(Some(1.0)), "100.0%");
        assert_eq!(latency(Some(0.2)), "<1ms");
    }

    #[test]
    fn sizes_fit_their_unit() {
        let rates = [0.334, 9.994, 42.71, 1234.5].map(|number| rate(Some(number)));
        assert_eq!(rates, ["0.33", "9.99", "42.7", "1234"]);
        assert_eq!([12.4, 12_345.0].map(|ms| latency(Some(ms))), ["12ms", "12.3s"]);
        assert_eq!([512.0, 2048.0, 3e6].map(|b| bytes(Some(b))), ["512B/s", "2.0KiB/s", "2.9MiB/s"]);
        assert_eq!([1_000, 90_000, 600_000].map(|now| age(Some(0), Some(now))), ["1s", "90s", "10m"]);
        assert_eq!(age(Some(5_000), Some(1_000)), "0s");
    }
}
