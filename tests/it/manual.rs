//! What the program says of itself: schema, completions, manual.

use std::process::Command;

fn run(arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_nightferry")).args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn the_manual_has_a_page_for_each_verb() {
    let (code, page, _) = run(&["man"]);
    assert_eq!(code, 0);
    for words in [".TH nightferry 1", ".SH \"EXIT STATUS\"", ".SH FILES", "nightferry\\-sync(1)"] {
        assert!(page.contains(words), "{words} in\n{page}");
    }
    let (code, page, _) = run(&["man", "sync"]);
    assert_eq!((code, page.contains("approve\\-deletes")), (0, true), "{page}");
    let (code, _, stderr) = run(&["man", "snyc"]);
    assert!(code == 2 && stderr.contains("did you mean `sync`?"), "{stderr}");

    let folder = tempfile::tempdir().unwrap();
    let (code, _, stderr) = run(&["man", "--to", folder.path().to_str().unwrap()]);
    assert_eq!(code, 0, "{stderr}");
    let (_, help, _) = run(&["--help"]);
    let verbs = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let verbs = verbs.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let verbs: Vec<_> = verbs.map(|line| line.split_whitespace().next().unwrap()).collect();
    assert!(verbs.len() > 15, "{verbs:?}");
    for verb in verbs.into_iter().filter(|verb| *verb != "help") {
        let page = std::fs::read_to_string(folder.path().join(format!("nightferry-{verb}.1"))).unwrap();
        assert!(page.contains(".SH SYNOPSIS") && page.contains("nightferry"), "{page}");
    }
    assert!(folder.path().join("nightferry.1").exists());
    assert_eq!(run(&["man", "--to", "/nonexistent"]).0, 1);
}

#[test]
fn shells_can_complete_the_arguments() {
    for shell in ["bash", "zsh", "fish"] {
        let (code, script, _) = run(&["completions", shell]);
        assert!(code == 0 && script.contains("approve-deletes"), "{shell}");
    }
    assert_eq!(run(&["completions", "tcsh"]).0, 2);
    let bash = Command::new("bash").args(["-n", "-c", &run(&["completions", "bash"]).1]).status().unwrap();
    assert!(bash.success());
}

#[test]
fn the_schema_is_json() {
    let (code, schema, _) = run(&["schema"]);
    assert_eq!(code, 0);
    let schema: serde_json::Value = serde_json::from_str(&schema).unwrap();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
}
