//! Colours as writers state them.
//!
//! Sources: OME-NGFF 0.4, "omero" (six hexadecimal digits); CSS Color Module Level 4, sections 5.2
//! (hexadecimal notation) and 6.1 (names); OME schema 2016-06, type "Color" (a 32-bit number).

use serde_json::Value;

/// Red, green and blue of a text or a number; `None` for anything that is no colour, or could be several.
pub(super) fn parse(value: &Value) -> Option<[u8; 3]> {
    match value {
        Value::String(text) => parse_text(text),
        Value::Number(number) => number.as_i64().and_then(parse_number),
        _ => None,
    }
}

/// `RRGGBB`, also with `#` or `0x`, with alpha behind, with one digit each; or a name of CSS.
pub(crate) fn parse_text(text: &str) -> Option<[u8; 3]> {
    let text = text.trim();
    let digits = text.strip_prefix('#').or_else(|| text.strip_prefix("0x")).unwrap_or(text);
    let is_hexadecimal = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    if !is_hexadecimal || !matches!(digits.len(), 3 | 4 | 6 | 8) {
        return by_name(text);
    }
    let value = u32::from_str_radix(digits, 16).ok()?;
    let digit = |at: u32| ((value >> (4 * at)) & 15).to_be_bytes()[3] * 17;
    let byte = |at: u32| (value >> (8 * at)).to_be_bytes()[3];
    Some(match digits.len() {
        3 => [digit(2), digit(1), digit(0)],
        4 => [digit(3), digit(2), digit(1)],
        6 => [byte(2), byte(1), byte(0)],
        _ => [byte(3), byte(2), byte(1)],
    })
}

fn by_name(text: &str) -> Option<[u8; 3]> {
    const LONGEST: usize = 40;
    if text.len() > LONGEST {
        return None;
    }
    let name: String =
        text.chars().filter(char::is_ascii_alphabetic).collect::<String>().to_lowercase();
    let at = NAMES.binary_search_by(|(known, _)| (*known).cmp(name.as_str())).ok()?;
    let [_, red, green, blue] = NAMES[at].1.to_be_bytes();
    Some([red, green, blue])
}

/// A number may be `RRGGBB`, or 32 bits, signed or not, with alpha behind (OME) or in front (Java). It is
/// taken where all but one of these would be black or transparent; and not where its six decimal
/// digits may be meant as hexadecimal ones.
fn parse_number(number: i64) -> Option<[u8; 3]> {
    if (100_000..=999_999).contains(&number) {
        return None;
    }
    let bits = u32::try_from(number).or_else(|_| i32::try_from(number).map(i32::cast_unsigned));
    let [a, b, c, d] = bits.ok()?.to_be_bytes();
    let readings = [
        (a == 0 && number >= 0).then_some([b, c, d]),
        (d == 255).then_some([a, b, c]),
        (a == 255).then_some([b, c, d]),
    ];
    let mut visible = readings.into_iter().flatten().filter(|rgb| *rgb != [0; 3]);
    let first = visible.next()?;
    visible.all(|other| other == first).then_some(first)
}

