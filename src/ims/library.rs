//! The HDF5 library that this program has: which one, and whether it works.

/// The library, found by using it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Library {
    /// Its version.
    pub version: (u8, u8, u8),
    /// It is inside the program, and not that of the machine.
    pub is_inside: bool,
}

impl Library {
    /// Writes a dataset to a file in memory, and reads it.
    ///
    /// # Errors
    /// What the library says, or that it gives other numbers than it got.
    pub fn tried() -> Result<Self, String> {
        const VALUES: [u16; 3] = [1, 256, u16::MAX];
        let try_it = || -> hdf5_metno::Result<Vec<u16>> {
            let mut options = hdf5_metno::File::with_options();
            options.fapl().core_options(4096, false);
            let file = options.create("/dev/null/trial.h5")?;
            let dataset = file.new_dataset::<u16>().shape(VALUES.len()).create("trial")?;
            dataset.write_raw(&VALUES)?;
            dataset.read_raw()
        };
        let read = try_it().map_err(|error| error.to_string())?;
        if read != VALUES {
            return Err("reads other numbers than were written".to_owned());
        }
        let version = hdf5_metno::library_version();
        Ok(Self { version, is_inside: cfg!(feature = "static-hdf5") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_works() {
        let library = Library::tried().expect("a library");
        assert!(library.version >= (1, 10, 0), "{library:?}");
    }
}
