# The verbs of the project. Each is one cargo line that works without just.

# everything on http://localhost:8055, with the sandbox when no address is set
run *arguments:
    cargo run -- {{arguments}}

# every test
test:
    cargo test --workspace

# every fuzz target for so many seconds
fuzz seconds="60":
    BOLERO_RANDOM_TEST_TIME_MS={{seconds}}000 BOLERO_RANDOM_ITERATIONS=1000000000 cargo test --workspace fuzz_

# formatting and lints, as CI has them
lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings

# line coverage of everything, with cargo-llvm-cov installed; the flags count processes that are killed, too
coverage *arguments:
    RUSTFLAGS="-C llvm-args=-runtime-counter-relocation" LLVM_PROFILE_FILE_NAME="%p-%m%c.profraw" \
        cargo llvm-cov --workspace --locked --ignore-filename-regex '/benches/|/tests/[a-z]|tests\.rs$' {{arguments}}

# licences, bans, sources and advisories, with cargo-deny installed
deny:
    cargo deny --locked check --hide-inclusion-graph

# the hot pieces
bench:
    cargo bench -p coordinator

# whole programs: added latency, turns a second, memory, starts; without arguments the turns alone, see docs/performance.md
load *arguments:
    cargo build --release -p functions --bin mas --bin chat -p tests --bin load
    target/release/load {{arguments}}

# real SDKs and clients around the coordinator
peers:
    cargo build --workspace
    tests/peers/run

# everything CI does
ci:
    bash .ci/run
