use super::*;
use serde_json::json;

fn of(steps: &Value, names: &str) -> Transform {
    let shape = vec![8; names.len()];
    let stored: Vec<String> = names.chars().map(String::from).collect();
    let axes = Axes::of_array(Some(stored), &shape, false).expect("axes");
    Transform::sequence(Some(steps), &axes)
}

#[test]
fn scale_and_translation_compose_in_their_order() {
    let scale = json!({"type": "scale", "scale": [2.0, 0.5]});
    let shift = json!({"type": "translation", "translation": [4.0, 1.0]});
    let found = of(&json!([scale, shift]), "yx");
    assert_eq!(found.scale, [Some(2.0), Some(0.5)]);
    assert_eq!(found.translation, [Some(4.0), Some(1.0)]);
    let found = of(&json!([shift, scale]), "yx");
    assert_eq!(found.translation, [Some(8.0), Some(0.5)]);
    assert_eq!(found.assumed, None);
}

#[test]
fn rotated_affine_gives_column_lengths() {
    let found =
        of(&json!([{"type": "affine", "affine": [[3.0, 3.0, 7.0], [4.0, -4.0, 8.0]]}]), "yx");
    assert_eq!(found.scale, [Some(5.0), Some(5.0)]);
    assert_eq!(found.translation, [Some(7.0), Some(8.0)]);
    assert_eq!(found.left_out.as_deref(), Some(NOT_ALIGNED));
    assert!(found.order.is_empty());
    let square = json!([{"type": "affine", "affine": [[2, 0, 5], [0, 3, 6], [0, 0, 1]]}]);
    let found = of(&square, "zyx");
    assert_eq!(found.scale, [None, Some(2.0), Some(3.0)]);
    assert_eq!(found.translation, [None, Some(5.0), Some(6.0)]);
}

/// The dimension, scale and translation of each coordinate.
fn coordinates(found: &Transform, dimensions: usize) -> Vec<(usize, f64, f64)> {
    let one = |i: usize| {
        let at = found.order.get(i).copied().unwrap_or(i);
        let scale = found.scale_of(at).unwrap_or(1.0);
        (at, scale, found.translation_of(at).unwrap_or(0.0))
    };
    (0..dimensions).map(one).collect()
}

#[test]
fn axes_in_another_order_take_their_numbers_along() {
    let map = json!({"type": "mapAxis", "mapAxis": [2, 0, 1]});
    let scale = json!({"type": "scale", "scale": [2, 3, 4]});
    let shift = json!({"type": "translation", "translation": [10, 20, 30]});
    let found = of(&json!([scale, map]), "zyx");
    assert_eq!(coordinates(&found, 3), [(2, 4.0, 0.0), (0, 2.0, 0.0), (1, 3.0, 0.0)]);
    let found = of(&json!([map, scale, shift]), "zyx");
    assert_eq!(coordinates(&found, 3), [(2, 2.0, 10.0), (0, 3.0, 20.0), (1, 4.0, 30.0)]);
    let twice = of(&json!([map, map]), "zyx");
    assert_eq!(twice.order, [1, 2, 0]);
    assert!(of(&json!([map, map, map]), "zyx").order.is_empty());
    for bad in [json!([0, 0, 1]), json!([0, 1]), json!([1, 2, 3]), json!({"x": "y"})] {
        let found = of(&json!([{"type": "mapAxis", "mapAxis": bad}]), "zyx");
        assert!(found.order.is_empty() && found.left_out.is_some(), "{bad}");
    }
}

#[test]
fn matrices_that_only_permute_axes() {
    let affine = json!([[0, 0, 3, 1], [0, 2, 0, 2], [1, 0, 0, 3]]);
    let found = of(&json!([{"type": "affine", "affine": affine}]), "zyx");
    assert_eq!(coordinates(&found, 3), [(2, 3.0, 1.0), (1, 2.0, 2.0), (0, 1.0, 3.0)]);
    assert_eq!(found.left_out, None);
    // A quarter turn, as a program computes it.
    let turn = json!([[6e-17, -1.0], [1.0, 6e-17]]);
    let found = of(&json!([{"type": "rotation", "rotation": turn}]), "yx");
    assert_eq!(coordinates(&found, 2), [(1, -1.0, 0.0), (0, 1.0, 0.0)]);
    // Of space only.
    let found = of(&json!([{"type": "rotation", "rotation": [[0, 1], [1, 0]]}]), "cyx");
    assert_eq!(found.order, [0, 2, 1]);
    let flat = of(&json!([{"type": "affine", "affine": [[1, 0, 0]]}]), "yx");
    assert_eq!(flat.scale, [None, Some(1.0)]);
}

