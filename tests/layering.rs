//! The rules between the crate's modules, as tests: who may name whom, and who alone may do what.

#![cfg(test)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Every top-level module and the siblings it may name. Modules that do not exist yet have their
/// row already; a module without a row fails.
const ALLOWED: &[(&str, &[&str])] = &[
    (EVERYWHERE, &[]),
    ("domain", &[]),
    ("clock", &["domain"]),
    ("ftps", &[]),
    ("config", &["domain"]),
    ("state", &["domain", "clock"]),
    ("source", &["domain"]),
    ("plan", &["domain"]),
    ("remote", &["domain", "clock", "ftps"]),
    ("delivery", &["domain", "clock", "remote", "state", "source", "plan"]),
    ("audit", &["domain", "clock", "remote", "state", "source", "plan"]),
    ("diagnose", &["domain", "clock", "remote", "ftps"]),
    ("trigger", &["domain", "clock"]),
    ("observe", &["domain"]),
    ("outbound", &["domain", "clock", "observe"]),
    (
        "agent",
        &[
            "domain", "clock", "ftps", "config", "state", "source", "plan", "remote", "delivery", "audit",
            "trigger", "observe", "outbound",
        ],
    ),
    (
        "cli",
        &[
            "domain", "clock", "ftps", "config", "state", "source", "plan", "remote", "delivery", "audit",
            "diagnose", "trigger", "observe", "outbound", "agent",
        ],
    ),
];

/// What every module may name: it names none itself.
const EVERYWHERE: &str = "plain";

/// What only some places may name in their code: the word, and the paths below `src` that may.
const RESERVED: &[(&str, &[&str])] = &[
    ("sled", &["state"]),
    ("hyper", &["agent/web"]),
    ("hyper_util", &["agent/web"]),
    ("serde_yaml", &["config"]),
    ("saphyr_parser", &["config"]),
    ("ClientConfig", &["ftps"]),
    ("ClientConfig::builder", &["ftps/tls"]),
    ("ClientConfig::builder_with_provider", &["ftps/tls"]),
    ("ClientConfig::builder_with_protocol_versions", &["ftps/tls"]),
    ("dangerous", &["ftps/tls"]),
    ("println", &["cli", "main"]),
    ("print", &["cli", "main"]),
    ("eprintln", &["cli", "main"]),
    ("eprint", &["cli", "main"]),
    ("io::stdout", &["cli", "main"]),
    ("io::stderr", &["cli", "main"]),
];

