//! Units of length and time, as OME-NGFF lists them and as people write them.
//!
//! Sources: OME-NGFF 0.4 and 0.5, "axes" metadata (UDUNITS-2 names); the SI prefixes (SI brochure,
//! 9th edition, table 7); and the spellings met in public stores.

/// A unit as the metadata states it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Unit {
    /// Nothing: no unit, a blank one, or a word that says that there is none, such as `pixel`.
    Absent,
    /// So many micrometres, or seconds.
    Factor(f64),
    /// Something that is not understood.
    Unknown,
}

/// Names of the SI prefixes; "deka" and "mikro" are how some languages spell them.
const PREFIXES: [(&str, f64); 22] = [
    ("yotta", 1e24),
    ("zetta", 1e21),
    ("exa", 1e18),
    ("peta", 1e15),
    ("tera", 1e12),
    ("giga", 1e9),
    ("mega", 1e6),
    ("kilo", 1e3),
    ("hecto", 1e2),
    ("deca", 1e1),
    ("deka", 1e1),
    ("deci", 1e-1),
    ("centi", 1e-2),
    ("milli", 1e-3),
    ("micro", 1e-6),
    ("mikro", 1e-6),
    ("nano", 1e-9),
    ("pico", 1e-12),
    ("femto", 1e-15),
    ("atto", 1e-18),
    ("zepto", 1e-21),
    ("yocto", 1e-24),
];

/// Symbols of the SI prefixes. Capitals that mean another prefix than the small letter are left out:
/// a writer of `Mm` or `Ms` may mean either.
const SYMBOLS: [(&str, f64); 17] = [
    ("E", 1e18),
    ("T", 1e12),
    ("G", 1e9),
    ("k", 1e3),
    ("h", 1e2),
    ("da", 1e1),
    ("d", 1e-1),
    ("c", 1e-2),
    ("m", 1e-3),
    ("u", 1e-6),
    ("n", 1e-9),
    ("p", 1e-12),
    ("f", 1e-15),
    ("a", 1e-18),
    ("z", 1e-21),
    ("y", 1e-24),
    ("", 1.0),
];

/// Words that say that there is no unit.
const NO_UNIT: [&str; 26] = [
    "",
    "-",
    "1",
    "?",
    "none",
    "null",
    "nan",
    "n/a",
    "na",
    "unit",
    "unknown",
    "undefined",
    "unspecified",
    "uncalibrated",
    "dimensionless",
    "arbitrary",
    "arbitraryunit",
    "a.u",
    "au",
    "frame",
    "slice",
    "pixel",
    "pix",
    "px",
    "voxel",
    "vx",
];

/// Micrometres in one unit of length; `None` for a name that is no unit of length.
#[must_use]
pub fn micrometres(unit: &str) -> Option<f64> {
    let spelling = Spelling::of(unit);
    if let Some(prefix) = spelling.prefix(&["meter", "metre"], "m") {
        return Some(prefix * 1e6);
    }
    Some(match spelling.word.as_str() {
        "micron" | "u" | "mu" => 1.0,
        "angstrom" | "ang" | "\u{e5}" => 1e-4,
        // A capital: as a symbol of length, nothing else.
        "a" if spelling.exact == "A" => 1e-4,
        "inch" | "inche" | "in" => 25_400.0,
        "foot" | "feet" | "ft" => 304_800.0,
        "yard" | "yd" => 914_400.0,
        "mile" => 1_609_344_000.0,
        "parsec" => 3.085_677_581_491_367e22,
        _ => return None,
    })
}

/// Seconds in one unit of time; `None` for a name that is no unit of time.
pub(crate) fn seconds(unit: &str) -> Option<f64> {
    let spelling = Spelling::of(unit);
    if let Some(prefix) = spelling.prefix(&["second", "sec"], "s") {
        return Some(prefix);
    }
    Some(match spelling.word.as_str() {
        "week" => 604_800.0,
        "day" | "d" => 86_400.0,
        "hour" | "hr" | "hrs" | "h" => 3_600.0,
        "minute" | "min" => 60.0,
        _ => match spelling.word.strip_suffix("sec") {
            Some(symbol) => symbol_of(symbol)?,
            None => return None,
        },
    })
}

/// A unit of length, in micrometres.
pub(super) fn length(unit: Option<&str>) -> Unit {
    stated(unit, micrometres)
}