#[test]
fn parts_by_dimension_are_put_together() {
    let part = |transform: Value, inputs: Value, outputs: Value| json!({"transformation": transform, "inputAxes": inputs, "outputAxes": outputs});
    let scale = |list: Value| json!({"type": "scale", "scale": list});
    let whole =
        |parts: Value| of(&json!([{"type": "byDimension", "transformations": parts}]), "zyx");
    let found = whole(json!([
        part(scale(json!([3])), json!([0]), json!([2])),
        part(scale(json!([5, 7])), json!([2, 1]), json!([0, 1])),
    ]));
    assert_eq!(coordinates(&found, 3), [(2, 5.0, 0.0), (1, 7.0, 0.0), (0, 3.0, 0.0)]);
    let by_name = json!([{"type": "scale", "scale": [2], "inputAxes": ["y"], "outputAxes": ["y"]},
        {"type": "identity", "inputAxes": ["z", "x"], "outputAxes": ["z", "x"]}]);
    assert_eq!(whole(by_name).scale, [None, Some(2.0), None]);
    for bad in [
        json!([part(scale(json!([3])), json!([0]), json!([0]))]),
        json!([part(scale(json!([3, 3, 3])), json!([0, 1, 2]), json!([0, 1, 1]))]),
        json!([part(scale(json!([3])), json!([0]), json!([7]))]),
        json!("x"),
    ] {
        let found = whole(bad.clone());
        assert!(found.left_out.is_some() && !found.is_scaled(), "{bad}");
    }
}

#[test]
fn transforms_that_are_not_understood_are_told() {
    for (step, told) in [
        (json!({"type": "displacements", "path": "d"}), "type displacements is"),
        (json!({"type": "scale", "path": "numbers"}), "in an array"),
        (json!({"type": "warp"}), "type warp is"),
        (json!({"type": "bijection"}), "type bijection is"),
        (json!({"type": "affine", "affine": [[1, 0], [0, 1], [0, 0]]}), "affine"),
    ] {
        let left_out = of(&json!([step]), "yx").left_out.expect("told");
        assert!(left_out.contains(told), "{left_out}");
    }
    let scale = json!({"scale": [2, 3]});
    let bijection = json!({"type": "bijection", "forward": scale, "inverse": {}});
    for step in [scale, bijection, json!({"type": "Scale", "scale": [2, 3]})] {
        assert_eq!(of(&json!([step]), "yx").scale, [Some(2.0), Some(3.0)], "{step}");
    }
}

#[test]
fn the_way_back_undoes_the_way_there() {
    let steps = json!([{"type": "mapAxis", "mapAxis": [2, 0, 1]},
        {"type": "scale", "scale": [2, 4, 8]}, {"type": "translation", "translation": [1, 2, 3]}]);
    let there = of(&steps, "zyx");
    let back = there.clone().then(there.inverse(3));
    assert!(back.order.is_empty());
    assert_eq!(coordinates(&back, 3), [(0, 1.0, 0.0), (1, 1.0, 0.0), (2, 1.0, 0.0)]);
    let back = there.inverse(3).then(there);
    assert_eq!(coordinates(&back, 3), [(0, 1.0, 0.0), (1, 1.0, 0.0), (2, 1.0, 0.0)]);
}

#[test]
fn fewer_and_more_numbers_than_axes_are_aligned_at_the_end() {
    let scale = |numbers: Value, names: &str| {
        let found = of(&json!([{"type": "scale", "scale": numbers}]), names);
        assert!(found.assumed.is_some(), "{names}");
        found.scale
    };
    assert_eq!(scale(json!([1.0, 0.3, 0.2]), "czyx"), [None, Some(1.0), Some(0.3), Some(0.2)]);
    assert_eq!(scale(json!([0.3, 0.2]), "tzyx"), [None, None, Some(0.3), Some(0.2)]);
    assert_eq!(scale(json!([1, 1, 3, 0.3, 0.2]), "zyx"), [Some(3.0), Some(0.3), Some(0.2)]);
    // The numbers are those of space, wherever it lies.
    assert_eq!(scale(json!([0.3, 0.2]), "yxc"), [Some(0.3), Some(0.2), None]);
    let found = of(&json!([{"type": "translation", "translation": [5, 6, 7]}]), "tczyx");
    assert_eq!(found.translation, [None, None, Some(5.0), Some(6.0), Some(7.0)]);
}

#[test]
fn scales_by_name_as_text_and_one_for_all() {
    let scale = |scale: Value| of(&json!([{"type": "scale", "scale": scale}]), "czyx").scale;
    let zyx = [None, Some(3.0), Some(0.5), Some(0.25)];
    assert_eq!(scale(json!({"x": 0.25, "Y": "0.5", "z": 3})), zyx);
    assert_eq!(scale(json!(["1", "3", " 0.5", "0.25"]))[1..], zyx[1..]);
    assert_eq!(scale(json!(2)), [None, Some(2.0), Some(2.0), Some(2.0)]);
    assert_eq!(scale(json!("2")), [None, Some(2.0), Some(2.0), Some(2.0)]);
    assert_eq!(scale(json!(null)), []);
    assert!(scale(json!([1, "three", 1, 1]))[1].is_some_and(f64::is_nan));
}

#[test]
fn a_transform_may_have_a_unit_of_its_own() {
    let found = of(&json!([{"type": "scale", "scale": [1, 1, 1, 1], "unit": "angstrom"}]), "czyx");
    let units: Vec<Option<&str>> = (0..4).map(|i| found.unit_of(i)).collect();
    assert_eq!(units, [None, Some("angstrom"), Some("angstrom"), Some("angstrom")]);
    let units = json!(["nm", "um", "mm"]);
    let found = of(&json!([{"type": "scale", "scale": [1, 1, 1, 1], "units": units}]), "czyx");
    assert_eq!((found.unit_of(0), found.unit_of(1)), (None, Some("nm")));
}
