//! Errors as people read them: those of the system without its number, and a chain of causes as one text.
//!
//! Knows nothing of the other modules; each of them may use it.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;

/// An error of the system without the number that it has there: `Connection refused`, and no
/// ` (os error 111)` behind it. Its words say the same.
#[derive(Clone, Copy, Debug)]
pub struct Plain<'e>(pub &'e io::Error);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string();
        let number = self.0.raw_os_error().map(|number| format!(" (os error {number})"));
        f.write_str(number.and_then(|number| text.strip_suffix(&number)).unwrap_or(&text))
    }
}

/// Any error by itself, [`Plain`] where it is one of the system.
pub fn plain(error: &(dyn Error + 'static)) -> String {
    let shared = || error.downcast_ref::<Arc<io::Error>>().map(AsRef::as_ref);
    let system = error.downcast_ref::<io::Error>().or_else(shared);
    system.map_or_else(|| error.to_string(), |error| Plain(error).to_string())
}

/// An error with the causes beneath it, as one text, each as [`plain`] tells it.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = plain(error);
    let mut beneath = error.source();
    while let Some(error) = beneath {
        let cause = plain(error);
        // Some errors show what lies beneath them already.
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
        beneath = error.source();
    }
    text
}

/// The words of a library that writes the system's errors into its own: without their numbers.
pub fn without_numbers(text: &str) -> String {
    const NUMBER: &str = " (os error ";
    let mut parts = text.split(NUMBER);
    let mut kept = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.split_once(')') {
            Some((number, rest)) if number.parse::<u32>().is_ok() => kept.push_str(rest),
            _ => kept.extend([NUMBER, part]),
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_goes_and_the_words_stay() {
        let refused = io::Error::from_raw_os_error(111);
        assert_eq!(refused.to_string(), "Connection refused (os error 111)");
        assert_eq!(plain(&refused), "Connection refused");
        let own = io::Error::other("no answer (os error 7)");
        assert_eq!(plain(&own), "no answer (os error 7)", "not a number of the system");
        assert_eq!(plain(&fmt::Error), fmt::Error.to_string());
        assert_eq!(plain(&Arc::new(refused)), "Connection refused", "shared, as errors of the state are");
    }

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Above {
        text: &'static str,
        source: Arc<io::Error>,
    }

    #[test]
    fn causes_are_told_once_and_without_numbers() {
        let full = || Arc::new(io::Error::from_raw_os_error(28));
        let words = "No space left on device";
        assert_eq!(
            chain(&Above { text: "cannot write x", source: full() }),
            format!("cannot write x: {words}")
        );
        assert_eq!(
            chain(&Above { text: "No space left on device here", source: full() }),
            format!("{words} here")
        );
        assert_eq!(chain(&full()), words);
    }

    #[test]
    fn a_librarys_words_lose_the_numbers_alone() {
        for (text, expected) in [
            ("io: Connection refused (os error 111); again", "io: Connection refused; again"),
            ("a (os error 2): b (os error 13)", "a: b"),
            ("no (os error x) and (os error 3", "no (os error x) and (os error 3"),
            ("", ""),
        ] {
            assert_eq!(without_numbers(text), expected);
        }
    }
}