/// A unit of time, in seconds.
pub(super) fn time(unit: Option<&str>) -> Unit {
    stated(unit, seconds)
}

fn stated(unit: Option<&str>, factor: fn(&str) -> Option<f64>) -> Unit {
    let Some(unit) = unit else { return Unit::Absent };
    if let Some(factor) = factor(unit) {
        return Unit::Factor(factor);
    }
    let word = Spelling::of(unit).word;
    if NO_UNIT.contains(&word.as_str()) { Unit::Absent } else { Unit::Unknown }
}

fn symbol_of(symbol: &str) -> Option<f64> {
    SYMBOLS.iter().find(|(known, _)| *known == symbol).map(|(_, factor)| *factor)
}

/// A unit without what makes no difference: white space around it, underscores, brackets, "per pixel",
/// the many forms of the micro sign. Two words, as in `nano meter`, are not put together: other programs
/// read one of them, or none.
struct Spelling {
    /// As the writer had it in capitals and small letters.
    exact: String,
    /// Small letters, without the plural "s" of words.
    word: String,
}

impl Spelling {
    /// Longest text looked at; the longest name of a unit is shorter.
    const LIMIT_CHARS: usize = 60;

    fn of(unit: &str) -> Self {
        let unit: String = unit.chars().take(Self::LIMIT_CHARS).collect();
        let mut exact = unescape(&unit);
        // What UTF-8 becomes when it is taken for Latin-1, and the names in HTML.
        for micro in ["\u{c2}\u{b5}", "\u{ce}\u{bc}", "&micro;", "&#181;", "&mu;", "\\mu"] {
            exact = exact.replace(micro, "\u{b5}");
        }
        // The ring may be a character of its own.
        let exact = exact.replace("A\u{30a}", "\u{c5}").replace("a\u{30a}", "\u{e5}");
        let exact: String = exact
            .chars()
            .filter(|c| !c.is_control() && !"_[](){}$\u{feff}".contains(*c))
            .map(|c| match c {
                '\u{b5}' | '\u{3bc}' => 'u',
                'è' | 'é' => 'e',
                'ö' => 'o',
                other => other,
            })
            .collect();
        let mut exact = exact.trim().trim_matches(['\'', '"', '.']).trim().to_owned();
        for per in ["/pixel", "/px", "/voxel", "perpixel", "pervoxel"] {
            let start = exact.len().wrapping_sub(per.len());
            if start > 0 && exact.get(start..).is_some_and(|end| end.eq_ignore_ascii_case(per)) {
                exact.truncate(start);
            }
        }
        let small = exact.to_lowercase().replace("ångstr", "angstr").replace('-', "");
        let word = match small.strip_suffix('s') {
            Some(word) if word.len() > 2 => word.to_owned(),
            // A lone hyphen says that there is no unit.
            _ if small.is_empty() => exact.clone(),
            _ => small,
        };
        Self { exact, word }
    }

    /// The factor of the prefix of a unit by its names or its symbol.
    fn prefix(&self, names: &[&str], symbol: &str) -> Option<f64> {
        for name in names {
            if let Some(prefix) = self.word.strip_suffix(name) {
                if prefix.is_empty() {
                    return Some(1.0);
                }
                if let Some((_, factor)) = PREFIXES.iter().find(|(known, _)| *known == prefix) {
                    return Some(*factor);
                }
            }
        }
        if let Some(factor) = self.exact.strip_suffix(symbol).and_then(symbol_of) {
            return Some(factor);
        }
        // Capitals throughout are no other prefix, but a habit.
        let is_capital = self.exact.chars().all(char::is_uppercase);
        let is_ambiguous = !is_capital
            && self.exact.chars().count() == 2
            && self.exact.starts_with(['M', 'P', 'Z', 'Y']);
        let small = self.exact.to_lowercase();
        let small = small.strip_suffix(symbol).filter(|_| !is_ambiguous)?;
        symbol_of(small)
    }
}

