//! Who started the command.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};

use crate::domain::Person;

/// Where users have their names.
const PASSWD: &str = "/etc/passwd";
/// Most bytes of it that are read: directories of users do not stand in it, and a thousand users
/// take less than 100 KiB.
const MAX_PASSWD_BYTES: u64 = 1 << 20;
/// Longest name of a user (`useradd(8)`: 32 characters; directories have longer ones).
const MAX_NAME_BYTES: usize = 256;

/// The user that this process runs as, and who called `sudo`, if anybody did.
pub(super) fn person() -> Person {
    let uid = rustix::process::getuid().as_raw();
    let sudo_user = std::env::var("SUDO_USER").ok().filter(|name| is_name(name));
    Person { uid, user: name_of(uid), sudo_user }
}

fn name_of(uid: u32) -> Option<String> {
    let lines = BufReader::new(File::open(PASSWD).ok()?.take(MAX_PASSWD_BYTES)).lines();
    let mut lines = lines.map_while(Result::ok);
    lines.find_map(|line| named(&line, uid))
}

/// The name in a line of the file, if it is that user's (`passwd(5)`).
fn named(line: &str, uid: u32) -> Option<String> {
    let mut fields = line.split(':');
    let (name, _, number) = (fields.next()?, fields.next()?, fields.next()?);
    (number.parse() == Ok(uid) && is_name(name)).then(|| name.to_owned())
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= MAX_NAME_BYTES && !name.contains(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_number() {
        assert_eq!(named("root:x:0:0:root:/root:/bin/sh", 0).as_deref(), Some("root"));
        for other in ["root:x:1:0::/:/", "root:x", "", ":x:0:0::/:/", "a\x1bb:x:0:0::/:/"] {
            assert_eq!(named(other, 0), None, "{other:?}");
        }
    }
}
