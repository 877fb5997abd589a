//! The demo, run as a newcomer runs it. Its own claims are judged by its exit code.

use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Cargo builds the examples along with the tests, into a folder beside the binary's.
fn demo(arguments: &[&str]) -> Output {
    let program = Path::new(env!("CARGO_BIN_EXE_nightferry")).with_file_name("examples").join("demo");
    assert!(program.exists(), "`cargo build --example demo` makes {}", program.display());
    Command::new(program).args(arguments).stdin(Stdio::null()).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn the_demo_keeps_its_word_and_leaves_nothing_behind() {
    // The end of standard input ends it as Enter does.
    let output = demo(&["--keep-running"]);
    let told = text(&output.stdout);
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()), "{told}");
    for words in [
        "delivered  march/bill 02.csv  3.9 KiB  server hash",
        "daily-reports: 4 files sent, 2.8 MiB; 0 unchanged",
        "daily-reports: nothing sent; 4 unchanged",
        "daily-reports: nothing sent; 1 failed; 4 unchanged",
        "> STOR .nf-",
        "< 226 Transfer complete",
        "> RNTO bill 02.csv",
        "> DELE .nf-",
        "claims hold, after",
        "Enter or Ctrl-C ends the demo",
    ] {
        assert!(told.contains(words), "{words:?} in\n{told}");
    }
    assert!(!told.contains('\x1b'), "colours in a pipe");
    let folder = told.lines().find_map(|line| line.strip_prefix("$ cd ")).unwrap();
    assert!(!Path::new(folder).exists(), "{folder}");
}

#[test]
fn the_demo_explains_itself() {
    let help = demo(&["--help"]);
    assert_eq!(help.status.code(), Some(0));
    assert!(text(&help.stdout).contains("--keep-running"));
    let unknown = demo(&["--keep-runing"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(text(&unknown.stderr).contains("--keep-running"), "a hint at what was meant");
}
