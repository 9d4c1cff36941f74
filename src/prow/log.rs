//! Log lines of Prow's components: JSON of logrus, mixed with klog's text and Go's panics.

use serde::Deserialize;

use crate::model::text::sanitize_line;
use crate::model::{LogLine, Timestamp};

/// Longer texts are cut: an error may quote a whole file.
const LONGEST: usize = 2000;

#[derive(Deserialize)]
struct Logrus {
    level: String,
    #[serde(default)]
    msg: serde_json::Value,
    #[serde(default)]
    error: serde_json::Value,
    #[serde(default)]
    component: serde_json::Value,
    #[serde(default)]
    time: Option<String>,
}

/// Reads a line; `None` where it says nothing of a level. The time that the kubelet may put in front is understood.
pub fn parse_line(line: &str) -> Option<LogLine> {
    let line = line.trim();
    let (stamp, line) = match line.split_once(' ') {
        Some((first, rest)) if first.parse::<Timestamp>().is_ok() => (first.parse().ok(), rest.trim_start()),
        _ => (None, line),
    };
    let mut parsed = logrus(line).or_else(|| klog(line)).or_else(|| panic(line))?;
    parsed.at = parsed.at.or(stamp);
    Some(parsed)
}

fn logrus(line: &str) -> Option<LogLine> {
    let raw: Logrus = serde_json::from_str(line.strip_prefix('{').map(|_| line)?).ok()?;
    Some(LogLine {
        level: clean(&raw.level),
        msg: text(&raw.msg),
        error: text(&raw.error),
        component: text(&raw.component),
        at: raw.time.and_then(|time| time.parse().ok()),
    })
}

fn text(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::Null => String::new(),
        serde_json::Value::String(text) => clean(text),
        other @ (serde_json::Value::Bool(_)
        | serde_json::Value::Number(_)
        | serde_json::Value::Array(_)
        | serde_json::Value::Object(_)) => clean(&other.to_string()),
    }
}

fn clean(text: &str) -> String {
    let mut chars = text.chars();
    let mut cut: String = chars.by_ref().take(LONGEST).collect();
    if chars.next().is_some() {
        cut.push('…');
    }
    sanitize_line(cut.trim())
}

/// `F1121 20:03:35.123456       1 leaderelection.go:330] message`. It names no year, so its time is not taken.
fn klog(line: &str) -> Option<LogLine> {
    let level = match line.chars().next()? {
        'I' => "info",
        'W' => "warning",
        'E' => "error",
        'F' => "fatal",
        _ => return None,
    };
    let head = line.get(1..)?;
    let is_date = head.len() > 5 && head.bytes().take(4).all(|b| b.is_ascii_digit()) && head.as_bytes()[4] == b' ';
    let (_, message) = head.split_once("] ").filter(|_| is_date)?;
    Some(LogLine {
        level: level.to_owned(),
        msg: clean(message),
        error: String::new(),
        component: String::new(),
        at: None,
    })
}

/// `panic: …` and the runtime's `fatal error: …`.
fn panic(line: &str) -> Option<LogLine> {
    let message = line.strip_prefix("panic: ").or_else(|| line.strip_prefix("fatal error: "))?;
    Some(LogLine {
        level: "panic".to_owned(),
        msg: clean(message),
        error: String::new(),
        component: String::new(),
        at: None,
    })
}

/// The last fatal line or panic of a log: why the process ended.
pub fn fatal_line(log: &str) -> Option<LogLine> {
    log.lines().rev().filter_map(parse_line).find(|line| line.level == "fatal" || line.level == "panic")
}

/// The newest refusal of a changed configuration by a component that goes on with the old one.
pub fn reload_error(log: &str) -> Option<LogLine> {
    log.lines().rev().filter_map(parse_line).find(|line| line.level == "error" && is_reload(&line.msg))
}

fn is_reload(msg: &str) -> bool {
    ["Error loading config.", "Error loading plugin config."].contains(&msg)
}

