# Everything a person does with this repository. CI (.ci/run) calls these same recipes.

set shell := ["bash", "-euo", "pipefail", "-c"]

peers_cache := env("MILLRACE_PEERS", home_directory() / ".cache/millrace-peers")
otelcol := peers_cache / "otelcol/build/otelcol-contrib"

[private]
default:
    @just --list --unsorted

# Generated telemetry through a real pipeline, into the terminal and into files; Ctrl-C stops it
demo:
    cargo run --release -- demo

# Format, lints and the code's documentation, with every warning an error
check:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps

# The tests: no network, no other programs
test *args:
    cargo test --workspace {{ args }}

# Write docs/compatibility.md and docs/metrics.md anew from what they describe; `just test` fails where it is out of date
docs:
    MILLRACE_UPDATE=1 cargo test -p millrace --test documentation

# The released binary
build:
    cargo build --release -p millrace

# The links of all pages lead somewhere, and every configuration shown or shipped is accepted
pages: build
    .ci/pages target/release/millrace

# End to end with the official SDKs and VictoriaMetrics; installs them first (420 MB, outside the tree)
peers: build
    tests/peers/install
    tests/peers/run.py --collector {{ justfile_directory() }}/target/release/millrace
    tests/peers/conformance.py --check --collector {{ justfile_directory() }}/target/release/millrace
    tests/peers/prometheus.py --collector {{ justfile_directory() }}/target/release/millrace
    tests/peers/monitoring.py --collector {{ justfile_directory() }}/target/release/millrace

# The same beside the Go collector, which is built first (1 to 7 minutes, 3.5 GB of Go's caches)
peers-heavy: peers
    tests/peers/install-otelcol
    tests/peers/validate-configs
    tests/peers/run.py both sandwich --collector {{ justfile_directory() }}/target/release/millrace
    tests/peers/clouds.py --collector {{ justfile_directory() }}/target/release/millrace
    tests/peers/conformance.py --check --collector {{ otelcol }}

# Faults under load: certificates replaced, a destination that moves in DNS, one that freezes; about four minutes, as root
faults *args:
    tests/peers/install
    cargo build --release -p millrace -p millrace-bench
    tests/peers/faults.py {{ args }}

# All comparisons that the README quotes, with the Go collector where it is installed; about half an hour
bench *args: (compare "--cases" "all" "--json" "target/bench.json" args) && bench-threads

# A first look at the same, about two minutes
bench-quick *args: (compare "--quick" args)

# A durable collector killed (`kill`), or its disk taken away with it (`power`, as root), at random moments under load;
# or disks and directories that fail under it (`faults`, most of them as root)
chaos how="kill" rounds="200" *args:
    cargo build --release -p millrace
    {{ if how == "faults" { "tests/chaos/faults.py" } else { "tests/chaos/chaos.py " + how + " --rounds " + rounds } }} \
        --millrace target/release/millrace {{ args }}

# What many connections take beside the budget, into the table of docs/memory.md; about five minutes
memory *args:
    cargo build --release -p millrace -p millrace-bench
    target/release/millrace-compare --millrace target/release/millrace --no-yardstick --cases crowd --json target/memory.json {{ args }}
    bench/memory-table target/memory.json docs/memory.md

# Queues on disk beside the Go collector's and a bare loop of syncs, on the disk of `target`, with a table of what is
# asked, then the segment log by itself; about ten minutes, with --quick one
bench-log *args: (compare "--cases" "durable" "--json" "target/bench-log.json" args)
    cargo build --release -p millrace-log --example log_bench
    target/release/examples/log_bench target/bench-disk/log {{ if args =~ "--quick" { "2" } else { "5" } }}

# How the data plane scales from one thread to two, without sockets
bench-threads *args:
    cargo build --release -p millrace-bench
    target/release/millrace-dataplane {{ args }}

# Instructions a request takes, against those recorded; needs valgrind, about two minutes
instructions *args:
    cargo build --release -p millrace -p millrace-bench
    bench/instructions --check {{ args }}

[private]
compare *args:
    cargo build --release -p millrace -p millrace-bench
    target/release/millrace-compare --millrace target/release/millrace --disk target/bench-disk \
        {{ if path_exists(otelcol) == "true" { "--otelcol " + otelcol } else { "" } }} {{ args }}

# Fuzz all targets, or those named, for some seconds each (20); needs nightly Rust and cargo-fuzz
fuzz *args:
    fuzz/fuzz.sh {{ args }}

# Licences, bans and sources of the dependencies; and the product decodes no telemetry into structs
deny:
    cargo deny --workspace --all-features check licenses bans sources
    tree=$(cargo tree -p millrace --all-features -e normal,build --prefix none) && ! grep -E '^(prost|tonic)' <<< "$tree"

# Known vulnerabilities of the dependencies; fetches the advisory database
audit:
    cargo deny --workspace --all-features check advisories

# What is shipped: smaller and faster, slower to build
dist:
    cargo build --profile dist -p millrace
    ls -l target/dist/millrace

# Install the tools that the other recipes need
tools:
    .ci/tools

# Everything that CI runs
ci:
    .ci/run
