//! Pages of the manual, completions and an example of the configuration file, made from the definitions that the
//! program itself reads.

use std::io;

use clap::Command;
use clap_complete::aot::{Bash, Fish, Zsh, generate};
use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, bold, italic, roman};

use zarrims::cli::command;
use zarrims::config::options::Section;
use zarrims::config::{DEFAULT_FILE, OPTIONS, Opt, example};

const PROGRAM: &str = "zarrims-mount";

/// Exit statuses, and when.
const STATUSES: [(&str, &str); 4] = [
    (
        "0",
        "after an unmount, by signal or by fusermount3 -u; with --background, when the mounts answer",
    ),
    ("1", "a mount could not be made"),
    ("2", "the command line, the environment or the configuration file is wrong by itself"),
    ("130", "after a second signal"),
];

/// All files, each with its path in the folder they are written to.
///
/// # Errors
/// None but of writing to memory.
pub(crate) fn all() -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut files = vec![("config.toml".to_owned(), example().into_bytes())];
    files.push((format!("man/{PROGRAM}.1"), program()?));
    for verb in command().get_subcommands().filter(|verb| !verb.is_hide_set()) {
        let name = format!("{PROGRAM}-{}", verb.get_name());
        let page =
            Man::new(verb.clone().name(&name).bin_name(format!("{PROGRAM} {}", verb.get_name())));
        let mut text = Vec::new();
        page.render(&mut text)?;
        files.push((format!("man/{name}.1"), text));
    }
    files.push(("man/zarrims.toml.5".to_owned(), file_page()?));
    files.push(("man/mount.zarrims.8".to_owned(), helper_page()?));
    // The other name of the helper.
    files.push(("man/mount.fuse.zarrims.8".to_owned(), b".so man8/mount.zarrims.8\n".to_vec()));
    let mut completions = |path: &str, write: &dyn Fn(&mut Command, &mut Vec<u8>)| {
        let mut text = Vec::new();
        write(&mut command(), &mut text);
        files.push((format!("completions/{path}"), text));
    };
    completions("bash/zarrims-mount", &|known, out| generate(Bash, known, PROGRAM, out));
    completions("zsh/_zarrims-mount", &|known, out| generate(Zsh, known, PROGRAM, out));
    completions("fish/zarrims-mount.fish", &|known, out| generate(Fish, known, PROGRAM, out));
    Ok(files)
}

/// The page of the program.
fn program() -> io::Result<Vec<u8>> {
    let page = Man::new(command()).manual("Zarr stores as Imaris files");
    let mut text = Vec::new();
    page.render_title(&mut text)?;
    page.render_name_section(&mut text)?;
    page.render_synopsis_section(&mut text)?;
    page.render_description_section(&mut text)?;
    page.render_options_section(&mut text)?;
    page.render_subcommands_section(&mut text)?;
    let mut more = Roff::new();
    more.control("SH", ["EXIT STATUS"]);
    entries(
        &mut more,
        STATUSES.into_iter().map(|(status, when)| (vec![bold(status)], when.to_owned())),
    );
    more.control("SH", ["ENVIRONMENT"]);
    let variables =
        "is a filter of the log, such as debug or info,zarrims::source=trace; it wins over -v";
    entries(&mut more, [(vec![bold("ZARRIMS_LOG")], variables.to_owned())]);
    more.control("SH", ["FILES"]);
    let file = "the configuration, see zarrims.toml(5)".to_owned();
    entries(&mut more, [(vec![italic(DEFAULT_FILE)], file)]);
    more.control("SH", ["SEE ALSO"]);
    more.text([roman("zarrims.toml(5), mount.zarrims(8), fusermount3(1)")]);
    more.to_writer(&mut text)?;
    Ok(text)
}

