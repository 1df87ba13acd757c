//! The channels of a file: those that the store describes, and others that only have a number. Memory for the
//! latter does not depend on how many there are.

use std::borrow::Cow;

/// What `ImarisWriter` writes where nothing is given.
pub const NO_DESCRIPTION: &str = "(description not specified)";

/// One channel, as under `/DataSetInfo/Channel c`.
#[derive(Debug, Clone, PartialEq)]
pub struct ImsChannel {
    /// Name shown to the user; at most 1024 bytes.
    pub name: String,
    /// Free text.
    pub description: Cow<'static, str>,
    /// Base colour (red, green, blue), each 0 to 1.
    pub color: [f32; 3],
    /// Further attributes, such as `LSMEmissionWavelength`, in the order they are written.
    pub details: Vec<(String, String)>,
}

/// The channels of a file.
#[derive(Debug, Clone, PartialEq)]
pub struct ImsChannels {
    /// The first ones.
    described: Vec<ImsChannel>,
    len: usize,
}

impl ImsChannels {
    /// `len` channels, of which the first ones are described; further descriptions are left out.
    #[must_use]
    pub fn new(mut described: Vec<ImsChannel>, len: usize) -> Self {
        described.truncate(len);
        described.shrink_to_fit();
        Self { described, len }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Those that are described: the first ones.
    #[must_use]
    pub fn described(&self) -> &[ImsChannel] {
        &self.described
    }

    /// A channel by its number; also beyond the last one.
    #[must_use]
    pub fn get(&self, c: usize) -> Cow<'_, ImsChannel> {
        match self.described.get(c) {
            Some(channel) => Cow::Borrowed(channel),
            None => Cow::Owned(ImsChannel {
                name: channel_name(c),
                description: NO_DESCRIPTION.into(),
                color: channel_color(c, self.len),
                details: Vec::new(),
            }),
        }
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = Cow<'_, ImsChannel>> {
        (0..self.len).map(|c| self.get(c))
    }
}

impl From<Vec<ImsChannel>> for ImsChannels {
    /// Channels that are all described.
    fn from(described: Vec<ImsChannel>) -> Self {
        let len = described.len();
        Self { described, len }
    }
}

/// The name of a channel that has none.
#[must_use]
pub fn channel_name(c: usize) -> String {
    format!("Channel {c}")
}

/// The colour (red, green, blue; each 0 to 1) of a channel without one, of `channels`: white alone, else primaries
/// first, then hues by the golden angle, which stay distinct for any number of channels.
#[must_use]
pub fn channel_color(c: usize, channels: usize) -> [f32; 3] {
    palette(c, channels).map(|component| f32::from(component) / 255.0)
}

fn palette(c: usize, channels: usize) -> [u8; 3] {
    const FIRST: [[u8; 3]; 6] =
        [[0, 255, 0], [255, 0, 0], [0, 0, 255], [255, 255, 0], [255, 0, 255], [0, 255, 255]];
    if channels == 1 {
        return [255; 3];
    }
    if let Some(color) = FIRST.get(c) {
        return *color;
    }
    // 0.618 is the golden ratio; the offset keeps the first hue off the primaries.
    #[expect(clippy::cast_precision_loss, reason = "a hue needs no exact channel number")]
    let hue = ((c as f64) * 0.618_033_988_749_895 + 0.08).fract() * 6.0;
    let ramp = |shift: f64| {
        let distance = ((hue + shift).rem_euclid(6.0) - 3.0).abs() - 1.0;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0..=255")]
        let component = (distance.clamp(0.0, 1.0) * 255.0) as u8;
        component
    };
    [ramp(0.0), ramp(-2.0), ramp(2.0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn palette_colours_are_distinct() {
        let colours: std::collections::HashSet<_> = (0..24).map(|c| palette(c, 24)).collect();
        assert_eq!(colours.len(), 24);
        assert_eq!(palette(0, 1), [255; 3]);
    }

    #[test]
    fn channels_without_a_description_have_a_number() {
        let first = ImsChannels::new(vec![], 3).get(0).into_owned();
        let stated = ImsChannel { name: "stated".into(), ..first };
        let channels = ImsChannels::new(vec![stated; 4], 3);
        assert_eq!((channels.described().len(), channels.len()), (3, 3));
        let channels = ImsChannels::new(channels.described()[..1].to_vec(), 3);
        let names: Vec<_> = channels.iter().map(|channel| channel.name.clone()).collect();
        assert_eq!(names, ["stated", "Channel 1", "Channel 2"]);
        let [first, second] = [1, 2].map(|c| channels.get(c).color.map(f32::to_bits));
        assert_ne!(first, second);
    }
}
