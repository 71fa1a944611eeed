//! Drawing, as text: an SVG's elements with their numbers and escaped words. Colours and patterns are classes of
//! `figure.css`; nothing is told by a colour alone.

use std::fmt::Write;

/// The styles that a drawing needs, in a page or in a file of its own.
pub const STYLE: &str = include_str!("figure.css");

/// Everything that comes from a file passes here on its way into HTML, SVG or an attribute of theirs. Control characters,
/// which no escape makes legal in XML, are shown in the ledger's notation.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            c if c.is_control() => out.push_str(&crate::ledger::escape(c.encode_utf8(&mut [0; 4]).as_bytes())),
            c => out.push(c),
        }
    }
    out
}

/// A coordinate: two decimals at most.
pub fn number(value: f64) -> String {
    let text = format!("{value:.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

/// Which side of its point a text is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Anchor {
    Start,
    Middle,
    End,
}

/// Text sizes, in pixels, as `figure.css` has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// Headings and names.
    Label,
    /// The same, bold.
    Strong,
    /// Values beside what they belong to.
    Note,
    /// Along an axis.
    Tick,
}

impl Size {
    pub fn pixels(self) -> f64 {
        match self {
            Size::Label | Size::Strong => 13.0,
            Size::Note => 12.0,
            Size::Tick => 11.0,
        }
    }

    fn class(self) -> &'static str {
        match self {
            Size::Label => "label",
            Size::Strong => "strong",
            Size::Note => "note",
            Size::Tick => "tick",
        }
    }
}

/// Pixels that a text takes at most, by the widest of the usual fonts (DejaVu Sans; its bold is a seventh wider).
pub fn text_width(text: &str, size: Size) -> f64 {
    let em = |c: char| match c {
        'i' | 'j' | 'l' | 'I' | '|' | '.' | ',' | ':' | ';' | '\'' | '!' | ' ' | '\u{a0}' | '·' => 0.36,
        'f' | 't' | 'r' | '(' | ')' | '[' | ']' | '/' | '-' | '"' | 'J' => 0.44,
        'm' | 'M' | 'W' | 'w' | '%' | '@' | '—' | '…' => 1.02,
        'A'..='Z' | '×' | '+' | '=' | '<' | '>' | '~' | '−' => 0.86,
        's' | 'c' | 'k' | 'v' | 'x' | 'y' | 'z' => 0.6,
        c if c.is_ascii() => 0.645,
        c if (c as u32) < 0x2e80 => 0.8,
        _ => 1.05,
    };
    let bold = if size == Size::Strong { 1.14 } else { 1.0 };
    text.chars().map(em).sum::<f64>() * size.pixels() * bold
}

/// The text, or as much of it as there is room for.
pub fn fitted(text: &str, size: Size, room: f64) -> String {
    if text_width(text, size) <= room {
        return text.to_owned();
    }
    let mut short = String::new();
    for c in text.chars() {
        short.push(c);
        if text_width(&short, size) + text_width("…", size) > room {
            short.pop();
            break;
        }
    }
    short.trim_end().to_owned() + "…"
}

/// The text in lines that there is room for.
pub fn wrapped(text: &str, size: Size, room: f64) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let last = lines.len() - 1;
        let longer = if lines[last].is_empty() { word.to_owned() } else { format!("{} {word}", lines[last]) };
        if text_width(&longer, size) <= room {
            lines[last] = longer;
        } else if lines[last].is_empty() {
            lines[last] = fitted(word, size, room);
        } else {
            lines.push(fitted(word, size, room));
        }
    }
    lines
}

/// A drawing under way. Its height is what was used of it.
#[derive(Debug)]
pub struct Svg {
    id: String,
    width: f64,
    height: f64,
    title: String,
    description: String,
    body: String,
}

