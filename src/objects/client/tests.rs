use super::*;

#[test]
fn near_ranges_are_read_at_once_and_little_is_wasted() {
    let check = |ranges: &[Range<u64>], runs: &[Range<u64>]| {
        assert_eq!(coalesced(ranges), runs, "{ranges:?}");
    };
    check(&[], &[]);
    check(&[5..9, 0..5], &[Range { start: 0, end: 9 }]);
    check(&[0..100, 104..200], &[Range { start: 0, end: 200 }]);
    check(&[0..100, 110..200], &[0..100, 110..200]);
    check(&[0..10, 4..6, 7..7], &[Range { start: 0, end: 10 }]);
}

/// The service that needs no network.
#[test]
fn objects_of_a_folder_are_read_listed_and_written() {
    let top = tempfile::TempDir::new().expect("a folder");
    let address = Address::of_folder(top.path());
    let objects = Objects::connect(&address, &Options::default()).expect("a folder");
    objects.put("a/b", (0..=255).collect()).expect("written");
    objects.put("a/c/d", b"1".to_vec()).expect("written");
    let part = objects.get_range("a/b", 7..9).expect("there");
    assert_eq!((part.bytes, part.state.size), (vec![7, 8], 256));
    assert_eq!(objects.get_tail("a/b", 2).expect("there").bytes, [254, 255]);
    let (parts, state) = objects.get_ranges("a/b", &[200..202, 3..3, 1..3]).expect("there");
    assert_eq!(parts, [vec![200, 201], vec![], vec![1, 2]]);
    assert!(state.is_some_and(|state| state.is_same(&objects.head("a/b").expect("there"))));
    assert!(matches!(objects.get("a/b", 255), Ok(Got::Larger(state)) if state.size == 256));
    assert!(matches!(objects.get("a/b", 256), Ok(Got::Whole(object)) if object.bytes.len() == 256));
    let page = objects.list("a", PageOf::Folder, None, None).expect("listed");
    assert_eq!(page.folders, ["c"]);
    assert_eq!(page.objects.len(), 1);
    let all = objects.list("a", PageOf::Everything, None, None).expect("listed");
    let mut names: Vec<_> = all.objects.into_iter().map(|(name, _)| name).collect();
    names.sort();
    assert_eq!(names, ["b", "c/d"]);
    for absent in ["x", "a/x", "a/../x"] {
        assert_eq!(objects.head(absent).expect_err("absent").fault, Fault::Absent);
    }
}