/// The names of CSS, in the order of the alphabet.
#[rustfmt::skip]
#[expect(clippy::unreadable_literal, reason = "six digits are one colour")]
const NAMES: [(&str, u32); 148] = [
    ("aliceblue", 0xf0f8ff), ("antiquewhite", 0xfaebd7), ("aqua", 0x00ffff),
    ("aquamarine", 0x7fffd4), ("azure", 0xf0ffff), ("beige", 0xf5f5dc),
    ("bisque", 0xffe4c4), ("black", 0x000000), ("blanchedalmond", 0xffebcd),
    ("blue", 0x0000ff), ("blueviolet", 0x8a2be2), ("brown", 0xa52a2a),
    ("burlywood", 0xdeb887), ("cadetblue", 0x5f9ea0), ("chartreuse", 0x7fff00),
    ("chocolate", 0xd2691e), ("coral", 0xff7f50), ("cornflowerblue", 0x6495ed),
    ("cornsilk", 0xfff8dc), ("crimson", 0xdc143c), ("cyan", 0x00ffff),
    ("darkblue", 0x00008b), ("darkcyan", 0x008b8b), ("darkgoldenrod", 0xb8860b),
    ("darkgray", 0xa9a9a9), ("darkgreen", 0x006400), ("darkgrey", 0xa9a9a9),
    ("darkkhaki", 0xbdb76b), ("darkmagenta", 0x8b008b), ("darkolivegreen", 0x556b2f),
    ("darkorange", 0xff8c00), ("darkorchid", 0x9932cc), ("darkred", 0x8b0000),
    ("darksalmon", 0xe9967a), ("darkseagreen", 0x8fbc8f), ("darkslateblue", 0x483d8b),
    ("darkslategray", 0x2f4f4f), ("darkslategrey", 0x2f4f4f), ("darkturquoise", 0x00ced1),
    ("darkviolet", 0x9400d3), ("deeppink", 0xff1493), ("deepskyblue", 0x00bfff),
    ("dimgray", 0x696969), ("dimgrey", 0x696969), ("dodgerblue", 0x1e90ff),
    ("firebrick", 0xb22222), ("floralwhite", 0xfffaf0), ("forestgreen", 0x228b22),
    ("fuchsia", 0xff00ff), ("gainsboro", 0xdcdcdc), ("ghostwhite", 0xf8f8ff),
    ("gold", 0xffd700), ("goldenrod", 0xdaa520), ("gray", 0x808080),
    ("green", 0x008000), ("greenyellow", 0xadff2f), ("grey", 0x808080),
    ("honeydew", 0xf0fff0), ("hotpink", 0xff69b4), ("indianred", 0xcd5c5c),
    ("indigo", 0x4b0082), ("ivory", 0xfffff0), ("khaki", 0xf0e68c),
    ("lavender", 0xe6e6fa), ("lavenderblush", 0xfff0f5), ("lawngreen", 0x7cfc00),
    ("lemonchiffon", 0xfffacd), ("lightblue", 0xadd8e6), ("lightcoral", 0xf08080),
    ("lightcyan", 0xe0ffff), ("lightgoldenrodyellow", 0xfafad2), ("lightgray", 0xd3d3d3),
    ("lightgreen", 0x90ee90), ("lightgrey", 0xd3d3d3), ("lightpink", 0xffb6c1),
    ("lightsalmon", 0xffa07a), ("lightseagreen", 0x20b2aa), ("lightskyblue", 0x87cefa),
    ("lightslategray", 0x778899), ("lightslategrey", 0x778899), ("lightsteelblue", 0xb0c4de),
    ("lightyellow", 0xffffe0), ("lime", 0x00ff00), ("limegreen", 0x32cd32),
    ("linen", 0xfaf0e6), ("magenta", 0xff00ff), ("maroon", 0x800000),
    ("mediumaquamarine", 0x66cdaa), ("mediumblue", 0x0000cd), ("mediumorchid", 0xba55d3),
    ("mediumpurple", 0x9370db), ("mediumseagreen", 0x3cb371), ("mediumslateblue", 0x7b68ee),
    ("mediumspringgreen", 0x00fa9a), ("mediumturquoise", 0x48d1cc), ("mediumvioletred", 0xc71585),
    ("midnightblue", 0x191970), ("mintcream", 0xf5fffa), ("mistyrose", 0xffe4e1),
    ("moccasin", 0xffe4b5), ("navajowhite", 0xffdead), ("navy", 0x000080),
    ("oldlace", 0xfdf5e6), ("olive", 0x808000), ("olivedrab", 0x6b8e23),
    ("orange", 0xffa500), ("orangered", 0xff4500), ("orchid", 0xda70d6),
    ("palegoldenrod", 0xeee8aa), ("palegreen", 0x98fb98), ("paleturquoise", 0xafeeee),
    ("palevioletred", 0xdb7093), ("papayawhip", 0xffefd5), ("peachpuff", 0xffdab9),
    ("peru", 0xcd853f), ("pink", 0xffc0cb), ("plum", 0xdda0dd),
    ("powderblue", 0xb0e0e6), ("purple", 0x800080), ("rebeccapurple", 0x663399),
    ("red", 0xff0000), ("rosybrown", 0xbc8f8f), ("royalblue", 0x4169e1),
    ("saddlebrown", 0x8b4513), ("salmon", 0xfa8072), ("sandybrown", 0xf4a460),
    ("seagreen", 0x2e8b57), ("seashell", 0xfff5ee), ("sienna", 0xa0522d),
    ("silver", 0xc0c0c0), ("skyblue", 0x87ceeb), ("slateblue", 0x6a5acd),
    ("slategray", 0x708090), ("slategrey", 0x708090), ("snow", 0xfffafa),
    ("springgreen", 0x00ff7f), ("steelblue", 0x4682b4), ("tan", 0xd2b48c),
    ("teal", 0x008080), ("thistle", 0xd8bfd8), ("tomato", 0xff6347),
    ("turquoise", 0x40e0d0), ("violet", 0xee82ee), ("wheat", 0xf5deb3),
    ("white", 0xffffff), ("whitesmoke", 0xf5f5f5), ("yellow", 0xffff00),
    ("yellowgreen", 0x9acd32),  
];

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn texts_of_every_form() {
        for (text, rgb) in [
            ("00ff7F", [0, 255, 127]),
            ("#00ff7f80", [0, 255, 127]),
            ("0x00FF7F", [0, 255, 127]),
            ("0f8", [0, 255, 136]),
            ("#0f8c", [0, 255, 136]),
            ("red", [255, 0, 0]),
            (" Cyan ", [0, 255, 255]),
            ("LightGoldenrodYellow", [250, 250, 210]),
            ("dark_grey", [169, 169, 169]),
            ("bad", [187, 170, 221]),
        ] {
            assert_eq!(parse(&json!(text)), Some(rgb), "{text:?}");
        }
        for bad in ["", "12345", "+12345", "\u{e9}\u{e9}\u{e9}", "greenish", "zz00ff", "##"] {
            assert_eq!(parse(&json!(bad)), None, "{bad:?}");
        }
        assert_eq!(parse(&json!("r".repeat(1 << 20))), None);
    }

    #[test]
    fn numbers_that_can_be_but_one_colour() {
        for (number, rgb) in [
            (65_280_i64, Some([0, 255, 0])),
            (255, Some([0, 0, 255])),
            (16_711_680, Some([255, 0, 0])),
            // OME: green with alpha behind; or cyan without.
            (16_711_935, None),
            // Red with alpha behind, or blue with alpha in front.
            (-16_776_961, None),
            (-1, Some([255; 3])),
            (-65_536, Some([255, 0, 0])),
            (0, None),
            (808_080, None),
            (i64::MAX, None),
        ] {
            assert_eq!(parse(&json!(number)), rgb, "{number}");
        }
        assert_eq!(parse(&json!(0.5)), None);
        assert_eq!(parse(&json!([255, 0, 0])), None);
    }

    #[test]
    fn names_are_in_order() {
        assert!(NAMES.is_sorted_by(|a, b| a.0 < b.0));
    }
}
