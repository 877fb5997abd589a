//! The form of the names that Nightferry gives to files for a while.

/// Whether a name has the form of those that Nightferry gives to files for a while: on servers
/// until a file is proved, and in source folders while a delivered file is deleted or moved.
/// `.nf-`, the agent's and the target's 8 digits, and 16 random ones; no scan takes such a file
/// for one to send, since it may be half of one.
pub fn is_temporary_name(name: &[u8]) -> bool {
    let Some(rest) = name.strip_prefix(b".nf-") else { return false };
    let mut parts = rest.split(|byte| *byte == b'-');
    let hex = |part: &[u8], digits: usize| {
        part.len() == digits && part.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let fits = [8, 8, 16].into_iter().all(|digits| parts.next().is_some_and(|part| hex(part, digits)));
    fits && parts.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_form_are_ours() {
        assert!(is_temporary_name(b".nf-0a1b2c3d-00112233-0123456789abcdef"));
        for other in [
            &b".nf-0a1b2c3d-00112233-0123456789abcde"[..],
            b".nf-0a1b2c3d-00112233-0123456789abcdeg",
            b".nf-0a1b2c3d-00112233-0123456789ABCDEF",
            b"x.nf-0a1b2c3d-00112233-0123456789abcdef",
            b".nf-0a1b2c3d-00112233-0123456789abcdef-",
            b".nf-notes.txt",
            b"",
        ] {
            assert!(!is_temporary_name(other), "{}", other.escape_ascii());
        }
    }
}
