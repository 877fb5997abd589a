//! The file as a tree in which every node knows its line and column.
//!
//! Built from one pass of parser events, which refuses what makes a file dangerous or
//! ambiguous: deep nesting, aliases, merge keys, tags, repeated keys, a second document.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span};

use super::problem::{Collector, Position, Problem};

/// Deepest nesting. The configuration needs 5.
const MAX_DEPTH: usize = 64;

/// A value in the file.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) at: Position,
    pub(super) kind: Kind,
}

#[derive(Debug)]
pub(super) enum Kind {
    Scalar(Scalar),
    List(Vec<Node>),
    Mapping(Vec<Pair>),
    /// A problem was reported for it already.
    Refused,
}

/// A single value as it is written.
#[derive(Debug)]
pub(super) struct Scalar {
    pub(super) text: String,
    pub(super) style: Style,
}

/// Whether a scalar's type is to be found from its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// `4` is a number.
    Plain,
    /// `"4"` is a text.
    Quoted,
}

/// A key and its value.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) key: String,
    pub(super) at: Position,
    pub(super) value: Node,
}

/// Reads a text; `None` where it is no YAML document at all, which `problems` then tells.
pub(super) fn parse(text: &str, problems: &Collector) -> Option<Node> {
    let mut builder = Builder { problems, open: Vec::new(), root: None };
    for event in Parser::new_from_str(text) {
        match event {
            Ok((event, span)) => builder.take(event, span).ok()?,
            Err(error) => {
                // Where the parser gives up is often not below the key that it read last.
                let (at, reason) = (position(*error.marker()), format!("not valid YAML: {}", error.info()));
                let remedy = Some(syntax_remedy(text, &error).to_owned());
                problems.add(Problem { at, key_path: String::new(), reason, remedy });
                return None;
            }
        }
    }
    if builder.root.is_none() {
        let (reason, remedy) =
            ("the file is empty".to_owned(), Some("start from jobs.example.yaml".to_owned()));
        problems.add(Problem { at: Position::START, key_path: String::new(), reason, remedy });
    }
    builder.root
}

/// Reading ends here; the problem was reported.
struct Stop;

struct Builder<'p> {
    problems: &'p Collector,
    /// The lists and mappings that are not yet closed, from the outermost.
    open: Vec<Open>,
    root: Option<Node>,
}

struct Open {
    at: Position,
    content: Content,
}

enum Content {
    List(Vec<Node>),
    Mapping(OpenMapping),
}

#[derive(Default)]
struct OpenMapping {
    pairs: Vec<Pair>,
    /// The line of each key so far.
    lines: HashMap<String, usize>,
    /// The key whose value comes next; its name is `None` if it was refused.
    key: Option<(Option<String>, Position)>,
}