#[test]
fn modules_only_name_the_layers_below_them() {
    let allowed: BTreeMap<_, BTreeSet<_>> =
        ALLOWED.iter().map(|(module, below)| (*module, below.iter().copied().collect())).collect();
    let mut wrong = Vec::new();
    for (path, code) in sources() {
        let Some(owner) = owner(&path) else { continue };
        let Some(below) = allowed.get(owner.as_str()) else {
            wrong.push(format!("{path}: module `{owner}` has no row in ALLOWED"));
            continue;
        };
        for name in siblings_named(&code) {
            let is_known = name == owner || name == EVERYWHERE || below.contains(name.as_str());
            if allowed.contains_key(name.as_str()) && !is_known {
                wrong.push(format!("{path}: `{owner}` may not use `crate::{name}`"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn reserved_names_stay_in_their_room() {
    let mut wrong = Vec::new();
    for (path, code) in sources().into_iter().filter(|(path, _)| !holds_tests(path)) {
        for (word, rooms) in RESERVED {
            if names(&code, word) && !rooms.iter().any(|room| stands_in(&path, room)) {
                wrong.push(format!("{path}: `{word}` belongs into {rooms:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_table_has_no_way_up() {
    let order: BTreeMap<_, _> = ALLOWED.iter().enumerate().map(|(at, (module, _))| (*module, at)).collect();
    for (module, below) in ALLOWED {
        for name in *below {
            assert!(order[name] < order[module], "`{module}` uses `{name}`, which does not stand above it");
        }
    }
}

#[test]
fn imports_are_read_in_every_form() {
    let code = "use crate::{\n    domain::{Path, Digest},\n    ftps,\n    engine::x,\n};\n";
    assert_eq!(siblings_named(code), ["domain", "engine", "ftps"].map(String::from).into());
    assert_eq!(
        siblings_named("crate::state::open(crate::clock::X)"),
        ["clock", "state"].map(String::from).into()
    );
    assert_eq!(siblings_named("use nightferry::cli;"), ["cli".to_owned()].into());
}

#[test]
fn names_are_found_in_code_only_and_only_whole() {
    let code = code_of(
        "//! sled\nlet a = 1; // sled\nlet url = \"http://sled\"; println!();\nlet c = '\"'; io::stdout();\n",
    );
    assert!(names(&code, "println") && names(&code, "io::stdout") && names(&code, "url"));
    assert!(!names(&code, "print") && !names(&code, "sled") && !names(&code, "ln"));
    assert!(names("Arc<ClientConfig>", "ClientConfig") && !names("MyClientConfig", "ClientConfig"));
}

#[test]
fn a_room_is_a_file_or_a_folder_and_not_a_prefix() {
    assert!(stands_in("state/ledger.rs", "state"));
    assert!(stands_in("state.rs", "state"));
    assert!(stands_in("ftps/tls.rs", "ftps/tls") && stands_in("ftps/tls/verify.rs", "ftps/tls"));
    assert!(holds_tests("state/tests/crash.rs") && holds_tests("state/tests.rs"));
    assert!(!holds_tests("state/contests.rs"));
    assert!(!stands_in("stateful.rs", "state") && !stands_in("ftps/tlsx.rs", "ftps/tls"));
}

/// Every file below `src`, by its path there, and its code.
fn sources() -> Vec<(String, String)> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let found: Vec<_> = rust_files(&src)
        .into_iter()
        .map(|path| {
            let code = code_of(&fs::read_to_string(&path).unwrap());
            (path.strip_prefix(&src).unwrap().to_str().unwrap().to_owned(), code)
        })
        .collect();
    assert!(found.len() > 1, "no source files below {}", src.display());
    found
}

fn rust_files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// The top-level module that a file belongs to; none for the crate's roots, which name all.
fn owner(path: &str) -> Option<String> {
    let first = path.split('/').next().unwrap_or(path).trim_end_matches(".rs");
    (first != "lib" && first != "main").then(|| first.to_owned())
}

/// Is this a file of unit tests? They may print and look behind the scenes.
fn holds_tests(path: &str) -> bool {
    path.split('/').any(|part| part == "tests" || part == "tests.rs")
}

/// Is this path the file or the folder that the room names?
fn stands_in(path: &str, room: &str) -> bool {
    path.strip_prefix(room).is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
}

/// The source without line comments and without what stands in string literals on one line.
fn code_of(source: &str) -> String {
    source.lines().map(|line| code_of_line(line) + "\n").collect()
}

fn code_of_line(line: &str) -> String {
    let mut code = String::new();
    let mut chars = line.chars().peekable();
    let mut in_string = false;
    while let Some(c) = chars.next() {
        match c {
            '\\' if in_string => {
                chars.next();
            }
            '\'' if !in_string && chars.peek() == Some(&'"') => {
                chars.next();
            }
            '"' => in_string = !in_string,
            '/' if !in_string && chars.peek() == Some(&'/') => break,
            _ if in_string => {}
            _ => code.push(c),
        }
    }
    code
}

/// Does the code hold this name, and not just as a part of another one?
fn names(code: &str, name: &str) -> bool {
    let inside = |c: char| c.is_alphanumeric() || c == '_';
    let mut before = None;
    code.split(name).enumerate().any(|(at, part)| {
        let whole = at > 0 && !before.is_some_and(inside) && !part.starts_with(inside);
        before = part.chars().last();
        whole
    })
}

/// The module names that follow `crate::` or `nightferry::` in code, `crate::{a, b::c}` included.
fn siblings_named(code: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for root in ["crate::", "nightferry::"] {
        for rest in code.split(root).skip(1) {
            match rest.strip_prefix('{') {
                Some(group) => found.extend(top_level_items(group).iter().map(|item| leading_word(item))),
                None => {
                    found.insert(leading_word(rest));
                }
            }
        }
    }
    found
}

/// The comma-separated items of a use group, up to its closing brace.
fn top_level_items(group: &str) -> Vec<String> {
    let mut items = vec![String::new()];
    let mut depth = 0;
    for c in group.chars() {
        match c {
            '}' if depth == 0 => break,
            ',' if depth == 0 => items.push(String::new()),
            _ => {
                depth += i32::from(c == '{') - i32::from(c == '}');
                items.last_mut().unwrap().push(c);
            }
        }
    }
    items.retain(|item| !item.trim().is_empty());
    items
}

fn leading_word(text: &str) -> String {
    text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}
