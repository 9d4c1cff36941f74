//! Colours and glyphs. The 16 colours of the terminal on its own background; no meaning hangs on a colour alone.

use ratatui::buffer::Buffer;
use ratatui::style::{Color, Modifier, Style};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Palette {
    Ansi,
    /// `NO_COLOR`: bold, reversed and dim only.
    Plain,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Charset {
    Utf8,
    Ascii,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Theme {
    pub palette: Palette,
    pub charset: Charset,
}

/// What a piece of text means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Text,
    Title,
    Bad,
    Warn,
    Ok,
    /// Less important, or not working now.
    Dim,
    Selected,
    Armed,
    ReadOnly,
    Added,
    Removed,
    Hunk,
    /// Words that were taken out of a line, and put into one.
    RemovedWord,
    AddedWord,
    /// Of YAML.
    Key,
    Quoted,
    Comment,
    /// What was searched for.
    Match,
}

impl Theme {
    /// From the values of `NO_COLOR`, `TERM` and the locale (`LC_ALL`, else `LC_CTYPE`, else `LANG`).
    pub fn from_environment(no_color: Option<&str>, term: Option<&str>, locale: Option<&str>) -> Self {
        let plain = no_color.is_some_and(|value| !value.is_empty()) || term == Some("dumb");
        let utf8 = locale.is_some_and(|locale| {
            let locale = locale.to_ascii_lowercase();
            locale.contains("utf-8") || locale.contains("utf8")
        });
        Theme {
            palette: if plain { Palette::Plain } else { Palette::Ansi },
            charset: if utf8 { Charset::Utf8 } else { Charset::Ascii },
        }
    }

    pub fn style(self, role: Role) -> Style {
        let (color, modifier) = match role {
            Role::Text => (None, Modifier::empty()),
            Role::Title => (None, Modifier::BOLD),
            Role::Bad => (Some(Color::Red), Modifier::BOLD),
            Role::Warn => (Some(Color::Yellow), Modifier::BOLD),
            Role::Ok | Role::ReadOnly | Role::Added => (Some(Color::Green), Modifier::empty()),
            Role::Dim | Role::Comment => (None, Modifier::DIM),
            Role::Selected => (None, Modifier::REVERSED),
            Role::Match => (Some(Color::Yellow), Modifier::REVERSED.union(Modifier::BOLD)),
            Role::Armed => (Some(Color::Red), Modifier::BOLD.union(Modifier::REVERSED)),
            Role::Removed => (Some(Color::Red), Modifier::empty()),
            Role::RemovedWord => (Some(Color::Red), Modifier::BOLD.union(Modifier::UNDERLINED)),
            Role::AddedWord => (Some(Color::Green), Modifier::BOLD.union(Modifier::UNDERLINED)),
            Role::Hunk | Role::Key => (Some(Color::Cyan), Modifier::empty()),
            Role::Quoted => (Some(Color::Yellow), Modifier::empty()),
        };
        let style = Style::new().add_modifier(modifier);
        match (self.palette, color) {
            (Palette::Ansi, Some(color)) => style.fg(color),
            (Palette::Ansi, None) | (Palette::Plain, _) => style,
        }
    }

    /// The last touch on a drawn screen: without UTF-8, stand-ins for what is not ASCII.
    pub fn finish(self, buffer: &mut Buffer) {
        if self.charset == Charset::Utf8 {
            return;
        }
        for cell in &mut buffer.content {
            if !cell.symbol().is_ascii() {
                let stand_in = match cell.symbol() {
                    "─" | "—" | "–" => "-",
                    "═" => "=",
                    "│" => "|",
                    "┌" | "┐" | "└" | "┘" => "+",
                    "…" => "~",
                    "·" => ".",
                    "→" => ">",
                    "↑" => "^",
                    "↓" => "v",
                    "«" | "»" | "“" | "”" => "\"",
                    _ => "?",
                };
                cell.set_symbol(stand_in);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_decides() {
        let theme = Theme::from_environment(None, Some("xterm"), Some("en_US.UTF-8"));
        assert_eq!(theme, Theme { palette: Palette::Ansi, charset: Charset::Utf8 });
        assert_eq!(Theme::from_environment(Some("1"), None, Some("C.utf8")).palette, Palette::Plain);
        assert_eq!(Theme::from_environment(Some(""), None, None).palette, Palette::Ansi);
        assert_eq!(Theme::from_environment(None, None, Some("C")).charset, Charset::Ascii);
    }

    #[test]
    fn without_colours_bad_still_stands_out() {
        let plain = Theme { palette: Palette::Plain, charset: Charset::Utf8 };
        let style = plain.style(Role::Bad);
        assert_eq!(style.fg, None);
        assert!(style.add_modifier.contains(Modifier::BOLD));
    }
}