impl Builder<'_> {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Stop> {
        let at = position(span.start);
        match event {
            Event::DocumentStart(_) if self.root.is_some() => {
                let remedy = "take out the `---` that begins it, and all behind";
                return self.stop(at, "a second document begins here; only one is read", remedy);
            }
            Event::SequenceStart(_, tag) => {
                let content = Content::List(Vec::new());
                self.open(Open { at, content }, tag.is_some())?;
            }
            Event::MappingStart(_, tag) => {
                let content = Content::Mapping(OpenMapping::default());
                self.open(Open { at, content }, tag.is_some())?;
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            Event::Scalar(text, style, _, tag) => {
                let style = if style == ScalarStyle::Plain { Style::Plain } else { Style::Quoted };
                let kind = match tag {
                    Some(_) => self.refuse_tag(at),
                    None => Kind::Scalar(Scalar { text: text.into_owned(), style }),
                };
                self.add(Node { at, kind });
            }
            Event::Alias(_) => {
                let remedy = "write the value out; or, if it is a text that begins with `*`, quote it";
                self.refuse(at, "aliases (`*name`) are not read".to_owned(), Some(remedy.to_owned()));
                self.add(Node { at, kind: Kind::Refused });
            }
            _ => {}
        }
        Ok(())
    }

    fn open(&mut self, open: Open, tagged: bool) -> Result<(), Stop> {
        if tagged {
            self.refuse_tag(open.at);
        }
        if self.open.len() >= MAX_DEPTH {
            let reason = format!("nested deeper than {MAX_DEPTH} levels");
            return self.stop(open.at, &reason, "no configuration needs more than 5");
        }
        self.open.push(open);
        Ok(())
    }

    fn close(&mut self) {
        let Some(Open { at, content }) = self.open.pop() else { return };
        let kind = match content {
            Content::List(items) => Kind::List(items),
            Content::Mapping(mapping) => Kind::Mapping(mapping.pairs),
        };
        self.add(Node { at, kind });
    }

    fn add(&mut self, node: Node) {
        match self.open.last_mut().map(|open| &mut open.content) {
            None => self.root = Some(node),
            Some(Content::List(items)) => items.push(node),
            Some(Content::Mapping(mapping)) => match mapping.key.take() {
                None => self.add_key(node),
                Some((Some(key), at)) => self.add_pair(Pair { key, at, value: node }),
                Some((None, _)) => {}
            },
        }
    }

    fn add_key(&mut self, node: Node) {
        let at = node.at;
        let name = match node.kind {
            Kind::Scalar(scalar) => Some(scalar.text),
            Kind::Refused => None,
            Kind::List(_) | Kind::Mapping(_) => {
                // The `{{ name }}` of a template ends here as well.
                let remedy = "quote texts that begin with `{` or `[`".to_owned();
                self.refuse(
                    at,
                    "a key must be a single word, not a list or a mapping".to_owned(),
                    Some(remedy),
                );
                None
            }
        };
        if let Some(Open { content: Content::Mapping(mapping), .. }) = self.open.last_mut() {
            mapping.key = Some((name, at));
        }
    }

    fn add_pair(&mut self, pair: Pair) {
        if pair.key == "<<" {
            let remedy = Some("write the keys out".to_owned());
            return self.refuse(pair.at, "merge keys (`<<`) are not read".to_owned(), remedy);
        }
        let Some(Open { content: Content::Mapping(mapping), .. }) = self.open.last_mut() else { return };
        match mapping.lines.get(&pair.key).copied() {
            None => {
                mapping.lines.insert(pair.key.clone(), pair.at.line);
                mapping.pairs.push(pair);
            }
            Some(line) => {
                let at = pair.at;
                mapping.key = Some((Some(pair.key), at));
                self.refuse(at, format!("given a second time; it stands in line {line} already"), None);
                if let Some(Open { content: Content::Mapping(mapping), .. }) = self.open.last_mut() {
                    mapping.key = None;
                }
            }
        }
    }

    fn refuse_tag(&self, at: Position) -> Kind {
        let remedy = "take it out; or, if it is a text that begins with `!`, quote it";
        self.refuse(at, "tags (`!name`) are not read".to_owned(), Some(remedy.to_owned()));
        Kind::Refused
    }

    fn refuse(&self, at: Position, reason: String, remedy: Option<String>) {
        self.problems.add(Problem { at, key_path: self.key_path(), reason, remedy });
    }

    fn stop(&self, at: Position, reason: &str, remedy: &str) -> Result<(), Stop> {
        let (reason, remedy) = (reason.to_owned(), Some(remedy.to_owned()));
        self.problems.add(Problem { at, key_path: String::new(), reason, remedy });
        Err(Stop)
    }

    /// The keys that lead to where reading stands. What stands below `password` may be one.
    fn key_path(&self) -> String {
        let mut path = String::new();
        for open in &self.open {
            match &open.content {
                Content::List(items) => path.extend(["[", &items.len().to_string(), "]"]),
                Content::Mapping(OpenMapping { key: Some((Some(key), _)), .. }) => {
                    push_key(&mut path, key);
                    if key == "password" {
                        break;
                    }
                }
                Content::Mapping(_) => {}
            }
        }
        path
    }
}

/// Adds a key to a key path. Keys that would blur it are quoted.
pub(super) fn push_key(path: &mut String, key: &str) {
    if !path.is_empty() {
        path.push('.');
    }
    let plain = !key.is_empty()
        && key.chars().count() <= MAX_KEY_SHOWN_CHARS
        && key.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '_'));
    if plain { path.push_str(key) } else { path.push_str(&shown(key)) }
}

/// Longest part of a key or value that messages show, in characters.
const MAX_KEY_SHOWN_CHARS: usize = 64;

/// A text of the file as messages show it: quoted, escaped and cut.
pub(super) fn shown(text: &str) -> String {
    let cut: String = text.chars().take(MAX_KEY_SHOWN_CHARS).collect();
    let dots = if cut.len() < text.len() { "…" } else { "" };
    format!("\"{}{dots}\"", cut.escape_debug())
}

fn position(marker: saphyr_parser::Marker) -> Position {
    Position { line: marker.line().max(1), column: marker.col() + 1 }
}

fn syntax_remedy(text: &str, error: &ScanError) -> &'static str {
    // The end of the file lies behind its last line.
    let line = text.lines().nth(error.marker().line().saturating_sub(1)).unwrap_or_default();
    let indent: String = line.chars().take_while(|c| c.is_whitespace()).collect();
    if indent.contains('\t') { NO_TABS } else { meant(error.info()) }
}

const NO_TABS: &str = "indent with spaces; YAML does not take tabs";

/// What is most likely meant by what the parser could not read, by the parser's words for it: it has no
/// kinds of errors.
fn meant(info: &str) -> &'static str {
    let any = |words: &[&str]| words.iter().any(|word| info.contains(word));
    if any(&["tab"]) && !any(&["document"]) {
        NO_TABS
    } else if any(&["quoted scalar", "escape"]) {
        "a text that begins with a quotation mark ends with the same; within \"…\" a backslash is written `\\\\`"
    } else if any(&["flow"]) {
        "what begins with `{` or `[` ends with `}` or `]`, and commas stand between its parts"
    } else if any(&["unexpected character", "anchor", "alias", "plain scalar", "tag"]) {
        "quote a text that begins with a sign: \"@…\""
    } else if any(&["expected '-'", "block sequence", "block collection", "\"-\""]) {
        "the `-` of one list begin in the same column, and a space follows each"
    } else if any(&["expected key", "mapping", "':'", "simple key", "indentation", "illegal placement"]) {
        "keys of one section begin in the same column, further right than its name, as `key: value`; a text with \
         `: ` in it is quoted"
    } else {
        "compare these lines with jobs.example.yaml: keys of one section begin in the same column"
    }
}