/// Escapes that a writer escaped once more, such as the six characters `\u00B5`.
fn unescape(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let escape = &rest[at..];
        let digits = match escape.as_bytes().get(1) {
            Some(b'u' | b'U') => 4,
            Some(b'x' | b'X') => 2,
            _ => 0,
        };
        let code = escape.get(2..2 + digits).filter(|_| digits > 0);
        let decoded =
            code.and_then(|code| u32::from_str_radix(code, 16).ok()).and_then(char::from_u32);
        out.push(decoded.unwrap_or('\\'));
        let taken = if decoded.is_some() { 2 + digits } else { 1 };
        rest = &escape[taken..];
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_the_micrometre_agree() {
        for unit in [
            "micrometer",
            "micrometre",
            "micrometers",
            "micrometres",
            "Micrometer",
            "MICROMETER",
            "micro_meter",
            "micro-metre",
            "mikrometer",
            "um",
            "UM",
            " um ",
            "uM",
            "\u{b5}m",
            "\u{3bc}m",
            "\\u00B5m",
            "\\u00b5m",
            "\\u03BCm",
            "\\xb5m",
            "\u{c2}\u{b5}m",
            "&micro;m",
            "micron",
            "Microns",
            "\u{b5}",
            "[um]",
            "um/pixel",
            "um.",
        ] {
            assert_eq!(micrometres(unit), Some(1.0), "{unit}");
        }
    }

    #[test]
    fn lengths_in_every_spelling() {
        for (unit, um) in [
            ("nanometers", 1e-3),
            ("nano_meter", 1e-3),
            ("nano-metres", 1e-3),
            ("NM", 1e-3),
            ("centimetre", 1e4),
            ("Centimeters", 1e4),
            ("millimètre", 1e3),
            ("MM", 1e3),
            ("decimetres", 1e5),
            ("decametre", 1e7),
            ("m", 1e6),
            ("Metre", 1e6),
            ("km", 1e9),
            ("KM", 1e9),
            ("gigameter", 1e15),
            ("Gm", 1e15),
            ("femtometre", 1e-9),
            ("angstrom", 1e-4),
            ("Angstroms", 1e-4),
            ("\u{c5}ngstr\u{f6}m", 1e-4),
            ("\u{c5}", 1e-4),
            ("\u{212b}", 1e-4),
            ("A\u{30a}", 1e-4),
            ("\\u212B", 1e-4),
            ("A", 1e-4),
            ("inches", 25_400.0),
        ] {
            let found = micrometres(unit).unwrap_or_else(|| panic!("{unit}"));
            assert!((found - um).abs() <= um * 1e-12, "{unit}: {found}");
        }
        for unit in ["pixel", "second", "s", "sec", "Mm", "Pm", "furlong", "gm", "a", "amu", ""] {
            assert_eq!(micrometres(unit), None, "{unit}");
        }
    }

    #[test]
    fn times_in_every_spelling() {
        for (unit, s) in [
            ("seconds", 1.0),
            ("SEC", 1.0),
            ("secs", 1.0),
            ("s", 1.0),
            ("S", 1.0),
            ("ms", 1e-3),
            ("MS", 1e-3),
            ("msec", 1e-3),
            ("msecs", 1e-3),
            ("milli_second", 1e-3),
            ("\u{b5}s", 1e-6),
            ("usec", 1e-6),
            ("nanoseconds", 1e-9),
            ("kiloseconds", 1e3),
            ("min", 60.0),
            ("mins", 60.0),
            ("Minutes", 60.0),
            ("hr", 3600.0),
            ("hrs", 3600.0),
            ("h", 3600.0),
            ("days", 86_400.0),
        ] {
            assert_eq!(seconds(unit), Some(s), "{unit}");
        }
        for unit in ["micrometer", "m", "M", "Ms", "frame", "Channel", ""] {
            assert_eq!(seconds(unit), None, "{unit}");
        }
    }

    #[test]
    fn blank_and_absent_units_state_nothing() {
        for unit in ["", " ", "\t\u{a0}", "null", "None", "pixel", "Pixels", "px", "voxel", "a.u."]
        {
            assert_eq!(length(Some(unit)), Unit::Absent, "{unit:?}");
        }
        assert_eq!(length(None), Unit::Absent);
        assert_eq!(length(Some("-")), Unit::Absent);
        assert_eq!(time(Some("frames")), Unit::Absent);
        for unit in ["furlong", "nano meter", "micro meter"] {
            assert_eq!(length(Some(unit)), Unit::Unknown, "{unit:?}");
        }
        assert_eq!(time(Some("Channel")), Unit::Unknown);
        assert_eq!(length(Some(&"x".repeat(1 << 20))), Unit::Unknown);
        assert_eq!(length(Some("\\u00")), Unit::Unknown);
    }
}
