//! Tests the exact output of the command: `cmd/*.trycmd` are sessions as a user sees them.

#[test]
fn the_command_says_exactly_this() {
    trycmd::TestCases::new()
        .env("XDG_STATE_HOME", env!("CARGO_TARGET_TMPDIR"))
        .env("XDG_CONFIG_HOME", env!("CARGO_TARGET_TMPDIR"))
        .case("tests/cmd/*.trycmd");
}