/// The page of the configuration file.
fn file_page() -> io::Result<Vec<u8>> {
    let mut page = Roff::new();
    page.control("TH", ["zarrims.toml", "5"]);
    page.control("SH", ["NAME"]);
    page.text([roman("zarrims.toml - configuration file of zarrims-mount")]);
    page.control("SH", ["DESCRIPTION"]);
    page.text([
        roman("A TOML file, "),
        italic(DEFAULT_FILE),
        roman(
            " or the one that --config names. A flag overrides the environment, the environment overrides the \
             file, and the file overrides the default. Paths are whole: they begin with /. zarrims-mount \
             --print-config prints all settings with their origins.",
        ),
    ]);
    for section in Section::ALL {
        let also = if section == Section::Mount { " AND [[mount]]" } else { "" };
        let title = format!("[{}]{also}", section.table());
        page.control("SH", [title.as_str()]);
        let of_section = OPTIONS.iter().filter(|option| option.section == section);
        entries(&mut page, of_section.map(key));
    }
    page.control("SH", ["[[mount]]"]);
    entries(
        &mut page,
        [
            ("source", "Folder, store or address that is mounted"),
            ("mountpoint", "Empty folder to mount at"),
        ]
        .map(|(key, about)| (vec![bold(key)], about.to_owned())),
    );
    page.control("SH", ["[[store]] AND [[view]]"]);
    page.text([roman(
        "Tables that correct what stores say of themselves, and that ask for further files. Their keys are in the \
         document CONFIGURATION, which is installed with the program.",
    )]);
    page.control("SH", ["SEE ALSO"]);
    page.text([roman("zarrims-mount(1), mount.zarrims(8)")]);
    let mut text = Vec::new();
    page.to_writer(&mut text)?;
    Ok(text)
}

/// A key, and what it says.
fn key(option: &Opt) -> (Vec<Inline>, String) {
    let mut name = vec![bold(option.key())];
    if !option.value.is_empty() {
        name.extend([roman(" = "), italic(option.value)]);
    }
    let default =
        option.default.map(|default| format!(" [default: {default}]")).unwrap_or_default();
    (name, format!("{}{default} (--{})", option.help, option.name))
}

/// The page of the helper of `mount(8)`.
fn helper_page() -> io::Result<Vec<u8>> {
    let mut page = Roff::new();
    page.control("TH", ["mount.zarrims", "8"]);
    page.control("SH", ["NAME"]);
    page.text([roman("mount.zarrims - helper of mount(8) for Zarr stores as Imaris files")]);
    page.control("SH", ["SYNOPSIS"]);
    page.text([bold("mount -t zarrims"), roman(" [-o OPTION[=VALUE],...] SOURCE MOUNTPOINT")]);
    page.control("SH", ["DESCRIPTION"]);
    page.text([roman(
        "mount(8) starts this program for mounts of type zarrims or fuse.zarrims, and for such lines of fstab(5). It \
         returns when the mount answers, as zarrims-mount --background does.",
    )]);
    page.control("SH", ["OPTIONS"]);
    page.text([roman(
        "Each long option of zarrims-mount(1) that is about a mount, with _ or - between its words, such as \
         cache_size=200G or allow_other. Options that other programs act on (_netdev, nofail, noauto, x-systemd.*, \
         user) and options that hold anyway (ro, nodev, nosuid, noexec, noatime) are taken and change nothing. The \
         flags -n and -v change nothing either; -f only looks whether the options are right; -s passes over options \
         that are not known; -N is refused.",
    )]);
    page.control("SH", ["EXIT STATUS"]);
    let statuses = [
        ("0", "the mount answers"),
        ("1", "the options are wrong"),
        ("32", "it cannot be mounted"),
    ];
    entries(&mut page, statuses.map(|(status, when)| (vec![bold(status)], when.to_owned())));
    page.control("SH", ["EXAMPLE"]);
    page.text([roman("A line of /etc/fstab:")]);
    page.control("PP", []);
    page.text([roman("/data/zarr /srv/ims/stores zarrims allow_other,cache_size=200G,nofail 0 0")]);
    page.control("SH", ["SEE ALSO"]);
    page.text([roman("zarrims-mount(1), zarrims.toml(5), mount(8), fstab(5), systemd.mount(5)")]);
    let mut text = Vec::new();
    page.to_writer(&mut text)?;
    Ok(text)
}

/// A list of words, each with what it means.
fn entries(page: &mut Roff, entries: impl IntoIterator<Item = (Vec<Inline>, String)>) {
    for (name, about) in entries {
        page.control("TP", []);
        page.text(name);
        page.text([roman(about)]);
    }
}
