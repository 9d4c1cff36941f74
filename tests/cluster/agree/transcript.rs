//! What a server said during a behaviour, without what differs from server to server: uids, versions, times, generated names.

use serde_json::Value;

use super::server::Answer;

/// What was said, line by line.
#[derive(Debug, Default, Clone)]
pub struct Transcript {
    lines: Vec<String>,
    /// Texts that differ from server to server, and what stands for them.
    hidden: Vec<(String, &'static str)>,
}

impl Transcript {
    /// From now on this text is told as something else.
    pub fn hide(&mut self, text: &str, with: &'static str) {
        if !text.is_empty() && !self.hidden.iter().any(|(hidden, _)| hidden == text) {
            self.hidden.push((text.to_owned(), with));
            // What holds another one goes first.
            self.hidden.sort_by_key(|(hidden, _)| std::cmp::Reverse(hidden.len()));
        }
    }

    /// An answer: code, kind of object, or refusal in all its words.
    pub fn told(&mut self, what: &str, answer: &Answer) {
        self.told_of(what, answer, &[]);
    }

    /// An answer, with these parts of the object.
    pub fn told_of(&mut self, what: &str, answer: &Answer, pointers: &[&str]) {
        self.learn(&answer.body);
        let body = &answer.body;
        let line = if body.is_null() {
            format!("{what}: {} {}", answer.code, answer.text.trim_end())
        } else if body["kind"] == "Status" {
            let of = |pointer: &str| body.pointer(pointer).cloned().unwrap_or_default();
            format!(
                "{what}: {} {} {} {} {}",
                answer.code,
                text(&of("/status")),
                text(&of("/reason")),
                text(&of("/message")),
                of("/details"),
            )
        } else {
            format!("{what}: {} {}{}", answer.code, text(&body["kind"]), parts(body, pointers))
        };
        self.push(&line);
    }

    /// Something that was found out.
    pub fn note(&mut self, what: &str, value: impl serde::Serialize) {
        let value = serde_json::to_value(value).expect("a value");
        self.learn(&value);
        self.push(&format!("{what}: {value}"));
    }

    /// Parts of an object.
    pub fn show(&mut self, what: &str, object: &Value, pointers: &[&str]) {
        self.learn(object);
        self.push(&format!("{what}:{}", parts(object, pointers)));
    }

    /// An event of a watch, with these parts of its object.
    pub fn event(&mut self, event: &Value, pointers: &[&str]) {
        self.learn(&event["object"]);
        let what = text(&event["type"]);
        let status = ["/code", "/reason", "/message"].map(|part| event["object"].pointer(part).cloned());
        let refusal = if what == "ERROR" { format!(" {status:?}") } else { String::new() };
        self.push(&format!("{what}{refusal}{}", parts(&event["object"], pointers)));
    }

    /// Hides what bears a server's mark in an object, or in the objects of a list.
    fn learn(&mut self, object: &Value) {
        let at = |pointer: &str| text(&object.pointer(pointer).cloned().unwrap_or_default());
        for (pointer, with) in
            [("/metadata/uid", "<uid>"), ("/details/uid", "<uid>"), ("/metadata/resourceVersion", "<version>")]
        {
            self.hide(&at(pointer), with);
        }
        for item in object["items"].as_array().into_iter().flatten() {
            self.learn(item);
        }
    }

    fn push(&mut self, line: &str) {
        let mut line = line.to_owned();
        for (hidden, with) in &self.hidden {
            line = replace_word(&line, hidden, with);
        }
        self.lines.push(line);
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn parts(object: &Value, pointers: &[&str]) -> String {
    let part = |pointer: &&str| format!(" {pointer}={}", object.pointer(pointer).unwrap_or(&Value::Null));
    pointers.iter().map(part).collect()
}

/// Replaces a text where it is not a part of a longer word: a version of three digits is also in many numbers.
fn replace_word(line: &str, word: &str, with: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find(word) {
        let (before, after) = (&rest[..at], &rest[at + word.len()..]);
        let in_word = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
        let whole = !in_word(before.chars().next_back().or(out.chars().next_back())) && !in_word(after.chars().next());
        out.push_str(before);
        out.push_str(if whole { with } else { word });
        rest = after;
    }
    out.push_str(rest);
    out
}

/// What the two told differently; empty where nothing.
pub fn differences(simulated: &Transcript, real: &Transcript) -> Vec<String> {
    let count = simulated.lines.len().max(real.lines.len());
    let line =
        |transcript: &Transcript, n: usize| transcript.lines.get(n).cloned().unwrap_or_else(|| "(nothing)".to_owned());
    (0..count)
        .map(|n| (line(simulated, n), line(real, n)))
        .filter(|(simulated, real)| simulated != real)
        .map(|(simulated, real)| format!("  simulated  {simulated}\n  real       {real}"))
        .collect()
}
