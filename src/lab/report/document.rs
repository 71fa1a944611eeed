//! What is told, apart from how it is written: sections of words, figures and tables. HTML, Markdown, CSV and SVG files are
//! made of the same document, so none of them says what another does not.

use super::svg::Svg;
use super::units;

/// Figures are drawn twice: for a page or a sheet, and for a telephone.
pub const WIDE: f64 = 780.0;
pub const NARROW: f64 = 360.0;

/// A page.
#[derive(Debug, Default)]
pub struct Document {
    /// What happened, in a sentence.
    pub headline: String,
    /// Some more sentences.
    pub lede: Vec<String>,
    /// When, what, how many.
    pub facts: Vec<String>,
    /// What is not as it should be with the input.
    pub doubts: Vec<String>,
    pub sections: Vec<Section>,
}

#[derive(Debug, Default)]
pub struct Section {
    pub heading: String,
    pub text: Vec<String>,
    pub blocks: Vec<Block>,
    /// Shown when it is asked for.
    pub folded: bool,
}

#[derive(Debug)]
pub enum Block {
    /// The number before the others add up to it: its name, and theirs.
    Sum {
        whole: (String, u64),
        parts: Vec<(String, u64)>,
    },
    /// Single numbers: name, value, and what it is of.
    Numbers(Vec<(String, String, String)>),
    Figure(Box<Figure>),
    Table(Table),
    /// What somebody else said: who and how, text.
    Quotes(Vec<(String, String)>),
}

impl Block {
    pub fn figure(figure: Figure) -> Block {
        Block::Figure(Box::new(figure))
    }
}

#[derive(Debug)]
pub struct Figure {
    /// Unique in the document, and the name of its file.
    pub name: String,
    pub title: String,
    /// How to read it.
    pub text: String,
    pub wide: Svg,
    pub narrow: Svg,
    /// The same in numbers.
    pub table: Option<Table>,
}

impl Figure {
    /// `draw` is called for each width.
    pub fn new(name: &str, title: &str, text: &str, description: &str, draw: impl Fn(&mut Svg)) -> Figure {
        let drawn = |width: f64, suffix: &str| {
            let mut svg = Svg::new(&format!("{name}-{suffix}"), width, title, description);
            draw(&mut svg);
            svg
        };
        Figure {
            name: name.to_owned(),
            title: title.to_owned(),
            text: text.to_owned(),
            wide: drawn(WIDE, "wide"),
            narrow: drawn(NARROW, "narrow"),
            table: None,
        }
    }

    pub fn with(mut self, table: Table) -> Figure {
        self.table = Some(table);
        self
    }
}

#[derive(Debug, Clone)]
pub struct Table {
    /// Unique in the document, and the name of its file.
    pub name: String,
    pub caption: String,
    /// Name, and the unit that CSV has it in.
    pub columns: Vec<(String, &'static str)>,
    pub rows: Vec<Vec<Value>>,
    /// The last column holds sentences: a page gives them a line of their own.
    pub sentences: bool,
}

impl Table {
    pub fn new(name: &str, caption: &str, columns: &[(&str, &'static str)]) -> Table {
        let columns = columns.iter().map(|(name, unit)| ((*name).to_owned(), *unit)).collect();
        Table { name: name.to_owned(), caption: caption.to_owned(), columns, rows: Vec::new(), sentences: false }
    }

    /// Whether a column's texts are so short that they need no second line.
    pub fn is_short(&self, column: usize) -> bool {
        self.rows.iter().filter_map(|row| row.get(column)).all(|value| value.shown().chars().count() <= 20)
    }

    /// Whether a column has numbers, which are aligned at their end.
    pub fn is_numeric(&self, column: usize) -> bool {
        let mut values = self.rows.iter().filter_map(|row| row.get(column)).filter(|value| **value != Value::None);
        values.clone().next().is_some() && values.all(|value| !matches!(value, Value::Text(_)))
    }
}

/// A cell.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    None,
    Text(String),
    Count(u64),
    Seconds(f64),
    Bytes(f64),
    Rate(f64),
    Times(f64),
}

impl Value {
    pub fn text(text: impl Into<String>) -> Value {
        Value::Text(text.into())
    }

    pub fn or_none(value: Option<Value>) -> Value {
        value.unwrap_or(Value::None)
    }

    /// For people, with its unit.
    pub fn shown(&self) -> String {
        match self {
            Value::None => "–".to_owned(),
            Value::Text(text) => text.clone(),
            Value::Count(n) => units::count(*n),
            Value::Seconds(s) => units::seconds(*s),
            Value::Bytes(n) => units::bytes(*n),
            Value::Rate(n) => units::rate(*n),
            Value::Times(n) => units::times(*n),
        }
    }

    /// For programs, in the column's unit.
    pub fn raw(&self) -> String {
        match self {
            Value::None => String::new(),
            Value::Text(text) => text.clone(),
            Value::Count(n) => n.to_string(),
            Value::Seconds(n) | Value::Times(n) => format!("{n:.6}"),
            Value::Bytes(n) | Value::Rate(n) => format!("{n:.0}"),
        }
    }
}

impl Document {
    pub fn figures(&self) -> impl Iterator<Item = &Figure> {
        self.sections.iter().flat_map(|section| &section.blocks).filter_map(|block| match block {
            Block::Figure(figure) => Some(&**figure),
            _ => None,
        })
    }

    /// Those behind figures too.
    pub fn tables(&self) -> impl Iterator<Item = &Table> {
        self.sections.iter().flat_map(|section| &section.blocks).filter_map(|block| match block {
            Block::Table(table) => Some(table),
            Block::Figure(figure) => figure.table.as_ref(),
            _ => None,
        })
    }
}