impl Svg {
    /// `id` is unique in the page. The words are what somebody has who does not see it.
    pub fn new(id: &str, width: f64, title: &str, description: &str) -> Svg {
        let (title, description) = (title.to_owned(), description.to_owned());
        Svg { id: id.to_owned(), width, height: 0.0, title, description, body: String::new() }
    }

    pub fn width(&self) -> f64 {
        self.width
    }

    /// Where there is room for names on the left and values on the right; else they stand above and below.
    pub fn is_wide(&self) -> bool {
        self.width >= 560.0
    }

    fn used(&mut self, y: f64) {
        self.height = self.height.max(y);
    }

    /// With a bottom that is at `y` at least.
    pub fn extend(&mut self, y: f64) {
        self.used(y);
    }

    /// A text whose base line is at `y`, cut to `room`; if it had to be cut, the whole is what a pointer shows.
    pub fn text(&mut self, at: (f64, f64), anchor: Anchor, size: Size, room: f64, text: &str) {
        let short = fitted(text, size, room);
        let anchor = match anchor {
            Anchor::Start => "",
            Anchor::Middle => " text-anchor=\"middle\"",
            Anchor::End => " text-anchor=\"end\"",
        };
        let whole = if short == text { String::new() } else { format!("<title>{}</title>", escape(text)) };
        let (x, y, class) = (number(at.0), number(at.1), size.class());
        let short = escape(&short);
        let _ = writeln!(self.body, "<text x=\"{x}\" y=\"{y}\" class=\"{class}\"{anchor}>{whole}{short}</text>");
        self.used(at.1 + 4.0);
    }

    /// A box. `of` is the number that it shows and the one that its whole scale shows; `tip` is what a pointer shows. The
    /// class `tall` says that the number is its height.
    pub fn bar(&mut self, at: (f64, f64), size: (f64, f64), class: &str, of: (f64, f64), tip: &str) {
        let (x, y, w, h) = (number(at.0), number(at.1), number(size.0.max(0.0)), number(size.1.max(0.0)));
        let fill = match class.split(' ').next() {
            Some(kind @ ("lost" | "sent")) => format!(" style=\"fill:url(#{}-{kind})\"", self.id),
            _ => String::new(),
        };
        let data = format!("data-n=\"{}\" data-of=\"{}\"", number(of.0), number(of.1));
        let tip = if tip.is_empty() { String::new() } else { format!("<title>{}</title>", escape(tip)) };
        let _ = writeln!(
            self.body,
            "<rect x=\"{x}\" y=\"{y}\" width=\"{w}\" height=\"{h}\" class=\"bar {class}\"{fill} {data}>{tip}</rect>"
        );
        self.used(at.1 + size.1);
    }

    pub fn line(&mut self, from: (f64, f64), to: (f64, f64), class: &str) {
        let [x1, y1, x2, y2] = [from.0, from.1, to.0, to.1].map(number);
        let _ = writeln!(self.body, "<line x1=\"{x1}\" y1=\"{y1}\" x2=\"{x2}\" y2=\"{y2}\" class=\"{class}\"/>");
        self.used(from.1.max(to.1));
    }

    pub fn circle(&mut self, at: (f64, f64), radius: f64, class: &str) {
        let [x, y, r] = [at.0, at.1, radius].map(number);
        let _ = writeln!(self.body, "<circle cx=\"{x}\" cy=\"{y}\" r=\"{r}\" class=\"{class}\"/>");
        self.used(at.1 + radius);
    }

    /// A small ×.
    pub fn cross(&mut self, at: (f64, f64), class: &str) {
        let d = 3.5;
        self.line((at.0 - d, at.1 - d), (at.0 + d, at.1 + d), class);
        self.line((at.0 - d, at.1 + d), (at.0 + d, at.1 - d), class);
    }

