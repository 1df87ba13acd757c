//! Reading children and attributes of an element. A malformed attribute counts as absent.

use roxmltree::Node;

use crate::source::units;

/// Images beyond this many are left out.
pub(super) const MAX_IMAGES: usize = 100_000;

/// Characters kept of an attribute.
pub(super) const MAX_CHARS: usize = 256;

/// Children of an element among which one is sought; the schema puts the many last.
const MAX_CHILDREN: usize = 256;

pub(super) fn children<'a, 'input: 'a>(
    node: Node<'a, 'input>,
    name: &'static str,
) -> impl Iterator<Item = Node<'a, 'input>> {
    node.children().filter(move |child| child.has_tag_name(name))
}

pub(super) fn child<'a, 'input>(node: Node<'a, 'input>, name: &str) -> Option<Node<'a, 'input>> {
    node.children().take(MAX_CHILDREN).find(|child| child.has_tag_name(name))
}

pub(super) fn filled(text: &str) -> Option<&str> {
    Some(text.trim()).filter(|text| !text.is_empty())
}

pub(super) fn text(node: Node, name: &str) -> Option<String> {
    node.attribute(name).and_then(filled).map(str::to_owned)
}

/// Cut, as an element that many refer to is read many times.
pub(super) fn short_text(node: Node, name: &str) -> Option<String> {
    let cut: String = node.attribute(name)?.chars().take(MAX_CHARS).collect();
    filled(&cut).map(str::to_owned)
}

pub(super) fn positive(node: Node, name: &str) -> Option<f64> {
    let number: f64 = short_text(node, name)?.parse().ok()?;
    (number.is_finite() && number > 0.0).then_some(number)
}

pub(super) fn whole(node: Node, name: &str) -> Option<u64> {
    short_text(node, name)?.parse().ok()
}

/// A length in units of which a micrometre has `per_um`.
pub(super) fn length(node: Node, name: &str, default_unit: &str, per_um: f64) -> Option<f64> {
    let unit = text(node, &format!("{name}Unit"));
    let factor = units::micrometres(unit.as_deref().unwrap_or(default_unit))? * per_um;
    Some(positive(node, name)? * factor).filter(|length| length.is_finite())
}
