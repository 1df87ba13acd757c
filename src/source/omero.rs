//! The display settings that OMERO keeps, as OME-NGFF stores carry them.
//!
//! Sources: OME-NGFF 0.4 and 0.5, "omero"; its members are those of OMERO's `imgData`
//! (omero-web documentation, "rendering settings").

use serde_json::{Map, Value};

use super::color;
use super::json::{number, text};

/// An `omero` object.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct Omero {
    /// By position along c; entries that say nothing keep their place.
    pub(crate) channels: Vec<Channel>,
    /// `rdefs.model` is `greyscale`: channels are shown in grey, whatever colours they have.
    pub(crate) is_greyscale: bool,
}

/// One entry of `omero.channels`.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct Channel {
    pub(crate) label: Option<String>,
    pub(crate) color: Option<[u8; 3]>,
    pub(crate) window: Option<(f64, f64)>,
    /// `active` is false: the channel is switched off.
    pub(crate) is_off: bool,
    /// Wavelength of the emitted light in nanometres.
    pub(crate) emission_nm: Option<f64>,
    /// Wavelength of the exciting light in nanometres.
    pub(crate) excitation_nm: Option<f64>,
    /// Members that are there and cannot be used.
    pub(crate) unusable: Vec<&'static str>,
}

impl Omero {
    /// Reads an `omero` object; `None` where it says nothing.
    pub(crate) fn parse(omero: &Value) -> Option<Self> {
        let channels = omero.get("channels").and_then(Value::as_array);
        let model = omero.get("rdefs").and_then(|rdefs| rdefs.get("model")).and_then(text);
        let is_grey = |model: &String| {
            let model = model.trim();
            model.eq_ignore_ascii_case("greyscale") || model.eq_ignore_ascii_case("grayscale")
        };
        let found = Self {
            channels: channels.into_iter().flatten().map(Channel::parse).collect(),
            is_greyscale: model.as_ref().is_some_and(is_grey),
        };
        (found != Self::default()).then_some(found)
    }

    /// The first of several places that has display settings. Writers put them below `ome`, beside it,
    /// into the entry of `multiscales`, into its `metadata`, and to the array.
    pub(crate) fn find<'a>(places: impl IntoIterator<Item = &'a Map<String, Value>>) -> Self {
        places.into_iter().find_map(|place| Self::parse(place.get("omero")?)).unwrap_or_default()
    }
}

impl Channel {
    fn parse(channel: &Value) -> Self {
        let bound = |name: &str| channel.get("window")?.get(name).and_then(number);
        let window = bound("start").zip(bound("end")).filter(|(start, end)| end > start);
        let color = channel.get("color").and_then(color::parse);
        let filled =
            |name: &str| channel.get(name).and_then(text).filter(|label| !label.trim().is_empty());
        let label = filled("label").or_else(|| filled("name"));
        let is_there = |name: &str| channel.get(name).is_some_and(|value| !value.is_null());
        let unusable =
            [("label", label.is_none()), ("color", color.is_none()), ("window", window.is_none())];
        let unusable = unusable.into_iter().filter(|(name, missing)| *missing && is_there(name));
        Self {
            label,
            color,
            window,
            is_off: channel.get("active").is_some_and(is_false),
            emission_nm: wavelength(channel, "emissionwavelength"),
            excitation_nm: wavelength(channel, "excitationwavelength"),
            unusable: unusable.map(|(name, _)| name).collect(),
        }
    }
}

fn is_false(value: &Value) -> bool {
    match value {
        Value::Bool(flag) => !flag,
        Value::String(text) => text.trim().eq_ignore_ascii_case("false"),
        other => other.as_f64() == Some(0.0),
    }
}

/// A wavelength in nanometres. OME-NGFF has no member for it; writers that state it do so under this
/// name, with or without its unit, spelt in various ways.
fn wavelength(channel: &Value, wanted: &str) -> Option<f64> {
    let members = channel.as_object().into_iter().flatten();
    let stated = members.filter_map(|(name, value)| {
        let name: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
        let name = name.to_lowercase();
        let is_wanted = name.strip_suffix("nm").unwrap_or(&name) == wanted;
        number(value).filter(|nm| is_wanted && *nm > 0.0)
    });
    stated.min_by(f64::total_cmp)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn channel(value: &Value) -> Channel {
        Channel::parse(value)
    }

    #[test]
    fn rubbish_members_count_as_absent() {
        let found =
            channel(&json!({"label": 1, "color": "zz00ff", "window": {"start": 5, "end": 5}}));
        let unusable = vec!["color", "window"];
        let expected = Channel { label: Some("1".into()), unusable, ..Channel::default() };
        assert_eq!(found, expected);
        let found =
            channel(&json!({"label": "", "color": "#F00", "window": {"start": 0, "end": 9}}));
        assert_eq!(found.unusable, ["label"]);
        assert_eq!((found.color, found.window), (Some([255, 0, 0]), Some((0.0, 9.0))));
    }

    #[test]
    fn windows_as_text_and_windows_of_no_use() {
        let window = |value: Value| channel(&json!({"window": value})).window;
        assert_eq!(window(json!({"start": "10.0", "end": " 900.5 "})), Some((10.0, 900.5)));
        for bad in [
            json!({"start": 900, "end": 10}),
            json!({"min": 0, "max": 4095}),
            json!({"start": "NaN", "end": 10}),
            json!({"start": 0, "end": "Infinity"}),
            json!([0, 10]),
        ] {
            let found = channel(&json!({"window": bad}));
            assert_eq!((found.window, found.unusable), (None, vec!["window"]), "{bad}");
        }
        assert!(channel(&json!({"window": null})).unusable.is_empty());
    }

    #[test]
    fn wavelengths_have_many_spellings() {
        let found =
            channel(&json!({"Emission Wavelength (nm)": "520", "excitationWavelength": 488}));
        assert_eq!((found.emission_nm, found.excitation_nm), (Some(520.0), Some(488.0)));
        let found = channel(&json!({"emission_wavelength": 0, "excitation": 488}));
        assert_eq!((found.emission_nm, found.excitation_nm), (None, None));
    }

    #[test]
    fn null_entries_keep_their_place() {
        let omero = json!({"channels": [null, {"name": "DNA"}, 3, {"active": false}]});
        let found = Omero::parse(&omero).expect("channels").channels;
        assert_eq!(found.len(), 4);
        assert_eq!(found[1].label.as_deref(), Some("DNA"));
        assert_eq!(found.iter().map(|c| c.is_off).collect::<Vec<_>>(), [false, false, false, true]);
    }

    #[test]
    fn the_first_place_that_says_something_counts() {
        let place =
            |omero: Value| -> Map<String, Value> { Map::from_iter([("omero".into(), omero)]) };
        let empty = place(json!({"channels": []}));
        let full = place(json!({"channels": [{"label": "a"}], "rdefs": {"model": "greyscale"}}));
        let found = Omero::find([&Map::new(), &empty, &full]);
        assert_eq!(found.channels.len(), 1);
        assert!(found.is_greyscale);
        assert_eq!(Omero::find([&empty]), Omero::default());
    }
}
