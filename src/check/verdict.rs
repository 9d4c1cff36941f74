//! What a checkconfig printed and how it ended: a verdict in Prow's words, or none.

use crate::model::text::sanitize_line;
use crate::prow::log;

/// How its process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exit {
    Code(i32),
    /// By a signal, in words.
    Killed(String),
}

/// How a run ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Ended {
    Accepted,
    /// In Prow's words.
    Refused(String),
    /// Another version than ours of its flags; its words.
    UnknownFlag(String),
}

/// Reads a run. `Err` holds why it is no verdict.
pub fn read(exit: &Exit, text: &str) -> Result<Ended, String> {
    let last = || {
        // A panic is followed by pages of where it was.
        if let Some(line) = log::fatal_line(text).filter(|line| line.level == "panic") {
            return format!("panic: {}", line.msg);
        }
        let line = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
        sanitize_line(&line.chars().take(500).collect::<String>())
    };
    let code = match exit {
        Exit::Code(0) => return Ok(Ended::Accepted),
        Exit::Code(code) => *code,
        // For want of memory, or by somebody.
        Exit::Killed(how) => return Err(format!("it was ended by a signal ({how}); its last words: {}", last())),
    };
    let unknown = ["flag provided but not defined", "no such warning"];
    if let Some(line) = text.lines().find(|line| unknown.iter().any(|words| line.contains(words))) {
        return Ok(Ended::UnknownFlag(sanitize_line(&line.chars().take(500).collect::<String>())));
    }
    let fatal = log::fatal_line(text).filter(|line| line.level == "fatal" && is_verdict(&line.msg));
    match fatal {
        Some(line) if code == 1 => {
            Ok(Ended::Refused(bare(if line.error.is_empty() { &line.msg } else { &line.error })))
        }
        Some(_) | None => Err(format!("it ended with code {code}; its last words: {}", last())),
    }
}

/// Its words about a configuration; all others are about itself. Of today, and of the years before.
fn is_verdict(msg: &str) -> bool {
    let msg = msg.trim_end_matches('.').to_lowercase();
    ["validation failed", "error loading prow config", "error loading prow plugin config"].contains(&msg.as_str())
}

/// Without the frame that components do not put around it.
fn bare(error: &str) -> String {
    let frames =
        ["error loading prow config: ", "error loading prow plugin config: ", "error loading Prow plugin config: "];
    frames.iter().find_map(|frame| error.strip_prefix(frame)).unwrap_or(error).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FATAL: &str = r#"{"component":"checkconfig","level":"warning","msg":"the following jobs"}
{"component":"checkconfig","error":"error loading prow config: duplicated preset 'label:value' pair : a:b","level":"fatal","msg":"Validation failed","severity":"fatal"}"#;

    fn ended(code: i32) -> &'static Exit {
        static CODES: [Exit; 3] = [Exit::Code(0), Exit::Code(1), Exit::Code(2)];
        &CODES[usize::try_from(code).unwrap()]
    }

    #[test]
    fn a_verdict_is_an_exit_code_and_prows_words() {
        let words = "duplicated preset 'label:value' pair : a:b".to_owned();
        assert_eq!(read(ended(1), FATAL), Ok(Ended::Refused(words)));
        assert_eq!(read(ended(0), ""), Ok(Ended::Accepted));
        let old = r#"{"error":"duplicated preset label : a","level":"fatal","msg":"Error loading Prow config."}"#;
        assert_eq!(read(ended(1), old), Ok(Ended::Refused("duplicated preset label : a".to_owned())));
    }

    #[test]
    fn everything_else_is_none() {
        assert!(read(&Exit::Killed("9".to_owned()), FATAL).unwrap_err().contains("signal"), "whatever it said before");
        assert!(read(ended(2), FATAL).is_err());
        assert!(read(ended(1), "panic: runtime error\n\u{1b}[2J").unwrap_err().contains("panic"));
        assert!(read(ended(1), "").unwrap_err().contains("said nothing"));
        let options = r#"{"level":"fatal","msg":"Error parsing options - invalid options: x"}"#;
        assert!(read(ended(1), options).is_err());
        let flag = "flag provided but not defined: -warnings\nUsage of checkconfig:\n";
        assert!(matches!(read(ended(2), flag), Ok(Ended::UnknownFlag(_))));
    }
}
