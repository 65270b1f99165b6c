# Everything CI runs, by hand. `just` without an argument lists the recipes.

_default:
    @just --list --unsorted

# Format all code.
fmt:
    cargo fmt --all

# The lints, as errors.
clippy:
    cargo clippy --workspace --all-targets --locked -- -D warnings

# What must pass before a commit: fmt, clippy, proto check, tests.
test:
    test/run

# One crate's tests with the programs they start, such as `just test-crate linkerd-mcp-graph assemble`.
test-crate crate *args:
    LINKERD_MCP_RIG_BIN="$(test/binaries)" cargo test --locked -p {{ crate }} {{ args }}

# A mesh on this machine, from real components and recorded traffic, until Ctrl-C.
rig *args:
    LINKERD_MCP_RIG_BIN="$(test/binaries)" cargo run --locked -p linkerd-mcp-test --bin linkerd-mcp-rig -- {{ args }}

# Regenerate the protobuf code.
proto:
    cargo run --locked -p linkerd-mcp-proto --example gen

# Fail if the protobuf code is not what the .proto files say.
proto-check:
    cargo run --locked -p linkerd-mcp-proto --example gen -- --check

# Licences, bans and sources of all dependencies.
deny:
    test/run deny

# The MCP endpoint: `just mcp conformance` (the official suite) or `just mcp clients` (clients of others).
mcp what:
    test/mcp/run {{ what }}

# Search for inputs that break a reader, in all targets or some: `FUZZ_SECONDS=600 just fuzz delta`.
fuzz *targets:
    test/run fuzz {{ targets }}

# The benchmarks, or some sections of the first one: `just bench snapshot watch`. What they mean: docs/performance.md.
bench *sections:
    cargo bench --locked -p linkerd-mcp-test --bench speed -- {{ sections }}
    {{ if sections == "" { "cargo bench --locked -p linkerd-mcp-test --bench memory" } else { "" } }}

# The same question to our MCP endpoint and to the Kubernetes MCP server of npm, on a real kube-apiserver.
bench-peers:
    test/mcp/run peers

# The Helm chart, with real Helm; with --write also install/ and the table of values.
chart *args:
    test/helm/run {{ args }}

# Everything CI runs, in CI's order.
ci:
    .ci/run
