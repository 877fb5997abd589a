//! Time zones: those that are named, and the system's.

use std::fs;
use std::io;
use std::path::Path;

use super::nearest::nearest;
use super::section::Value;
use crate::domain::{UnknownZone, Zone};

/// A zone by its name.
pub(super) fn read(value: &Value<'_>) -> Option<Zone> {
    let name = value.text()?;
    match name.parse() {
        Ok(zone) => Some(zone),
        Err(error) => {
            let error: UnknownZone = error;
            value.place.refuse(error.to_string(), remedy(&name));
            None
        }
    }
}

fn remedy(name: &str) -> String {
    let name = name.trim().replace(' ', "_");
    // `Berlin` is the end of `Europe/Berlin`, and no slip of a letter.
    let city = Zone::names().find(|zone| {
        let city = zone.rsplit_once('/').map_or(*zone, |(_, city)| city);
        city.eq_ignore_ascii_case(&name)
    });
    match city.or_else(|| nearest(&name, Zone::names())) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => "write a name of the IANA database, as in `America/New_York` or `UTC`".to_owned(),
    }
}

/// The zone that the system's clock shows: `$TZ`, else what `/etc/localtime` stands for (localtime(5)),
/// UTC where there is none. `None` where it has no name in the database.
pub(super) fn of_system() -> Option<Zone> {
    let variable = std::env::var("TZ").ok();
    chosen(variable.as_deref(), Path::new("/etc/localtime"), || iana_time_zone::get_timezone().ok())
}

fn chosen(variable: Option<&str>, localtime: &Path, name: impl Fn() -> Option<String>) -> Option<Zone> {
    match variable {
        // As tzset(3) reads it: empty is UTC, and a colon may come before a name or a path.
        Some("") => Some(Zone::UTC),
        Some(text) => {
            let text = text.strip_prefix(':').unwrap_or(text);
            let name = text.split_once("/zoneinfo/").map_or(text, |(_, name)| name);
            name.parse().ok()
        }
        None => match fs::symlink_metadata(localtime) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Some(Zone::UTC),
            Ok(_) | Err(_) => name()?.parse().ok(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_tells_its_zone_in_several_ways() {
        let berlin = "Europe/Berlin".parse::<Zone>().unwrap();
        let (there, missing) = (Path::new("/"), Path::new("/no/localtime"));
        let named = || Some("Europe/Berlin".to_owned());
        for (variable, localtime, zone) in [
            (None, there, Some(berlin)),
            (None, missing, Some(Zone::UTC)),
            (Some(""), there, Some(Zone::UTC)),
            (Some("America/New_York"), there, "America/New_York".parse().ok()),
            (Some(":Europe/Berlin"), missing, Some(berlin)),
            (Some(":/usr/share/zoneinfo/Europe/Berlin"), missing, Some(berlin)),
            (Some("CET-1CEST,M3.5.0,M10.5.0/3"), there, None),
        ] {
            assert_eq!(chosen(variable, localtime, named), zone, "{variable:?}");
        }
        assert_eq!(chosen(None, there, || None), None);
    }

    #[test]
    fn slips_are_recognised() {
        for (written, meant) in [
            ("america/new_york", "America/New_York"),
            ("New York", "America/New_York"),
            ("Berlin", "Europe/Berlin"),
            ("Europe/Berln", "Europe/Berlin"),
            ("Amercia/Chicago", "America/Chicago"),
        ] {
            assert_eq!(remedy(written), format!("did you mean `{meant}`?"), "{written}");
        }
        assert!(remedy("Mars").starts_with("write a name"), "{}", remedy("Mars"));
    }
}
