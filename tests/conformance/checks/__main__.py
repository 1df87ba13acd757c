"""Runs every reader on every file and prints what is wrong.

The last line counts pairs of a reader and a file."""

import argparse
import json
import os
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass, field, replace
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

from . import limits, mounts, section4, series, stores, tools, truth, views
from .compare import Limitation, differences
from .image import Image
from .readers import (
    BioFormats,
    Reader,
    read_h5dump,
    read_h5py,
    read_imaris_ims_file_reader,
    read_imaris_ims_zarr,
    read_pyfive,
)

FEWEST = 30
"""So many corpus images at least must be there, so that an empty list does not pass."""

MOST = 5
"""Messages of one reader about one file that are printed."""


LZ4_READERS = frozenset({"h5py", "imaris_ims_file_reader", "imaris_ims_zarr"})
"""Those that read through h5py, to which `hdf5plugin` brings the filter."""


@dataclass
class Tally:
    """Counts, and prints what is not simply right."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def result(self, what: str, faults: list[str]) -> None:
        if not faults:
            self.passed += 1
            return
        self.failed += 1
        more = len(faults) - MOST
        rest = f"; and {more} more" if more > 0 else ""
        text = " ".join("; ".join(faults[:MOST]).split())
        print(f"FAIL {what}: {text}{rest}", flush=True)

    def check(self, what: str, find: Callable[[], Iterable[str]]) -> None:
        """The result of a function that finds faults."""
        try:
            faults = list(find())
        except Exception as error:  # whatever libhdf5 may raise
            faults = [f"{type(error).__name__}: {error}"]
        self.result(what, faults)

    def skip(self, what: str, reason: str) -> None:
        self.skipped += 1
        print(f"SKIPPED {what}: {reason}", flush=True)


@dataclass(frozen=True)
class Case:
    """A file and a function from what libhdf5 reads to what every reader must see."""

    file: Path
    wanted: Callable[[Image], Image]
    readers: frozenset[str] | None = None
    """Names of those that can read it; None: all."""
    more: dict[str, Callable[[Path], Iterator[str]]] = field(default_factory=dict)
    """Further functions that find faults, by name."""


def reference_case(file: Path, reference: stores.Reference) -> Case:
    """An image of the maker's writer."""
    may_miss = os.environ.get("ALLOW_MISSING_LEVELS") == "1"
    image = stores.expected(reference)

    def wanted(read: Image) -> Image:
        return replace(image, levels=image.levels[: len(read.levels)]) if may_miss else image

    return Case(file, wanted)


def reference_cases(mount: Path, remote: Path, exported: Path) -> Iterator[Case]:
    """The images of the maker's writer, in stores, in a bucket, exported, and as views."""
    for reference in stores.REFERENCES:
        yield reference_case(mount / "reference" / f"{reference.name}.ims", reference)
        yield reference_case(remote / f"{reference.name}.ims", reference)
        yield reference_case(exported / "gzip" / f"{reference.name}.ims", reference)
        lz4 = reference_case(exported / "lz4" / f"{reference.name}.ims", reference)
        yield replace(lz4, readers=LZ4_READERS)
    for file, reference in views.FILES.items():
        yield reference_case(mount / file, reference)


def series_cases(mount: Path) -> Iterator[Case]:
    """Series, with what only they have many of."""
    for each in series.SERIES:
        image = series.expected(each)
        more = {"histograms and stamps": partial(series.faults, series=each), "tools": tools.faults}
        yield Case(mount / "series" / f"{each.name}.ims", lambda _, image=image: image, more=more)


def check_mounts(below: Path, tally: Tally) -> None:
    """The series in four mounts that nobody has read before."""
    seed = int(os.environ.get("SEED") or random.randrange(2**32))
    for file in sorted(file.name for file in (below / "fast").iterdir()):
        fast, exact = below / "fast" / file, below / "exact" / file
        for once in (fast, exact):
            other = Path(f"{once.parent}-again", file)
            pieces = partial(mounts.differing_pieces, once, other, seed)
            tally.check(f"{once}: in pieces, SEED={seed}", pieces)
        histograms = partial(mounts.other_than_histograms, fast, exact)
        tally.check(f"{file}: fast and exact statistics", histograms)


