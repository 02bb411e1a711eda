//! Takes typed values out of a TOML document, noting what it cannot take and going on.
//!
//! serde stops at its first error; whoever mends a file wants to hear of all of them.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::notes::{At, Complaint, Notes, near, shown};
use super::raw;

/// What the file says for one key.
#[derive(Default)]
pub(super) enum Field<T> {
    /// Nothing.
    #[default]
    Absent,
    /// Something that cannot be taken, and was noted.
    Wrong,
    /// This.
    Given(Given<T>),
}

/// A value and its place.
pub(super) struct Given<T> {
    /// The value.
    pub(super) value: T,
    /// Its place.
    pub(super) at: At,
}

impl<T> Field<T> {
    /// The value and its place, if there is one that can be taken.
    pub(super) fn given(&self) -> Option<&Given<T>> {
        match self {
            Field::Given(given) => Some(given),
            Field::Absent | Field::Wrong => None,
        }
    }

    /// The value, or this where there is none that can be taken.
    pub(super) fn or(self, default: T) -> T {
        self.value().unwrap_or(default)
    }

    /// The value, or an empty one where there is none that can be taken.
    pub(super) fn or_default(self) -> T
    where
        T: Default,
    {
        self.value().unwrap_or_default()
    }

    /// The value, if there is one that can be taken.
    pub(super) fn value(self) -> Option<T> {
        match self {
            Field::Given(given) => Some(given.value),
            Field::Absent | Field::Wrong => None,
        }
    }

    /// Where the value stands, if there is one that can be taken.
    pub(super) fn at(&self) -> Option<&At> {
        self.given().map(|given| &given.at)
    }

    /// Whether the file says nothing.
    pub(super) fn is_absent(&self) -> bool {
        matches!(self, Field::Absent)
    }

    /// Whether the file says something that cannot be taken.
    pub(super) fn is_wrong(&self) -> bool {
        matches!(self, Field::Wrong)
    }

    /// Puts the value through `check`; what it complains of is noted.
    pub(super) fn check<U>(self, check: impl FnOnce(T) -> Result<U, Complaint>, notes: &mut Notes<'_>) -> Field<U> {
        match self {
            Field::Given(Given { value, at }) => match check(value) {
                Ok(value) => Field::Given(Given { value, at }),
                Err(complaint) => {
                    notes.note(&at, complaint);
                    Field::Wrong
                }
            },
            Field::Absent => Field::Absent,
            Field::Wrong => Field::Wrong,
        }
    }
}

/// Something that a value of the file can be.
pub(super) trait FromToml: Sized {
    /// What is wanted, with its article.
    const WHAT: &'static str;

    /// How to write it, given where.
    fn example(at: &At) -> String;

    /// Takes the value, or notes why not.
    fn from_toml(value: &DeValue<'_>, at: &At, notes: &mut Notes<'_>) -> Option<Self>;

    /// Appends the keys that may stand below `prefix`.
    fn keys(_prefix: &str, _all: &mut Vec<String>) {}
}

/// A value that is written as a string.
pub(super) trait FromText: Sized {
    /// What is wanted, with its article.
    const WHAT: &'static str;

    /// How to write it.
    fn example() -> String;

    /// Takes the text, or says what is wrong with it.
    fn from_text(text: &str) -> Result<Self, Complaint>;
}

/// A word out of a few.
pub(super) trait Word: Copy + 'static {
    /// What it is a word for, with its article.
    const WHAT: &'static str;
    /// All there are.
    const ALL: &'static [Self];

    /// The word.
    fn word(self) -> &'static str;
}

/// `"a", "b" or "c"`.
pub(super) fn choices<T: Word>() -> String {
    let quoted: Vec<String> = T::ALL.iter().map(|word| format!("{:?}", word.word())).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => String::new(),
    }
}

impl<T: FromText> FromToml for T {
    const WHAT: &'static str = T::WHAT;

    fn example(_: &At) -> String {
        <T as FromText>::example()
    }

    fn from_toml(value: &DeValue<'_>, at: &At, notes: &mut Notes<'_>) -> Option<T> {
        let Some(text) = value.as_str() else { return mismatch::<T>(value, at, notes) };
        T::from_text(text).map_err(|complaint| notes.note(at, complaint)).ok()
    }
}

impl<T: Word> FromText for T {
    const WHAT: &'static str = T::WHAT;

    fn example() -> String {
        format!("write {}", choices::<T>())
    }

    fn from_text(text: &str) -> Result<T, Complaint> {
        T::ALL.iter().copied().find(|word| word.word() == text).ok_or_else(|| {
            let hint = match near(text, T::ALL.iter().map(|word| word.word())) {
                Some(meant) => format!("did you mean {meant:?}?"),
                None => <T as FromText>::example(),
            };
            Complaint::new(format!("{} is not {}", shown(text), T::WHAT)).hint(hint)
        })
    }
}

impl FromToml for bool {
    const WHAT: &'static str = "true or false";

    fn example(_: &At) -> String {
        "without quotes".to_owned()
    }

    fn from_toml(value: &DeValue<'_>, at: &At, notes: &mut Notes<'_>) -> Option<bool> {
        value.as_bool().or_else(|| mismatch::<bool>(value, at, notes))
    }
}

impl FromToml for f64 {
    const WHAT: &'static str = "a number";

