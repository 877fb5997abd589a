//! Lines of real servers, and of hostile ones.

use encoding_rs::WINDOWS_1252;
use proptest::prelude::*;

use super::*;

/// The entries of a listing, and what else it held.
fn listed(form: Form, bytes: &[u8]) -> (Vec<Entry>, Listed) {
    let mut entries = Vec::new();
    let mut reader = ListingReader::new(form, Charset::UTF_8);
    let mut sink = |entry| entries.push(entry);
    reader.feed(bytes, &mut sink).unwrap();
    let listed = reader.finish(&mut sink).unwrap();
    (entries, listed)
}

fn names(form: Form, bytes: &[u8]) -> Vec<String> {
    listed(form, bytes).0.into_iter().map(|entry| entry.name).collect()
}

fn check(form: Form, line: &str, name: &str, kind: EntryKind, size: Option<u64>, modified: Option<&str>) {
    let (entries, _) = listed(form, format!("{line}\r\n").as_bytes());
    let [entry] = entries.as_slice() else { panic!("{line:?} gave {entries:?}") };
    let time = entry.modified.as_ref().map(|(Modified::Utc(time) | Modified::Shown(time))| time.as_str());
    assert_eq!((entry.name.as_str(), entry.kind, entry.size, time), (name, kind, size, modified), "{line:?}");
}

#[test]
fn facts_of_real_servers() {
    use EntryKind::{File, Folder, Link, Other, Unknown};
    let check = |line, name, kind, size, time| check(Form::Facts, line, name, kind, size, time);
    let time = Some("20261122170500");
    // ProFTPD 1.3.8, Pure-FTPd 1.0.50, pyftpdlib 2.2.0, FileZilla Server.
    check(
        "modify=20261122170500;perm=adfrw;size=13;type=file;unique=801UD9;UNIX.group=0;UNIX.mode=0644;UNIX.owner=0; a b.csv",
        "a b.csv",
        File,
        Some(13),
        time,
    );
    check(
        "type=dir;sizd=4096;modify=20261122170500;UNIX.mode=0755;UNIX.uid=0;UNIX.gid=0;unique=801g1; sub",
        "sub",
        Folder,
        None,
        time,
    );
    check(
        "type=file;perm=r;size=0;modify=20261122170500.123;unique=fd00g1; .nf-1",
        ".nf-1",
        File,
        Some(0),
        Some("20261122170500.123"),
    );
    check("Type=FILE;Size=3;Modify=20261122170500; x", "x", File, Some(3), time);
    check("type=OS.unix=slink:/etc/passwd;size=11; link", "link", Link, Some(11), None);
    check("type=OS.unix=symlink; link", "link", Link, None, None);
    check("type=OS.unix=chr-1/3; null", "null", Other, None, None);
    check("size=3;modify=yesterday; x", "x", Unknown, Some(3), None);
    check("type=file;size=-3;  leading; x=y", " leading; x=y", File, None, None);
    check(" no facts at all", "no facts at all", Unknown, None, None);
    let (entries, about) = listed(Form::Facts, b"type=cdir; /in\r\ntype=pdir; ..\r\ntype=dir; .\r\n");
    assert_eq!((entries.len(), about.about, about.dropped), (0, 3, 0));
}

#[test]
fn long_lines_of_unix() {
    use EntryKind::{File, Folder, Link, Other};
    let check = |line, name, kind, size, time| check(Form::Long, line, name, kind, size, Some(time));
    // vsftpd 3.0.3 and ProFTPD 1.3.8: numbers, or names.
    check(
        "-rw-------    1 1000     1000           13 Nov 22 17:05 a b.csv",
        "a b.csv",
        File,
        Some(13),
        "Nov 22 17:05",
    );
    check("drwxr-xr-x   2 ftp      ftp          4096 Nov 22  2024 sub", "sub", Folder, None, "Nov 22 2024");
    check(
        "-rw-r--r--   1 root     root  5368709120 Jan  2  2020  leading",
        " leading",
        File,
        Some(5_368_709_120),
        "Jan 2 2020",
    );
    check(
        "lrwxrwxrwx    1 0        0               7 Nov 22 17:05 link -> a -> b",
        "link",
        Link,
        None,
        "Nov 22 17:05",
    );
    check(
        "-rw-r--r--    1 0        0               7 Nov 22 17:05 no -> link",
        "no -> link",
        File,
        Some(7),
        "Nov 22 17:05",
    );
    check(
        "-rwsr-sr-t+   1 0        0               7 Nov 22 17:05 setuid",
        "setuid",
        File,
        Some(7),
        "Nov 22 17:05",
    );
    check(
        "-rw-r--r--.   1 0        0               7 Nov 22 17:05 label",
        "label",
        File,
        Some(7),
        "Nov 22 17:05",
    );
    check(
        "crw-rw-rw-    1 0        0          1,   3 Nov 22 17:05 null",
        "null",
        Other,
        None,
        "Nov 22 17:05",
    );
    check(
        "srwxrwxrwx    1 0        0               0 Nov 22 17:05 socket",
        "socket",
        Other,
        None,
        "Nov 22 17:05",
    );
}