def corpus_cases(
    manifest: Path, files: dict[tuple[str, str, int], Path], refused: dict[str, str], tally: Tally
) -> Iterator[Case]:
    """The good stores of the corpus."""
    listed = 0
    for store in json.loads(manifest.read_text())["stores"]:
        for facts in store["images"]:
            facts["is_padded"] = "webknossos" in store["id"]
            group = facts["levels"][0]["path"] if facts["source"] == "array" else facts["path"]
            file = files.get((store["path"], group, facts.get("multiscale_index") or 0))
            if file:
                listed += 1
                yield Case(file, partial(truth.expected, facts))
                continue
            place = f"{store['path']}/{group}".rstrip("/")
            reason = refused.get(place) or refused.get(store["path"])
            if reason:
                tally.skip(place, reason)
            else:
                tally.result(place, ["neither listed nor skipped with a reason"])
    tally.result("corpus", [] if listed >= FEWEST else [f"only {listed} images are listed"])


def see(reader: Reader, path: Path) -> Image | Exception:
    """What a reader says of a file; any exception is its answer, too."""
    with redirect_stdout(StringIO()):  # one of them prints what it opens and closes
        try:
            return reader(path)
        except Exception as error:  # whatever a reader may raise
            return error.with_traceback(None)


def check(
    case: Case, readers: dict[str, Reader], tally: Tally, unchecked: Counter[Limitation]
) -> None:
    """One file with every reader."""
    able = readers if case.readers is None else case.readers
    answers = {name: see(reader, case.file) for name, reader in readers.items() if name in able}
    read = answers["h5py"]
    for name, seen in answers.items():
        if isinstance(seen, Exception):
            faults = [f"{type(seen).__name__}: {seen}"]
        elif isinstance(read, Exception):
            faults = ["nothing to compare with, as libhdf5 cannot read it"]
        else:
            faults = list(differences(name, seen, case.wanted(read), unchecked))
            faults += truth.broken_steps(seen)
        tally.result(f"{case.file}: {name}", faults)
    for name, find in {"section 4": section4.faults, **case.more}.items():
        tally.check(f"{case.file}: {name}", partial(find, case.file))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mount", type=Path, required=True)
    parser.add_argument(
        "--remote", type=Path, required=True, help="a mount of the references in a bucket"
    )
    parser.add_argument(
        "--exported", type=Path, required=True, help="the references as files, below gzip and lz4"
    )
    parser.add_argument(
        "--list", type=Path, required=True, help="what `zarrims-mount --list --json` printed"
    )
    parser.add_argument("--manifest", type=Path, required=True, help="of the corpus; may be absent")
    parser.add_argument(
        "--class-path", required=True, help="where Java finds BioFormats.class and Bio-Formats"
    )
    parser.add_argument(
        "--unread",
        type=Path,
        required=True,
        help="below it, mounts of the series: fast, exact, and the same with -again",
    )
    options = parser.parse_args()

    rows: list[dict[str, Any]] = [
        json.loads(line) for line in options.list.read_text().splitlines()
    ]
    files = {
        (r["store"], r["image"], r["multiscale"]): options.mount / r["file"]
        for r in rows
        if "file" in r
    }
    refused = {r["skipped"]: r["reason"] for r in rows if "skipped" in r}
    tally = Tally()
    unchecked: Counter[Limitation] = Counter()

    cases = list(reference_cases(options.mount, options.remote, options.exported))
    cases += series_cases(options.mount)
    if options.manifest.exists():
        corpus = list(corpus_cases(options.manifest, files, refused, tally))
        corpus[:1] = [replace(case, more={"tools": tools.faults}) for case in corpus[:1]]
        cases += corpus
    else:
        tally.skip("corpus", f"no {options.manifest}")

    check_mounts(options.unread, tally)
    for name, faults in limits.faults(options.mount / "limits", refused).items():
        tally.result(f"limits: {name}", faults)

    with BioFormats(options.class_path) as read_bioformats:
        readers: list[tuple[str, Reader]] = [
            ("h5py", read_h5py),
            ("Bio-Formats", read_bioformats),
            ("imaris_ims_file_reader", read_imaris_ims_file_reader),
            ("imaris_ims_zarr", read_imaris_ims_zarr),
            ("pyfive", read_pyfive),
            ("h5dump", read_h5dump),
        ]
        for case in cases:
            check(case, dict(readers), tally, unchecked)
            # Another reader is the first to ask for the next file.
            readers.append(readers.pop(0))

    for limitation, times in unchecked.items():
        what = f"{limitation.reader}, {limitation.what}"
        print(f"not checked, {times} times: {what}: {limitation.reason}")
    print(f"{len(cases)} files, {len(readers)} readers and the rules for text")
    print(f"{tally.passed} passed, {tally.failed} failed, {tally.skipped} skipped")
    return 1 if tally.failed else 0


if __name__ == "__main__":
    sys.exit(main())
