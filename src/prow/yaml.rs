//! YAML with the tolerance of Prow's own reader: nulls anywhere, the last of repeated keys wins, only the first
//! document counts, YAML 1.1 booleans, unknown fields ignored.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeOwned, Deserializer, Visitor};
use serde::{Deserialize, Serialize};

use crate::model::text::sanitize_line;

/// Why a file is not the YAML that Prow wants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub struct YamlError {
    /// From 1; 0 where it cannot be told.
    pub line: u64,
    /// From 1; 0 where it cannot be told.
    pub column: u64,
    pub message: String,
}

impl fmt::Display for YamlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 {
            f.write_str(&self.message)
        } else {
            write!(f, "line {}, column {}: {}", self.line, self.column, self.message)
        }
    }
}

impl YamlError {
    pub(super) fn without_place(message: impl Into<String>) -> Self {
        YamlError { line: 0, column: 0, message: message.into() }
    }

    fn from_parser(error: &serde_saphyr::Error) -> Self {
        let (line, column) = error.location().map_or((0, 0), |at| (at.line(), at.column()));
        let options = serde_saphyr::render_options! { snippets: serde_saphyr::SnippetMode::Off };
        let mut message = sanitize_line(&error.render_with_options(options));
        // The place is said once, by us.
        if let Some(at) = message.find(" at line ").filter(|_| line != 0) {
            message.truncate(at);
        }
        YamlError { line, column, message }
    }
}

/// Reads the first document; an empty one is the default value.
pub(super) fn parse<T: DeserializeOwned + Default>(bytes: &[u8]) -> Result<T, YamlError> {
    // To find out which of repeated keys is the last, all that is below them has to be kept. Most files repeat none.
    let quick = options(serde_saphyr::DuplicateKeyPolicy::PassThrough);
    if let Ok(value) = serde_saphyr::from_slice_with_options::<Option<T>>(bytes, quick) {
        return Ok(value.unwrap_or_default());
    }
    let options = || options(serde_saphyr::DuplicateKeyPolicy::LastWins);
    match serde_saphyr::from_slice_with_options::<Option<T>>(bytes, options()) {
        Ok(value) => Ok(value.unwrap_or_default()),
        Err(error) if matches!(error.without_snippet(), serde_saphyr::Error::MultipleDocuments { .. }) => {
            let mut reader = bytes;
            match serde_saphyr::read_with_options::<_, Option<T>>(&mut reader, options()).next() {
                Some(Ok(value)) => Ok(value.unwrap_or_default()),
                Some(Err(error)) => Err(YamlError::from_parser(&error)),
                None => Ok(T::default()),
            }
        }
        Err(error) => Err(YamlError::from_parser(&error)),
    }
}

fn options(duplicate_keys: serde_saphyr::DuplicateKeyPolicy) -> serde_saphyr::Options {
    serde_saphyr::options! {
        // The defaults are for configuration of a usual size; a job file of a large Prow is larger. One of 10 MB has about
        // as many events; what is compressed and has more is made to fill memory.
        budget: serde_saphyr::budget! {
            max_events: 400_000,
            max_nodes: 400_000,
        },
        duplicate_keys: duplicate_keys,
        with_snippet: false,
    }
}

/// A scalar that Go would turn into a string, whatever YAML takes it for.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Text(pub String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl Visitor<'_> for TextVisitor {
            type Value = Text;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_str<E>(self, value: &str) -> Result<Text, E> {
                Ok(Text(value.to_owned()))
            }
            fn visit_bool<E>(self, value: bool) -> Result<Text, E> {
                Ok(Text(value.to_string()))
            }
            fn visit_i64<E>(self, value: i64) -> Result<Text, E> {
                Ok(Text(value.to_string()))
            }
            fn visit_u64<E>(self, value: u64) -> Result<Text, E> {
                Ok(Text(value.to_string()))
            }
            fn visit_f64<E>(self, value: f64) -> Result<Text, E> {
                Ok(Text(value.to_string()))
            }
            fn visit_unit<E>(self) -> Result<Text, E> {
                Ok(Text::default())
            }
        }
        deserializer.deserialize_any(TextVisitor)
    }
}

pub(super) type TextMap = Option<BTreeMap<String, Text>>;

/// Null is the default value, as everywhere in Go.
pub(super) fn nullable<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default, Deserialize, PartialEq)]
    #[serde(default)]
    struct Doc {
        #[serde(deserialize_with = "nullable")]
        a: Text,
        list: Option<Vec<Text>>,
    }

    fn a(text: &str) -> String {
        parse::<Doc>(text.as_bytes()).unwrap().a.0
    }

    #[test]
    fn what_go_accepts_is_accepted() {
        assert_eq!(a(""), "");
        assert_eq!(a("# only a comment\n"), "");
        assert_eq!(a("a:\n"), "");
        assert_eq!(a("a: 1\na: 2\n"), "2");
        assert_eq!(a("a: one\n---\na: two\n"), "one");
        assert_eq!(a("a: yes\n"), "true");
        assert_eq!(a("a: \"yes\"\n"), "yes");
        assert_eq!(a("unknown: {x: [1, 2]}\na: 7\n"), "7");
    }

    #[test]
    fn errors_have_a_place_and_one_line() {
        let error = parse::<Doc>(b"a: x\nlist: [one\nb: {\n").unwrap_err();
        assert!(error.line >= 2, "{error:?}");
        assert!(!error.message.contains('\n') && !error.message.contains(" at line "), "{error:?}");
        assert!(error.to_string().starts_with(&format!("line {}, column ", error.line)));
        assert!(parse::<Doc>(&[0xff, 0xfe, 0x00]).is_err());
        assert!(parse::<Doc>(b"list: {a: b}\n").is_err());
    }
}