    /// A polygon through these points, or a line.
    pub fn path(&mut self, points: &[(f64, f64)], closed: bool, class: &str) {
        let mut d = String::new();
        for (index, (x, y)) in points.iter().enumerate() {
            let _ = write!(d, "{}{} {}", if index == 0 { "M" } else { "L" }, number(*x), number(*y));
            self.used(*y);
        }
        let _ = writeln!(self.body, "<path d=\"{d}{}\" class=\"{class}\"/>", if closed { "Z" } else { "" });
    }

    fn text_of(&self, more: &str, style: &str) -> String {
        let (id, width, height) = (&self.id, number(self.width), number(self.height.ceil() + 2.0));
        let (title, description) = (escape(&self.title), escape(&self.description));
        // Stripes and dots: what is lost, and what was not verified, is told without colour too.
        let patterns = format!(
            "<defs>\
             <pattern id=\"{id}-lost\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\" patternTransform=\"rotate(45)\">\
             <rect width=\"6\" height=\"6\" class=\"lost-ground\"/><rect width=\"2\" height=\"6\" class=\"gap\"/></pattern>\
             <pattern id=\"{id}-sent\" width=\"5\" height=\"5\" patternUnits=\"userSpaceOnUse\">\
             <rect width=\"5\" height=\"5\" class=\"sent-ground\"/><circle cx=\"2.5\" cy=\"2.5\" r=\"1.1\" class=\"gap\"/></pattern>\
             </defs>"
        );
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" id=\"{id}\" class=\"figure\" viewBox=\"0 0 {width} {height}\" \
             width=\"{width}\" height=\"{height}\" role=\"img\" aria-labelledby=\"{id}-t {id}-d\"{more}>\n\
             <title id=\"{id}-t\">{title}</title><desc id=\"{id}-d\">{description}</desc>\n{style}{patterns}\n{}</svg>\n",
            self.body
        )
    }

    /// To be set into a page that has [`STYLE`].
    pub fn inline(&self) -> String {
        self.text_of("", "")
    }

    /// A file of its own, with a ground.
    pub fn standalone(&self) -> String {
        let (width, height) = (number(self.width + 32.0), number(self.height.ceil() + 34.0));
        let inner = self.text_of(" x=\"16\" y=\"16\"", "");
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\">\n\
             <style>{STYLE}</style>\n<rect width=\"100%\" height=\"100%\" class=\"ground\"/>\n{inner}</svg>\n"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn nothing_from_outside_is_markup(text in any::<String>()) {
            let out = escape(&text);
            prop_assert!(!out.contains(['<', '>', '"', '\'']));
            prop_assert!(out.chars().all(|c| !c.is_control()));
            let entity = |rest: &str| ["amp;", "lt;", "gt;", "quot;", "#39;"].iter().any(|entity| rest.starts_with(entity));
            prop_assert!(out.split('&').skip(1).all(entity));
        }

        #[test]
        fn what_is_fitted_fits(text in "\\PC{0,60}", room in 20.0f64..300.0) {
            prop_assert!(text_width(&fitted(&text, Size::Label, room), Size::Label) <= room);
            for line in wrapped(&text, Size::Label, room) {
                prop_assert!(text_width(&line, Size::Label) <= room, "{line}");
            }
        }
    }

    #[test]
    fn words_end_where_they_should() {
        let mut svg = Svg::new("f", 100.0, "a \"title\"", "<b>");
        svg.text((0.0, 10.0), Anchor::Start, Size::Label, 1e3, "</text><script>alert(1)</script>");
        svg.bar((0.0, 0.0), (10.0, 10.0), "lost", (1.0, 2.0), "</title><a href=x>");
        let text = svg.inline() + &svg.standalone();
        assert!(!text.contains("<script") && !text.contains("<a ") && !text.contains("<b>"), "{text}");
    }

    #[test]
    fn numbers_are_short() {
        let told = [0.0, -0.001, 1.0, 1.5, 123.456, -2.0].map(number);
        assert_eq!(told, ["0", "0", "1", "1.5", "123.46", "-2"]);
    }
}