/// True where the line says that a configuration could not be loaded.
pub fn is_config_failure(line: &LogLine) -> bool {
    const MESSAGES: [&str; 9] = [
        "error starting config agent",
        "error starting plugins",
        "error starting plugin configuration agent",
        "error loading prow plugin config",
        "error loading plugin config",
        "error loading config",
        "failed to load prow config",
        "failed to load --config-path=",
        "could not create config agent",
    ];
    let msg = line.msg.to_lowercase();
    MESSAGES.iter().any(|known| {
        let rest = msg.strip_prefix(known);
        rest.is_some_and(|rest| known.ends_with('=') || rest.is_empty() || rest == ".")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FATAL: &str = r#"{"component":"hook","error":"duplicated preset 'label:value' pair : preset-aws-credential:true","file":"/go/cmd/hook/main.go:117","func":"main.main","level":"fatal","msg":"Error starting config agent.","severity":"fatal","time":"2026-11-21T20:03:35Z"}"#;
    const FATAL_2019: &str = r#"{"component":"hook","error":"duplicated preset label : preset-aws-credential","level":"fatal","msg":"Error starting config agent.","time":"2019-01-23T16:08:30Z"}"#;

    #[test]
    fn logrus_lines_of_both_times() {
        let line = parse_line(FATAL).unwrap();
        assert_eq!((line.level.as_str(), line.component.as_str()), ("fatal", "hook"));
        assert_eq!(line.error, "duplicated preset 'label:value' pair : preset-aws-credential:true");
        assert!(is_config_failure(&line));
        let line = parse_line(FATAL_2019).unwrap();
        assert_eq!(line.at, Some("2019-01-23T16:08:30Z".parse().unwrap()));
        assert!(is_config_failure(&line));
    }

    #[test]
    fn the_kubelets_time_is_taken_where_there_is_no_other() {
        let line = parse_line("2026-11-21T20:03:35.123456789Z panic: assignment to entry in nil map").unwrap();
        assert_eq!((line.level.as_str(), line.msg.as_str()), ("panic", "assignment to entry in nil map"));
        assert_eq!(line.at, Some("2026-11-21T20:03:35.123456789Z".parse().unwrap()));
        assert!(!is_config_failure(&line));
        assert_eq!(parse_line(&format!("2026-11-21T20:03:36Z {FATAL}")), parse_line(FATAL));
    }

    #[test]
    fn the_last_fatal_line_among_others() {
        let log = format!(
            "{FATAL_2019}\nI1121 20:03:35.123456       1 leaderelection.go:330] attempting\n{FATAL}\n{{broken\n\u{fffd}\n"
        );
        assert_eq!(fatal_line(&log), parse_line(FATAL));
        let klog = fatal_line("F1121 20:03:35.123456       1 main.go:33] no leader\ngoroutine 1 [running]:\n").unwrap();
        assert_eq!((klog.level.as_str(), klog.msg.as_str()), ("fatal", "no leader"));
        let panic = fatal_line("panic: runtime error: index out of range [1]\n\ngoroutine 1 [running]:\nmain.main()\n");
        assert_eq!(panic.unwrap().msg, "runtime error: index out of range [1]");
        assert_eq!(fatal_line("all is well\n"), None);
    }

    #[test]
    fn refusals_of_a_changed_configuration() {
        let refusal = |time: &str, msg: &str, level: &str| {
            format!(
                r#"{{"component":"tide","error":"e","jobConfig":"/etc/job-config","level":"{level}","msg":"{msg}","prowConfig":"/etc/config/config.yaml","time":"{time}"}}"#
            )
        };
        let log = [
            refusal("2026-11-21T20:00:00Z", "Error loading config.", "error"),
            refusal("2026-11-21T20:00:01Z", "Error loading plugin config.", "error"),
            refusal("2026-11-21T20:00:02Z", "Error loading config.", "info"),
            refusal("2026-11-21T20:00:03Z", "Error querying GitHub.", "error"),
        ]
        .join("\n");
        let line = reload_error(&log).unwrap();
        assert_eq!(line.at, Some("2026-11-21T20:00:01Z".parse().unwrap()));
        assert!(is_config_failure(&line));
    }

    #[test]
    fn messages_of_all_components() {
        for msg in [
            "Error starting plugins.",
            "Error loading Prow plugin config.",
            "Error starting plugin configuration agent.",
            "Error loading plugin config",
            "Failed to load --config-path=/etc/config/config.yaml",
            "failed to load prow config",
        ] {
            let line = parse_line(&format!(r#"{{"level":"fatal","msg":"{msg}"}}"#)).unwrap();
            assert!(is_config_failure(&line), "{msg}");
        }
        let line = parse_line(r#"{"level":"fatal","msg":"Error getting GitHub client."}"#).unwrap();
        assert!(!is_config_failure(&line));
    }

    #[test]
    fn hostile_lines_are_made_harmless() {
        let line = parse_line("{\"level\":\"fatal\",\"msg\":\"a\\u001b[2Jb\\nc\",\"error\":{\"x\":1}}").unwrap();
        assert_eq!(line.error, "{\"x\":1}");
        assert!(!line.msg.chars().any(char::is_control), "{line:?}");
        let long = format!(r#"{{"level":"fatal","msg":"{}"}}"#, "ä".repeat(5000));
        assert_eq!(parse_line(&long).unwrap().msg.chars().count(), LONGEST + 1);
        for line in ["", "{", "{}", "[1]", "Fé23 x] y", "F", "F1234 ] "] {
            assert_eq!(parse_line(line), None, "{line:?}");
        }
    }
}