#[test]
fn long_lines_of_odd_columns() {
    use EntryKind::File;
    let check = |line, name, kind, size, time| check(Form::Long, line, name, kind, size, Some(time));
    // No group; a group with a space; an owner named as a month.
    check("-rw-r--r--   1 user         12 Nov 22 17:05 x", "x", File, Some(12), "Nov 22 17:05");
    check("-rwxrwxrwx   1 owner    Domain Users      5 Nov 22 17:05 x", "x", File, Some(5), "Nov 22 17:05");
    check(
        "-rw-r--r--   1 may      12         2020 Nov 22 17:05 Dec 24 2020 x",
        "Dec 24 2020 x",
        File,
        Some(2020),
        "Nov 22 17:05",
    );
    // FileZilla Server, IIS in its Unix manner, and others' dates.
    check("-rw-rw-rw- 1 ftp ftp              13 Nov 22 17:05 ä.txt", "ä.txt", File, Some(13), "Nov 22 17:05");
    check(
        "-rwxrwxrwx   1 owner    group              13 Nov 22 17:05 x",
        "x",
        File,
        Some(13),
        "Nov 22 17:05",
    );
    check("-rw-r--r--   1 u g 13 22 Nov 17:05 x", "x", File, Some(13), "22 Nov 17:05");
    check("-rw-r--r--   1 u g 13 2026-11-22 17:05 x", "x", File, Some(13), "2026-11-22 17:05");
    let (entries, about) = listed(
        Form::Long,
        b"total 24\r\ndrwxr-xr-x 2 0 0 4096 Nov 22 17:05 .\r\ndrwxr-xr-x 2 0 0 4096 Nov 22 17:05 ..\r\n",
    );
    assert_eq!((entries.len(), about.about, about.dropped), (0, 3, 0));
}

#[test]
fn long_lines_of_dos() {
    use EntryKind::{File, Folder, Link};
    let check = |line, name, kind, size, time| check(Form::Long, line, name, kind, size, Some(time));
    // IIS, with years of two and of four digits.
    check("11-22-26  05:00PM       <DIR>          name", "name", Folder, None, "11-22-26 05:00PM");
    check(
        "11-22-2026  05:00PM       <DIR>           led by a blank",
        " led by a blank",
        Folder,
        None,
        "11-22-2026 05:00PM",
    );
    check("11-22-26  05:00PM                   13 a b.csv", "a b.csv", File, Some(13), "11-22-26 05:00PM");
    check("11-22-26  17:00                     13  leading", " leading", File, Some(13), "11-22-26 17:00");
    check("11-22-26  05:00PM       <JUNCTION>     there [C:\\else]", "there", Link, None, "11-22-26 05:00PM");
    check("11-22-26  05:00PM  <DIR> close", "close", Folder, None, "11-22-26 05:00PM");
    check("11-22-26  05:00PM  13 2.txt", "2.txt", File, Some(13), "11-22-26 05:00PM");
}

#[test]
fn names_alone_with_and_without_the_folder() {
    let form = |folder: &str| Form::Names { folder: folder.to_owned() };
    assert_eq!(names(form("in"), b"in/a\r\nin/.\r\nin/..\r\nb\n./c\r\nlast"), ["a", "b", "c", "last"]);
    assert_eq!(names(form("/"), b"/a\r\nb\r\n"), ["a", "b"]);
    let (entries, found) = listed(form("/in"), b"/else/a\r\n/in/b/c\r\n../../etc/passwd\r\n/in\r\n");
    assert_eq!((entries.len(), found.dropped), (0, 4));
}

/// What wget, curl, basic-ftp and others fell for.
#[test]
fn names_that_lead_elsewhere_or_steer_something_are_dropped() {
    let evil: [&[u8]; 16] = [
        b"../../etc/passwd",
        b"/etc/passwd",
        b"..",
        b"a/../b",
        b"a\\b",
        b"..\\..\\x",
        b"C:\\x",
        b"C:",
        b"c:evil",
        b"nul\0byte",
        b"\x1b[2J",
        b"bell\x07",
        b"tab\t",
        b"cr\rcr",
        "csi\u{9b}31m".as_bytes(),
        b"",
    ];
    for name in evil {
        for (form, head) in [
            (Form::Facts, "type=file; "),
            (Form::Long, "-rw-r--r-- 1 0 0 1 Nov 22 17:05 "),
            (Form::Long, "11-22-26  05:00PM                    1 "),
            (Form::Names { folder: "/in".into() }, ""),
        ] {
            let line = [head.as_bytes(), name, b"\r\n"].concat();
            let (entries, found) = listed(form, &line);
            assert_eq!(entries, [], "{}", line.escape_ascii());
            assert!(found.entries == 0 && (found.dropped + found.about == 1 || line == b"\r\n"), "{found:?}");
        }
    }
}

