//! The presets of a job file that is plainly written, read in one pass over what the parser tells.
//!
//! [`config`](super::config) is what decides: it knows Prow's tolerance. But it keeps and tells twice what lies below a job,
//! and a large Prow has thousands of them. So whatever is not plain here (aliases, tags, repeated keys, a value that may be
//! no string, an error) is nothing that this file judges.

use std::collections::BTreeSet;

use granit_parser::{Event, Parser, ScalarStyle, StrInput};

use super::config::Preset;

/// What the file defines; `None` where it is not plain enough to tell.
pub(super) fn presets(text: &str) -> Option<Vec<Preset>> {
    let mut reader = Reader { parser: Parser::new_from_str(text) };
    (reader.next()? == Event::StreamStart && matches!(reader.next()?, Event::DocumentStart(..))).then_some(())?;
    let mut presets = Vec::new();
    let is_mapping = matches!(reader.next()?, Event::MappingStart(_, 0, None));
    is_mapping.then_some(())?;
    reader.mapping(|reader, key| match key {
        "presets" => reader.sequence(|reader, item| {
            let mut preset = Preset::default();
            reader.mapping_from(item, |reader, key| match key {
                "labels" => reader.value_mapping(|reader, label| {
                    let value = reader.string()?;
                    preset.labels.insert(label.to_owned(), value);
                    Some(())
                }),
                _ => reader.skip(),
            })?;
            presets.push(preset);
            Some(())
        }),
        "presubmits" | "postsubmits" => reader.value_mapping(|reader, _| reader.jobs()),
        "periodics" => reader.jobs(),
        "prowjob_namespace" | "pod_namespace" => reader.string().map(drop),
        _ => reader.skip(),
    })?;
    // Only the first document counts, but what follows may show that it was none.
    (reader.next()? == Event::DocumentEnd).then_some(())?;
    matches!(reader.next()?, Event::StreamEnd | Event::DocumentStart(..)).then_some(presets)
}

struct Reader<'a> {
    parser: Parser<'a, StrInput<'a>>,
}

impl<'a> Reader<'a> {
    /// What comes next, comments aside.
    fn next(&mut self) -> Option<Event<'a>> {
        loop {
            match self.parser.next_event()?.ok()?.0 {
                Event::Comment(..) => {}
                Event::Alias(_) | Event::UnresolvedAlias(_) => return None,
                event => return Some(event),
            }
        }
    }

    /// The entries of a mapping that has begun; no key may come twice.
    fn mapping(&mut self, mut entry: impl FnMut(&mut Self, &str) -> Option<()>) -> Option<()> {
        let mut seen = BTreeSet::new();
        loop {
            match self.next()? {
                Event::MappingEnd => return Some(()),
                event => {
                    let key = string(event)?;
                    if key == "<<" || !seen.insert(key.clone()) {
                        return None;
                    }
                    entry(self, &key)?;
                }
            }
        }
    }

    fn mapping_from(&mut self, begun: Event<'a>, entry: impl FnMut(&mut Self, &str) -> Option<()>) -> Option<()> {
        matches!(begun, Event::MappingStart(_, 0, None)).then_some(())?;
        self.mapping(entry)
    }

    fn value_mapping(&mut self, entry: impl FnMut(&mut Self, &str) -> Option<()>) -> Option<()> {
        let begun = self.next()?;
        self.mapping_from(begun, entry)
    }

    /// The items of a sequence that comes next, each with the event that it begins with.
    fn sequence(&mut self, mut item: impl FnMut(&mut Self, Event<'a>) -> Option<()>) -> Option<()> {
        matches!(self.next()?, Event::SequenceStart(_, 0, None)).then_some(())?;
        loop {
            match self.next()? {
                Event::SequenceEnd => return Some(()),
                begun => item(self, begun)?,
            }
        }
    }

    /// Jobs: of each, the name alone has to be of some shape.
    fn jobs(&mut self) -> Option<()> {
        self.sequence(|reader, begun| {
            reader.mapping_from(begun, |reader, key| match key {
                "name" => reader.string().map(drop),
                _ => reader.skip(),
            })
        })
    }

    fn string(&mut self) -> Option<String> {
        string(self.next()?)
    }

    /// Whatever comes next, to its end.
    fn skip(&mut self) -> Option<()> {
        let mut depth = 0_usize;
        loop {
            match self.next()? {
                Event::Scalar(_, _, _, None) => {}
                Event::SequenceStart(_, _, None) | Event::MappingStart(_, _, None) => depth += 1,
                Event::SequenceEnd | Event::MappingEnd => depth = depth.checked_sub(1)?,
                _ => return None,
            }
            if depth == 0 {
                return Some(());
            }
        }
    }
}

/// A scalar that is a string in every YAML.
fn string(event: Event<'_>) -> Option<String> {
    let Event::Scalar(text, style, 0, None) = event else { return None };
    let is_word = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && !["true", "false", "yes", "no", "on", "off", "y", "n", "null", "nan", "inf", "infinity"]
            .contains(&text.to_ascii_lowercase().as_str());
    (style != ScalarStyle::Plain || is_word).then(|| text.into_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::prow::config::parse_job_config;

    #[test]
    fn what_is_plain_is_read_and_what_is_not_is_left() {
        let plain = "# all\npresets:\n- labels:\n    preset-a: \"true\"\n  env: [{name: A}]\n- env: []\nperiodics:\n- name: x\n";
        let read = presets(plain).expect("it is plain");
        assert_eq!(read, parse_job_config(plain.as_bytes()).expect("it parses").presets);
        assert_eq!(read[0].labels["preset-a"], "true");
        for odd in [
            "presets:\n- labels: {a: true}\n",
            "presets: &p\n- labels: {a: b}\n",
            "presets:\n- labels: {a: b}\npresets: []\n",
            "presets:\n- <<: {labels: {a: b}}\n",
            "presets: null\n",
            "periodics:\n- name: [x]\n",
            "presubmits:\n  a/b: {}\n",
            "a: *b\n",
            "presets: [\n",
            "    a: b\n  c: d\n",
            "- a\n",
            "",
        ] {
            assert_eq!(presets(odd), None, "{odd}");
        }
    }

    proptest! {
        /// Whoever reads a file, it holds the same presets.
        #[test]
        fn both_readers_agree(lines in prop::collection::vec(prop_oneof![
            Just("presets:"), Just("- labels:"), Just("    a: \"b\""), Just("    a: c"), Just("  env:"), Just("  - name: x"),
            Just("periodics:"), Just("- name: j"), Just("presubmits:"), Just("  a/b:"), Just("  - name: p"), Just("    x: |"),
            Just("      # text"), Just("    y: {a: [1, 'b']}"), Just("---"), Just("..."), Just("    z: yes"), Just("\tq: r"),
        ], 0..12)) {
            let text = lines.join("\n");
            if let Some(read) = presets(&text) {
                prop_assert_eq!(Ok(read), parse_job_config(text.as_bytes()).map(|jobs| jobs.presets), "{}", text);
            }
        }
    }
}
