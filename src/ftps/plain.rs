//! Errors of the system as people read them.

use std::error::Error;
use std::fmt;
use std::io;

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

/// Any error, [`Plain`] where it is one of the system.
pub fn plain(error: &(dyn Error + 'static)) -> String {
    error.downcast_ref::<io::Error>().map_or_else(|| error.to_string(), |error| Plain(error).to_string())
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
    }
}
