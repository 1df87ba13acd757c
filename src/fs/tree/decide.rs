//! What an opening does, decided from what is known. Nothing here asks the source.

use super::options::Revalidate;

/// What an opening finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts of a table")]
pub(super) struct Situation {
    /// The file is open, or was closed a moment ago.
    pub(super) is_held: bool,
    /// The metadata of the held file is not as it was.
    pub(super) has_metadata_changed: bool,
    /// The held file shows one known state of its chunks.
    pub(super) follows_chunks: bool,
    pub(super) last_look: LastLook,
    /// A reader of the held file has met a change of the store.
    pub(super) is_outdated: bool,
    /// Readers got bytes for chunks that the source may still complete or mend.
    pub(super) may_be_mended: bool,
}

/// How much the last look at the chunks of the held file still says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LastLook {
    /// It began after this opening did: many programs that open a file at once look once.
    DuringThisOpening,
    /// It is recent, and the folders of the chunks are as they were.
    Recent,
    /// It is recent, and chunk files have come or gone since.
    FoldersChanged,
    /// It is old, or there was none.
    Old,
}

/// What an opening does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Uses the held file.
    Share,
    /// Looks at the chunks, and uses the held file if they are as they were.
    Look,
    /// Builds the file from the store.
    Build,
    /// Fails: the store has to be listed again.
    Relist,
}

/// What an opening does in a situation.
pub(super) fn step(situation: Situation) -> Step {
    let Situation { is_held, has_metadata_changed, follows_chunks, last_look, .. } = situation;
    let is_trusted = match last_look {
        LastLook::DuringThisOpening | LastLook::Recent => true,
        LastLook::FoldersChanged | LastLook::Old => false,
    };
    // A damaged chunk that was mended must show at the next opening.
    let is_doubtful = situation.is_outdated || situation.may_be_mended;
    if !is_held {
        Step::Build
    } else if has_metadata_changed {
        Step::Relist
    } else if !follows_chunks || (is_trusted && !is_doubtful) {
        Step::Share
    } else {
        Step::Look
    }
}

/// What the newest virtual file of an image knows of its chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Knowledge {
    /// There is no file yet, or its look at the chunks failed.
    ToCome,
    /// Changes of its chunks cannot be noticed.
    Never,
    /// One state.
    State,
}

/// Whether a file that is built looks at its chunks first.
pub(super) fn looks_when_built(knowledge: Knowledge, revalidate: Revalidate) -> bool {
    match knowledge {
        Knowledge::ToCome => revalidate != Revalidate::Never,
        Knowledge::Never => false,
        Knowledge::State => true,
    }
}

/// Whether pages that the kernel has cached of a file may be older than its chunks.
pub(super) fn may_pages_be_old(knowledge: Knowledge, may_be_mended: bool) -> bool {
    knowledge == Knowledge::ToCome || may_be_mended
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Held, at rest, just looked at.
    const CALM: Situation = Situation {
        is_held: true,
        has_metadata_changed: false,
        follows_chunks: true,
        last_look: LastLook::Recent,
        is_outdated: false,
        may_be_mended: false,
    };

    #[test]
    fn an_opening_in_each_situation() {
        use LastLook::{DuringThisOpening, FoldersChanged, Old};
        for (case, situation, expected) in [
            ("calm", CALM, Step::Share),
            ("first opening", Situation { is_held: false, ..CALM }, Step::Build),
            (
                "first opening of a changed store",
                Situation { is_held: false, has_metadata_changed: true, ..CALM },
                Step::Build,
            ),
            ("metadata changed", Situation { has_metadata_changed: true, ..CALM }, Step::Relist),
            (
                "metadata changed, chunks not followed",
                Situation { has_metadata_changed: true, follows_chunks: false, ..CALM },
                Step::Relist,
            ),
            ("many open at once", Situation { last_look: DuringThisOpening, ..CALM }, Step::Share),
            ("a chunk has come", Situation { last_look: FoldersChanged, ..CALM }, Step::Look),
            ("the look is old", Situation { last_look: Old, ..CALM }, Step::Look),
            (
                "the look is old, chunks not followed",
                Situation { last_look: Old, follows_chunks: false, ..CALM },
                Step::Share,
            ),
            ("a reader met a change", Situation { is_outdated: true, ..CALM }, Step::Look),
            (
                "a reader met a change during this opening",
                Situation { is_outdated: true, last_look: DuringThisOpening, ..CALM },
                Step::Look,
            ),
            ("a damaged chunk", Situation { may_be_mended: true, ..CALM }, Step::Look),
            (
                "a damaged chunk, chunks not followed",
                Situation { may_be_mended: true, follows_chunks: false, ..CALM },
                Step::Share,
            ),
        ] {
            assert_eq!(step(situation), expected, "{case}");
        }
    }

    #[test]
    fn a_file_that_is_built_looks_unless_nothing_can_come_of_it() {
        let after = Revalidate::AFTER_A_MOMENT;
        for (knowledge, revalidate, expected) in [
            (Knowledge::ToCome, after, true),
            (Knowledge::ToCome, Revalidate::AT_ONCE, true),
            (Knowledge::ToCome, Revalidate::Never, false),
            (Knowledge::Never, after, false),
            (Knowledge::Never, Revalidate::Never, false),
            (Knowledge::State, after, true),
            (Knowledge::State, Revalidate::AT_ONCE, true),
        ] {
            let looks = looks_when_built(knowledge, revalidate);
            assert_eq!(looks, expected, "{knowledge:?} {revalidate:?}");
        }
    }

    #[test]
    fn pages_may_be_old_after_a_failed_look_or_a_damaged_chunk() {
        for (knowledge, may_be_mended, expected) in [
            (Knowledge::State, false, false),
            (Knowledge::Never, false, false),
            (Knowledge::ToCome, false, true),
            (Knowledge::State, true, true),
            (Knowledge::Never, true, true),
        ] {
            assert_eq!(may_pages_be_old(knowledge, may_be_mended), expected, "{knowledge:?}");
        }
    }
}
