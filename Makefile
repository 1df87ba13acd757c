# Two commands do everything on a fresh Debian or Ubuntu machine: `make demo` and `make test`.

CARGO ?= cargo
# For `make demo` on your own data: make demo SOURCE=/data/zarr MOUNT=/mnt/ims
SOURCE ?=
MOUNT ?=
# Where `make install` puts things: BIN and PAGES are what is installed, below DESTDIR.
PREFIX ?= /usr/local
DESTDIR ?=
SYSCONFDIR ?= /etc
# Where mount(8) looks for helpers.
HELPERDIR ?= /usr/sbin
BIN ?= target/release/zarrims-mount
PAGES ?= target/pages
# Seconds that `make fuzz` runs each target.
FUZZ_SECONDS ?= 60
# Arguments of the bench of mounted files in `make bench`; see benches/mounted/main.rs.
BENCH ?= --write

# Packages of Python are kept in target/conformance and target/writers, and nowhere else.
export PIP_NO_CACHE_DIR := 1

.PHONY: help demo test conformance writers neighbours fuzz check bench bench-shares build pages install uninstall release deb setup clean

help:
	@echo "make demo                        write a sample store, mount it, read it, unmount"
	@echo "make demo SOURCE=DIR MOUNT=DIR   mount your own folder in the foreground"
	@echo "make test                        run all tests (45 minutes; first prints what it installs where)"
	@echo "make conformance                 read virtual files with third-party readers"
	@echo "make writers                     compare stores by the newest writers with what these read (WRITERS=zarr: one)"
	@echo "make neighbours                  put the mount beside systemd, Samba, NFS-Ganesha and more (as root)"
	@echo "make fuzz FUZZ_SECONDS=60        feed made-up input to all parsers of files"
	@echo "make check                       format and lints"
	@echo "make bench                       measure, and write the tables of doc/PERFORMANCE.md (BENCH=--quick: only print)"
	@echo "make bench-shares                measure a share of Samba beside a plain folder of it (as root)"
	@echo "make build                       target/release/zarrims-mount"
	@echo "make install PREFIX=/usr/local   install what was built, with pages, completions and units (DESTDIR=, uninstall)"
	@echo "make release                     a program with libhdf5 inside in target/dist, stripped, its symbols apart"
	@echo "make deb                         a package for Debian and Ubuntu in target/dist"

setup:
	@scripts/setup.sh

# One build for all that needs a release build: `demo`, `conformance`, `writers` and `test`, too. Without the examples
# the libraries would be built with other features, and then once more.
build: setup
	$(CARGO) build --release --locked --bins --examples

# Pages of the manual, completions, and a configuration file to start from.
pages: build
	@rm -rf target/pages
	@target/release/examples/pages target/pages

# Builds nothing, so that root need not: `make pages && sudo make install`.
install uninstall:
	@PREFIX="$(PREFIX)" DESTDIR="$(DESTDIR)" SYSCONFDIR="$(SYSCONFDIR)" HELPERDIR="$(HELPERDIR)" \
		BIN="$(BIN)" PAGES="$(PAGES)" scripts/install.sh $@

# Sets up CMake in target/tools where the machine has none that is new enough.
release: setup
	@scripts/release.sh

# Sets up cargo-deb in target/tools where it is missing.
deb: release
	@scripts/deb.sh

demo: build
	@scripts/demo.sh "$(SOURCE)" "$(MOUNT)"

# The tests of `cargo test` have a profile of their own: with assertions, checks for overflow, and rubbish in
# buffers that are used again, all of which a release build leaves out.
test:
	@scripts/cost.sh
	@$(MAKE) --no-print-directory setup
	$(CARGO) test --locked
	@$(MAKE) --no-print-directory conformance
	@$(MAKE) --no-print-directory writers
	@$(MAKE) --no-print-directory neighbours
	@$(MAKE) --no-print-directory fuzz

# Sets up its own Python packages, and Java and h5dump where they are missing.
conformance: build
	@tests/conformance/run.sh target/release/zarrims-mount

# Sets up the newest releases of the libraries in Python.
writers: build
	@tests/writers/run.sh target/release/zarrims-mount

# Sets up Samba, NFS-Ganesha, systemd-nspawn and servers of objects where they are missing, and starts none of their services.
neighbours: build
	@tests/neighbours/run.sh target/release/zarrims-mount

# Sets up cargo-fuzz in target/tools where it is missing.
fuzz: setup
	@scripts/fuzz.sh "$(FUZZ_SECONDS)"

check: setup
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings

bench: setup
	$(CARGO) bench --locked --bench mounted -- $(BENCH)
	$(CARGO) bench --locked --bench scale --bench datasets -- $(filter --write,$(BENCH))
	$(CARGO) bench --locked --bench parts

# The bench makes the store that is read.
bench-shares: build
	$(CARGO) bench --locked --bench mounted -- --quick --case warm --store blosc-64
	@tests/neighbours/run.sh target/release/zarrims-mount speed

clean:
	$(CARGO) clean
