//! Lengths of time as people write them.

use std::time::Duration;

/// A length of time as a person writes it, who chose it: `90 days`, `26 hours`, `90 seconds`. What is no whole number
/// of any unit that anybody would count in is put together: `1 day 2 hours 3 minutes`.
pub fn length_in_words(time: Duration) -> String {
    const UNITS: [(u128, &str); 5] =
        [(86_400_000, "day"), (3_600_000, "hour"), (60_000, "minute"), (1_000, "second"), (1, "millisecond")];
    // More of one unit, and a larger one reads better beside it.
    const MOST_OF_A_UNIT: u128 = 100;
    let shown = |number: u128, unit: &str| format!("{number} {unit}{}", if number == 1 { "" } else { "s" });
    let mut left = time.as_millis();
    if left == 0 {
        return "0 seconds".to_owned();
    }
    let whole = UNITS.iter().find(|(unit, _)| left.is_multiple_of(*unit));
    if let Some((unit, name)) = whole
        && (left / unit <= MOST_OF_A_UNIT || *name == "day" || left < 1_000)
    {
        return shown(left / unit, name);
    }
    let mut words = Vec::new();
    for (unit, name) in UNITS {
        if left >= unit {
            words.push(shown(left / unit, name));
            left %= unit;
        }
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_read_as_somebody_wrote_them() {
        for (millis, words) in [
            (0, "0 seconds"),
            (100, "100 milliseconds"),
            (1_000, "1 second"),
            (1_500, "1 second 500 milliseconds"),
            (90_000, "90 seconds"),
            (300_000, "5 minutes"),
            (3_600_000, "1 hour"),
            (5_400_000, "90 minutes"),
            (26 * 3_600_000, "26 hours"),
            (86_400_000, "1 day"),
            (90 * 86_400_000, "90 days"),
            (2_192 * 86_400_000, "2192 days"),
            (93_784_000, "1 day 2 hours 3 minutes 4 seconds"),
        ] {
            assert_eq!(length_in_words(Duration::from_millis(millis)), words, "{millis}");
        }
    }
}