#[test]
fn names_of_another_encoding_are_counted() {
    let (entries, found) = listed(Form::Facts, b"type=file; B\xfccher\r\ntype=file; ok\r\n");
    assert_eq!((entries.len(), found.unreadable), (1, 1));
    let mut reader = ListingReader::new(Form::Facts, Charset::new(WINDOWS_1252));
    let mut seen = Vec::new();
    reader.feed(b"type=file; B\xfccher\r\n", &mut |entry: Entry| seen.push(entry.name)).unwrap();
    assert_eq!(seen, ["Bücher"]);
}

#[test]
fn what_is_not_understood_is_seen_as_such() {
    // VMS, and an error in place of a listing.
    for text in ["README.TXT;1  13/16  22-NOV-2026 17:05  [A,B]  (RWED)", "ls: cannot open", "total lunacy"] {
        let (_, found) = listed(Form::Long, format!("{text}\r\n").as_bytes());
        assert!(found.is_foreign(), "{text}");
    }
    assert!(listed(Form::Long, b"").1.is_empty());
    assert!(!listed(Form::Long, b"total 0\r\n").1.is_foreign());
}

#[test]
fn every_size_has_a_limit_and_memory_does_not_grow() {
    let endless = |piece: &[u8]| {
        let mut reader = ListingReader::new(Form::Facts, Charset::UTF_8);
        let mut seen = 0_u64;
        loop {
            if let Err(error) = reader.feed(piece, &mut |_| seen += 1) {
                return (error.to_string(), seen);
            }
            assert!(reader.line.capacity() <= 2 * MAX_LINE_BYTES);
        }
    };
    let (error, _) = endless(&[b'x'; 4096]);
    assert!(error.contains("bytes in one line"), "{error}");
    let (error, seen) = endless(&b"; x\r\n".repeat(4096));
    assert!(error.contains("entries") && seen == MAX_LISTING_ENTRIES, "{error} after {seen}");
    let long = [b"type=cdir; ".as_slice(), &[b'x'; 8192], b"\r\n"].concat();
    let (error, seen) = endless(&long);
    assert!(error.contains("bytes") && seen == 0, "{error}");
}

proptest! {
    #[test]
    fn nothing_panics_and_pieces_do_not_matter(
        bytes in proptest::collection::vec(prop_oneof![
            Just(b"type=file;size=3; a\r\n".to_vec()),
            Just(b"-rw-r--r-- 1 0 0 13 Nov 22 17:05 x\n".to_vec()),
            Just(b"11-22-26  05:00PM       <DIR>          n\r\n".to_vec()),
            Just(b" ".to_vec()), Just(b"\r".to_vec()), Just(b"\n".to_vec()), Just(b"l".to_vec()),
            proptest::collection::vec(any::<u8>(), 0..12),
        ], 0..20),
        cut in 0_usize..200,
    ) {
        let bytes = bytes.concat();
        for form in [Form::Facts, Form::Long, Form::Names { folder: "in".into() }] {
            let whole = listed(form.clone(), &bytes);
            let (first, second) = bytes.split_at(cut.min(bytes.len()));
            let mut entries = Vec::new();
            let mut reader = ListingReader::new(form, Charset::UTF_8);
            reader.feed(first, &mut |entry| entries.push(entry)).unwrap();
            reader.feed(second, &mut |entry| entries.push(entry)).unwrap();
            let found = reader.finish(&mut |entry| entries.push(entry)).unwrap();
            for entry in &entries {
                prop_assert!(!entry.name.is_empty() && !entry.name.contains(['/', '\\', '\0', '\n', '\x1b']));
                prop_assert!(entry.name != "." && entry.name != "..");
            }
            prop_assert_eq!((entries, found), whole);
        }
    }

    #[test]
    fn what_ls_writes_is_read_back(name in "[^/\\\\\\p{Cc}]{1,40}", size in any::<u64>()) {
        prop_assume!(name != "." && name != ".." && name.as_bytes().get(1) != Some(&b':'));
        let line = format!("-rw-r--r--    1 1000     1000 {size:8} Nov 22 17:05 {name}\r\n");
        let (entries, _) = listed(Form::Long, line.as_bytes());
        prop_assert_eq!(entries.first().map(|e| (e.name.as_str(), e.size)), Some((name.as_str(), Some(size))));
    }
}