    fn example(_: &At) -> String {
        "without quotes and unit, for example 80".to_owned()
    }

    fn from_toml(value: &DeValue<'_>, at: &At, notes: &mut Notes<'_>) -> Option<f64> {
        let number = match value {
            // No integer that makes sense as a limit needs more digits than an f64 has.
            #[expect(clippy::cast_precision_loss, reason = "see above")]
            DeValue::Integer(number) => {
                i64::from_str_radix(number.as_str(), number.radix()).map_or(f64::NAN, |number| number as f64)
            }
            DeValue::Float(number) => number.as_str().parse().unwrap_or(f64::NAN),
            _ => return mismatch::<f64>(value, at, notes),
        };
        if number.is_finite() {
            return Some(number);
        }
        notes.note(at, Complaint::new("must be a finite number"));
        None
    }
}

impl<T: FromToml> FromToml for Vec<Given<T>> {
    const WHAT: &'static str = "a list";

    fn example(at: &At) -> String {
        let mut keys = Vec::new();
        T::keys("", &mut keys);
        if keys.is_empty() { "in brackets: [\"a\", \"b\"]".to_owned() } else { format!("write [[{}]]", at.key) }
    }

    fn from_toml(value: &DeValue<'_>, at: &At, notes: &mut Notes<'_>) -> Option<Self> {
        let Some(elements) = value.as_array() else { return mismatch::<Self>(value, at, notes) };
        let element = |(index, element): (usize, &Spanned<DeValue<'_>>)| {
            let at = at.element(index, element.span());
            T::from_toml(element.get_ref(), &at, notes).map(|value| Given { value, at })
        };
        Some(elements.iter().enumerate().filter_map(element).collect())
    }

    fn keys(prefix: &str, all: &mut Vec<String>) {
        T::keys(prefix, all);
    }
}

/// The largest text whose mistakes of syntax are all looked for: finding them in a text of nothing else costs 300 times
/// its size.
const RECOVERED_BYTES: usize = 64 << 10;

/// The whole document. After a mistake of syntax that leaves the rest in doubt, nothing is read.
pub(super) fn document(text: &str, notes: &mut Notes<'_>) -> raw::File {
    let (table, mut errors) = match DeTable::parse(text) {
        Ok(table) => (table, Vec::new()),
        Err(_) if text.len() <= RECOVERED_BYTES => DeTable::parse_recoverable(text),
        Err(error) => (Spanned::new(0..0, DeTable::new()), vec![error]),
    };
    errors.sort_by_key(|error| error.span().map(|span| span.start));
    let root = At::root();
    for error in errors {
        let span = error.span().unwrap_or(0..0);
        let meant = text.get(span.clone()).unwrap_or("");
        // The parser goes on from these two as a reader would: it takes the string, and the first of two values.
        let (message, hint) = match error.message() {
            "duplicate key" => ("given twice", Some("only one can count".to_owned())),
            message if message.starts_with("string values must be quoted") => {
                ("must be in quotes", Some(format!("write {}", shown(meant))))
            }
            other => (other, None),
        };
        let harmless = hint.is_some();
        let complaint = Complaint::new(message).hint(hint.unwrap_or_else(|| "this is not TOML".to_owned()));
        notes.note(&At { span, ..root.clone() }, complaint);
        if !harmless {
            return raw::File::default();
        }
    }
    raw::File::from_toml(&DeValue::Table(table.into_inner()), &root, notes).unwrap_or_default()
}

/// Notes that a value is of another type.
pub(super) fn mismatch<T: FromToml>(value: &DeValue<'_>, at: &At, notes: &mut Notes<'_>) -> Option<T> {
    let found = match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    };
    notes.note(at, Complaint::new(format!("must be {}, not {found}", T::WHAT)).hint(T::example(at)));
    None
}

/// The value as a table that has no keys but `known`; the others are noted.
pub(super) fn table<'v, 'd, T: FromToml>(
    value: &'v DeValue<'d>,
    known: &[&str],
    at: &At,
    notes: &mut Notes<'_>,
) -> Option<&'v DeTable<'d>> {
    let Some(table) = value.as_table() else {
        mismatch::<T>(value, at, notes);
        return None;
    };
    for key in table.keys().filter(|key| !known.contains(&key.get_ref().as_ref())) {
        let name = key.get_ref();
        let elsewhere = || raw::keys().iter().filter(|full| full.rsplit('.').next() == Some(name));
        let hint = match near(name, known.iter().copied()) {
            Some(meant) => format!("did you mean {}?", at.key(meant, 0..0).key),
            None if elsewhere().next().is_some() => {
                format!("there is {}", elsewhere().cloned().collect::<Vec<_>>().join(" and "))
            }
            None => format!("possible here: {}", known.join(", ")),
        };
        notes.note(&at.key(name, key.span()), Complaint::new("unknown key").hint(hint));
    }
    Some(table)
}

/// What a table says for one key.
pub(super) fn field<T: FromToml>(table: &DeTable<'_>, key: &str, at: &At, notes: &mut Notes<'_>) -> Field<T> {
    let Some(value) = table.get(key) else { return Field::Absent };
    let at = at.key(key, value.span());
    match T::from_toml(value.get_ref(), &at, notes) {
        Some(value) => Field::Given(Given { value, at }),
        None => Field::Wrong,
    }
}
