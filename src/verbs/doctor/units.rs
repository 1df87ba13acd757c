//! Units of systemd that have failed.

use std::path::Path;
use std::process::Command;

use super::finding::Finding;

const CHECK: &str = "units";

/// There where systemd is the init system (`sd_booted(3)`).
const BOOTED: &str = "/run/systemd/system";

pub(super) fn check() -> Vec<Finding> {
    if !Path::new(BOOTED).exists() {
        return Vec::new();
    }
    let args = ["list-units", "--all", "--plain", "--no-legend", "--no-pager", "zarrims*.service"];
    let Ok(output) = Command::new("systemctl").args(args).output() else { return Vec::new() };
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().filter_map(of_unit).collect()
}

/// A line with the name of a unit, whether it is loaded, its state, and its state in detail.
fn of_unit(line: &str) -> Option<Finding> {
    let mut words = line.split_whitespace();
    let (unit, state) = (words.next()?, words.nth(1)?);
    Some(match state {
        "failed" => Finding::warning(
            CHECK,
            format!("{unit} has failed"),
            format!("journalctl -u {unit} -n 20 says why; then: systemctl restart {unit}"),
        ),
        _ => Finding::ok(CHECK, format!("{unit} is {state}")),
    })
}

#[cfg(test)]
mod tests {
    use super::super::finding::State;
    use super::*;

    #[test]
    fn a_unit_that_has_failed_is_named() {
        let found =
            of_unit("zarrims@config.service loaded failed failed Zarr stores as Imaris files");
        let found = found.expect("a unit");
        assert_eq!(found.state, State::Warning);
        assert!(found.fix.is_some_and(|fix| fix.contains("-u zarrims@config.service")));
        let found = of_unit("zarrims@lab.service loaded active running x").expect("a unit");
        assert_eq!((found.state, &*found.text), (State::Ok, "zarrims@lab.service is active"));
        assert_eq!(of_unit(""), None);
    }
}
