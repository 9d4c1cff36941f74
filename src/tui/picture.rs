//! The screen as SVG, for the README: the program draws its own picture, so that it never shows what is not so.

use std::fmt::Write as _;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Cell;
use ratatui::style::{Color, Modifier};

use super::app::App;
use super::view::view;

const CELL_WIDTH: f32 = 8.4;
const CELL_HEIGHT: f32 = 17.0;
const MARGIN: f32 = 12.0;
const BACKGROUND: &str = "#14181d";
const FOREGROUND: &str = "#d5d8dc";

/// Draws the app at this size, as SVG text.
pub fn render_to_svg(app: &App, width: u16, height: u16) -> String {
    let Ok(mut terminal) = Terminal::new(TestBackend::new(width, height));
    let mut app = app.clone();
    app.size = (width, height);
    // A buffer in memory cannot fail.
    let Ok(_) = terminal.draw(|frame| view(&app, frame));
    let buffer = terminal.backend().buffer();
    let (w, h) = (f32::from(width) * CELL_WIDTH + 2.0 * MARGIN, f32::from(height) * CELL_HEIGHT + 2.0 * MARGIN);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {w:.1} {h:.1}\" width=\"{w:.0}\" height=\"{h:.0}\" \
         font-family=\"ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace\" font-size=\"14\">\n\
         <rect width=\"100%\" height=\"100%\" rx=\"6\" fill=\"{BACKGROUND}\"/>\n"
    );
    for row in 0..height {
        let cells: Vec<&Cell> = (0..width).filter_map(|column| buffer.cell((column, row))).collect();
        let mut start = 0;
        while let Some(first) = cells.get(start) {
            let look = look(first);
            let run = cells[start..].iter().take_while(|cell| self::look(cell) == look).count();
            let text: String = cells[start..start + run].iter().map(|cell| cell.symbol()).collect();
            piece(&mut svg, &text, &look, start, row, run);
            start += run;
        }
    }
    svg.push_str("</svg>\n");
    svg
}

#[derive(PartialEq)]
struct Look {
    ink: &'static str,
    ground: Option<&'static str>,
    bold: bool,
    dim: bool,
}

fn look(cell: &Cell) -> Look {
    let ink = color(cell.fg);
    let (ink, ground) = if cell.modifier.contains(Modifier::REVERSED) { (BACKGROUND, Some(ink)) } else { (ink, None) };
    Look { ink, ground, bold: cell.modifier.contains(Modifier::BOLD), dim: cell.modifier.contains(Modifier::DIM) }
}

fn color(color: Color) -> &'static str {
    match color {
        Color::Red => "#ff6b6b",
        Color::Green => "#7bc47f",
        Color::Yellow => "#e5c07b",
        Color::Cyan => "#56b6c2",
        // The theme uses no others.
        _ => FOREGROUND,
    }
}

fn piece(svg: &mut String, text: &str, look: &Look, column: usize, row: u16, cells: usize) {
    if text.trim().is_empty() && look.ground.is_none() {
        return;
    }
    let (x, width) = (MARGIN + column as f32 * CELL_WIDTH, cells as f32 * CELL_WIDTH);
    let y = MARGIN + f32::from(row) * CELL_HEIGHT;
    // Writing to a String cannot fail.
    if let Some(ground) = look.ground {
        let _ = writeln!(
            svg,
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{CELL_HEIGHT}\" fill=\"{ground}\"/>"
        );
    }
    let weight = if look.bold { " font-weight=\"bold\"" } else { "" };
    let opacity = if look.dim { " opacity=\"0.6\"" } else { "" };
    let escaped = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let _ = writeln!(
        svg,
        "<text x=\"{x:.1}\" y=\"{:.1}\" textLength=\"{width:.1}\" xml:space=\"preserve\" fill=\"{}\"{weight}{opacity}>{escaped}</text>",
        y + CELL_HEIGHT - 4.5,
        look.ink,
    );
}
