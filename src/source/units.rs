//! Units of length and time, as OME-NGFF lists them and as people write them.
//!
//! Source: OME-NGFF 0.4 and 0.5, "axes" metadata (UDUNITS-2 names), plus the abbreviations met in
//! public stores.

/// Lower case, without the plural "s" of words.
fn singular(unit: &str) -> String {
    let unit = unit.trim().to_lowercase();
    match unit.strip_suffix('s') {
        Some(word) if word.len() > 2 => word.to_owned(),
        _ => unit,
    }
}

/// Micrometres in one unit of length; `None` for a name that is no unit of length.
#[must_use]
pub fn micrometres(unit: &str) -> Option<f64> {
    let factor = match singular(unit).as_str() {
        "yottameter" => 1e30,
        "zettameter" => 1e27,
        "exameter" => 1e24,
        "petameter" => 1e21,
        "terameter" => 1e18,
        "gigameter" => 1e15,
        "megameter" => 1e12,
        "kilometer" | "km" => 1e9,
        "hectometer" => 1e8,
        "meter" | "metre" | "m" => 1e6,
        "decimeter" | "dm" => 1e5,
        "centimeter" | "cm" => 1e4,
        "millimeter" | "millimetre" | "mm" => 1e3,
        "micrometer" | "micrometre" | "micron" | "um" | "\u{b5}m" | "\u{3bc}m" => 1.0,
        "nanometer" | "nanometre" | "nm" => 1e-3,
        "angstrom" | "\u{e5}" => 1e-4,
        "picometer" | "pm" => 1e-6,
        "femtometer" => 1e-9,
        "attometer" => 1e-12,
        "zeptometer" => 1e-15,
        "yoctometer" => 1e-18,
        "inch" => 25_400.0,
        "foot" => 304_800.0,
        "yard" => 914_400.0,
        "mile" => 1_609_344_000.0,
        "parsec" => 3.085_677_581_491_367e22,
        _ => return None,
    };
    Some(factor)
}

/// Seconds in one unit of time; `None` for a name that is no unit of time.
pub(crate) fn seconds(unit: &str) -> Option<f64> {
    let factor = match singular(unit).as_str() {
        "yottasecond" => 1e24,
        "zettasecond" => 1e21,
        "exasecond" => 1e18,
        "petasecond" => 1e15,
        "terasecond" => 1e12,
        "gigasecond" => 1e9,
        "megasecond" => 1e6,
        "kilosecond" => 1e3,
        "hectosecond" => 1e2,
        "day" | "d" => 86_400.0,
        "hour" | "h" | "hr" => 3_600.0,
        "minute" | "min" => 60.0,
        "second" | "sec" | "s" => 1.0,
        "decisecond" => 1e-1,
        "centisecond" => 1e-2,
        "millisecond" | "ms" => 1e-3,
        "microsecond" | "us" | "\u{b5}s" | "\u{3bc}s" => 1e-6,
        "nanosecond" | "ns" => 1e-9,
        "picosecond" => 1e-12,
        "femtosecond" => 1e-15,
        "attosecond" => 1e-18,
        "zeptosecond" => 1e-21,
        "yoctosecond" => 1e-24,
        _ => return None,
    };
    Some(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_the_micrometre_agree() {
        for unit in ["micrometer", "um", "\u{b5}m", "\u{3bc}m", "Micron", " um "] {
            assert_eq!(micrometres(unit), Some(1.0), "{unit}");
        }
        assert_eq!(micrometres("nanometers"), Some(1e-3));
        assert_eq!(seconds("seconds"), Some(1.0));
        assert_eq!(seconds("ms"), Some(1e-3));
        assert_eq!(seconds("\u{b5}s"), Some(1e-6));
        assert_eq!(micrometres("pixel"), None);
        assert_eq!(seconds("minute"), Some(60.0));
        assert_eq!(seconds("micrometer"), None);
    }
}
